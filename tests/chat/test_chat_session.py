"""What the model is shown, what can be set, and how a conversation goes on, goes back and is saved."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scripted_model import ScriptedModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn import functional

from flyweight.base import UserError
from flyweight.chat import SETTINGS, Playground, Settings
from flyweight.chat.answer import ALTERNATIVES, Ending, write_answer
from flyweight.chat.commands import Talk
from flyweight.chat.conversation import Conversation, save_conversation, text_so_far
from flyweight.chat.prompt import chat_prompt, text_prompt
from flyweight.chat.token_labels import TokenLabels
from flyweight.corpus import TextTokenizer
from flyweight.corpus.reading.chat import CHATML
from flyweight.inference import ChatFormat, LanguageModel, generate

SYSTEM = {"role": "system", "content": "Be brief."}


def turns(count: int) -> list[dict[str, str]]:
    said: list[dict[str, str]] = []
    for number in range(count):
        said.append({"role": "user", "content": f"Is it {number}? " + "so " * (number % 5)})
        said.append({"role": "assistant", "content": "No: 1 + 1 = 2." * (number % 3)})
    return [*said, {"role": "user", "content": "Is it so?"}]


@given(
    count=st.integers(0, 12), wanted=st.integers(1, 120), length=st.integers(60, 400), system=st.booleans()
)
def test_the_oldest_whole_turns_go_and_as_few_as_have_to(tokenizer, count, wanted, length, system):
    chat = ChatFormat(CHATML, tokenizer)
    said = turns(count)
    messages = [SYSTEM, *said] if system else said
    prompt = chat_prompt(chat, messages, wanted, length)
    kept = next(gone for gone in range(count + 1)
                if chat.tokens([*messages[: int(system)], *said[2 * gone :]]) == prompt.tokens)  # fmt: skip
    room = max(length - wanted, length // 2)
    assert len(prompt.tokens) <= room or kept == count
    if kept:
        assert len(chat.tokens([*messages[: int(system)], *said[2 * (kept - 1) :]])) > room
    assert bool(prompt.left_out) == bool(kept)
    assert 1 <= prompt.new_tokens <= wanted
    assert len(prompt.tokens) + prompt.new_tokens <= length
    assert prompt.end_of_turn == chat.end_of_turn


def test_a_message_that_fills_the_context_is_refused(tokenizer):
    chat = ChatFormat(CHATML, tokenizer)
    with pytest.raises(UserError, match=r"the message takes \d+ tokens; this model's context holds 40"):
        chat_prompt(chat, [{"role": "user", "content": "Is it so? " * 20}], 10, 40)
    with pytest.raises(UserError, match="the message and the system message together take"):
        chat_prompt(chat, [{**SYSTEM, "content": "Be brief. " * 20}, *turns(3)], 10, 40)


def test_a_long_text_loses_its_beginning_and_says_so(scripted: Callable):
    model = scripted("x", chat=False, max_length=40)
    prompt = text_prompt(model, "Is it so? " * 20, 10)
    assert len(prompt.tokens) == 30
    assert prompt.new_tokens == 10
    assert "do not fit" in prompt.left_out
    assert text_prompt(model, "Is it so?", 10).left_out == ""


def test_an_answer_is_what_generate_writes(scripted: Callable):
    settings = Settings(temperature=2.0, top_p=0.9, top_k=30, max_new_tokens=40, seed=5)
    model = scripted(" sat on the mat \U0001f600.", chat=False)
    expected = generate(model, "The cat", 40, 2.0, 0.9, 30, seed=5)
    model.shown.clear()
    written = list(
        write_answer(model, TokenLabels(model.tokenizer), text_prompt(model, "The cat", 40), settings)
    )
    assert "".join(item.piece for item in written) == expected
    assert expected != " sat on the mat \U0001f600."


def test_the_rank_of_a_token_is_its_place_among_all(scripted: Callable):
    model = scripted([0] * 20, chat=False)  # token 0 is the likeliest; the others rise with their number
    settings = Settings(temperature=50.0, top_p=1.0, max_new_tokens=20, seed=1)
    prompt = text_prompt(model, "The cat", 20)
    tokens = list(write_answer(model, TokenLabels(model.tokenizer), prompt, settings))[:-1]
    drawn = [item.chosen.token for item in tokens]
    size = model.tokenizer.vocab_size
    assert [item.rank for item in tokens] == [1 if token == 0 else size + 1 - token for token in drawn]
    assert len(set(drawn)) > 10
    below = [item for item in tokens if 1 < item.rank <= ALTERNATIVES]
    assert below
    assert all(item.alternatives[item.rank - 1] == item.chosen for item in below)


class Counting(LanguageModel):
    """Always writes an x; its cache can be cut, and it counts the tokens that each step reads."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        super().__init__("counting", tokenizer, 400, torch.device("cpu"))
        self.read: list[int] = []

    @property
    def chat(self) -> ChatFormat:
        return ChatFormat(CHATML, self.tokenizer)

    def logits_at(self, tokens: torch.Tensor, rows: torch.Tensor, *_: Any) -> torch.Tensor:
        wanted = torch.tensor(self.tokenizer.encode("x"))
        return functional.one_hot(wanted, self.tokenizer.vocab_size).float().expand(len(rows), -1)

    def next_logits(self, tokens: torch.Tensor, cache: Any, valid: Any = None) -> torch.Tensor:
        self.read.append(tokens.shape[1])
        return super().next_logits(tokens, cache, valid)


def test_a_turn_reads_what_was_said_since_the_last_one(tokenizer):
    model, talk = Counting(tokenizer), Conversation()
    playground = Playground(model, Settings(temperature=0.0, max_new_tokens=3))
    lengths = []
    for question in ("Is it so?", "And now?"):
        talk.ask(question)
        prompt = playground.prompt(talk.shown, playground.settings)
        lengths.append(len(prompt.tokens))
        items = playground.write(prompt, playground.settings, talk.attempt, lambda: False)
        talk.answered("".join(item.piece for item in items))
    assert [message["content"] for message in talk.messages] == ["Is it so?", "xxx", "And now?", "xxx"]
    first, second = lengths
    # Of the first answer's three tokens the last was written, and not read.
    assert model.read == [first, 1, 1, second - first - 2, 1, 1]


def test_the_reasons_why_an_answer_ends(scripted: Callable):
    model = scripted("No: 1 + 1 = 2.", chat=False, max_length=30)
    labels = TokenLabels(model.tokenizer)

    def reason(text: str, tokens: int, stop_after: int = 99) -> str:
        settings = Settings(temperature=0, max_new_tokens=tokens)
        asked = iter(range(100))
        items = list(
            write_answer(
                model,
                labels,
                text_prompt(model, text, tokens),
                settings,
                stopped=lambda: next(asked) >= stop_after,
            )
        )
        ending = items[-1]
        assert isinstance(ending, Ending)
        assert ending.tokens == len(items) - 1
        assert (ending.bits_per_token > 0) == (ending.tokens > 0)
        return ending.reason

    assert reason("a", 29) == "model"
    assert reason("a", 3) == "length"
    assert reason("a", 29, stop_after=2) == "stopped"
    assert reason("a", 29, stop_after=0) == "stopped"
    model.scripts = [model.tokenizer.encode("so " * 40)]
    assert reason("Is it so? " * 10, 200) == "context"


def test_half_a_character_at_the_end_is_not_lost(scripted: Callable, tokenizer):
    smile = tokenizer.encode("\U0001f600")
    assert len(smile) > 1
    model = scripted(smile[:-1], chat=False)
    items = list(
        write_answer(model, TokenLabels(tokenizer), text_prompt(model, "a", 9), Settings(temperature=0))
    )
    assert [item.piece for item in items[:-1]] == [""] * len(smile)
    assert items[-1].piece == "\ufffd"


def test_labels_of_tokens(tokenizer):
    labels = TokenLabels(tokenizer)
    smile = tokenizer.encode("\U0001f600")
    shown = [labels.of(token) for token in smile]
    assert {label.kind for label in shown} == {"bytes"}
    assert bytes.fromhex(" ".join(label.text for label in shown)) == "\U0001f600".encode()
    assert [labels.of(token).text for token in tokenizer.encode("No: 1\n")] == ["No", ":", " ", "1", "\n"]
    assert labels.of(tokenizer.end_of_text).kind == "special"
    assert labels.of(100_000).text == "#100000"


@pytest.fixture
def sentencepiece_like() -> TextTokenizer:
    """Decodes the first token of a text without its space, and bytes as <0x..>."""
    words = ["<|eot|>", "▁The", "▁cat", "▁sat", "s", "a", "<0xC3>", "<0xA9>"]
    backend = Tokenizer(models.BPE({word: place for place, word in enumerate(words)}, [], byte_fallback=True))
    backend.add_special_tokens(["<|eot|>"])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer = TextTokenizer(backend, "<|eot|>")
    tokenizer.encode = lambda text: [
        words.index(word if word in words else "▁" + word) for word in text.split()
    ]  # type: ignore[method-assign]
    return tokenizer


def test_the_space_between_a_text_and_what_continues_it_stays(sentencepiece_like):
    model = ScriptedModel(sentencepiece_like, [2, 3, 6, 7], chat=False)
    items = list(
        write_answer(
            model, TokenLabels(sentencepiece_like), text_prompt(model, "The", 9), Settings(temperature=0)
        )
    )
    assert [item.piece for item in items] == [" cat", " sat", "", "é", "", ""]
    assert generate(model, "The", 9, 0) == " cat saté"
    labels = TokenLabels(sentencepiece_like)
    assert labels.of(2).text == " cat"
    assert (labels.of(6).kind, labels.of(6).text) == ("bytes", "C3")


def test_a_conversation_goes_on_and_back():
    talk = Conversation("Be brief.")
    talk.ask("one")
    talk.answered("1")
    talk.ask("two")
    talk.answered("2")
    assert talk.shown[0] == SYSTEM
    assert talk.retry()
    assert talk.retry()
    assert talk.attempt == 2
    assert talk.messages[-1] == {"role": "user", "content": "two"}
    talk.answered("3")
    assert talk.undo() == "two"
    assert talk.attempt == 0
    assert [message["content"] for message in talk.messages] == ["one", "1"]
    talk.ask("four")
    assert talk.attempt == 0
    talk.clear()
    assert talk.shown == [SYSTEM]
    assert talk.undo() is None
    assert not talk.retry()


def test_a_retry_without_an_answer_leaves_the_earlier_one():
    talk = Conversation()
    talk.ask("one")
    talk.answered("1")
    said = list(talk.messages)
    for _ in range(2):
        assert talk.retry()
        assert talk.messages == said[:1]
        assert talk.unanswered()
        assert talk.messages == said
    talk.retry()
    talk.answered("2")
    assert not talk.unanswered()  # what another answer has replaced is gone
    assert [message["content"] for message in talk.messages] == ["one", "2"]
    talk.ask("two")
    assert not talk.unanswered()
    assert [message["content"] for message in talk.messages] == ["one", "2"]


def test_the_text_so_far_is_the_last_one_with_its_continuations():
    talk = Conversation()
    for text, pieces in (("one", ["a"]), ("two", ["b", "c"])):
        talk.ask(text)
        for piece in pieces:
            talk.answered(piece)
    assert text_so_far(talk.messages) == "twobc"
    assert text_so_far([]) == ""


def test_a_saved_conversation_is_not_written_over_what_is_there(tmp_path: Path):
    file = tmp_path / "talk.json"
    save_conversation(file, "m", Settings(seed=3), [SYSTEM])
    value = json.loads(file.read_text())
    assert value["messages"] == [SYSTEM]
    assert value["settings"]["seed"] == 3
    with pytest.raises(UserError, match="this is there already"):
        save_conversation(file, "m", Settings(), [])
    save_conversation(file, "m", Settings(), [], replace=True)
    assert json.loads(file.read_text())["messages"] == []


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_keeps_its_range(setting):
    high, low = setting.maximum, setting.minimum
    assert setting.checked(high) == high
    assert getattr(Settings().changed({setting.name: high}), setting.name) == high
    for wrong in (high + 1, low - 1, math.nan, math.inf, -math.inf, True, None, "1", 10**400, [1]):
        with pytest.raises(UserError, match=f"{setting.name} is .*; expected a "):
            setting.checked(wrong)
    for text in ("", "x", "1e999", "nan", "-1"):
        with pytest.raises(UserError, match=setting.name):
            setting.parsed(text)
    assert (setting.checked(low) == low) if not setting.above else True
    if setting.whole:
        assert setting.checked(3.0) == 3
        with pytest.raises(UserError):
            setting.checked(1.5)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(temperature=1.0, seed=1_234_567),
        Settings(temperature=1 / 3, top_p=0.12345678, repetition_penalty=1e-2, seed=2**53 - 1),
    ],
)
def test_what_is_shown_of_the_settings_can_be_typed_back(scripted: Callable, settings: Settings):
    talk = Talk(Playground(scripted("x"), settings), Conversation(), settings)
    shown: list[str] = []
    talk.command("/set", shown.append)
    assert f"seed {settings.seed}   " in shown[-1]
    talk.settings = Settings()
    for line in shown:
        name, value, _ = line.split(maxsplit=2)
        talk.command(f"/set {name} {value}", lambda line: None)
    assert talk.settings == settings


@pytest.mark.parametrize(
    "extreme",
    [
        {"temperature": 1e-300}, {"temperature": 100}, {"top_p": 1e-300}, {"repetition_penalty": 0.01},
        {"repetition_penalty": 100}, {"top_k": 10**6}, {"no_repeat_ngram_size": 1}, {"max_new_tokens": 10**6},
        {"seed": 2**53 - 1},
    ],
)  # fmt: skip
def test_no_setting_in_its_range_breaks_an_answer(scripted: Callable, extreme):
    model = scripted("No: 1 + 1 = 2.")
    playground = Playground(model, Settings(seed=1).changed(extreme))
    prompt = playground.prompt(turns(0), playground.settings)
    items = list(playground.write(prompt, playground.settings, 0, lambda: False))
    assert isinstance(items[-1], Ending)
    assert math.isfinite(items[-1].bits)


def test_a_system_message_needs_a_place(scripted: Callable):
    with pytest.raises(UserError, match="has no chat template"):
        Playground(scripted("x", chat=False), system="Be brief.")
    with pytest.raises(UserError, match="go on with texts"):
        Playground(scripted("x"), raw=True, system="Be brief.")
    model = scripted("x")
    model._chat = ChatFormat("{{ raise_exception('no') }}", model.tokenizer)
    with pytest.raises(UserError, match="refused by the chat template"):
        Playground(model, system="Be brief.")


def test_a_model_of_nan_is_one_sentence(scripted: Callable):
    model = scripted("x")
    model.next_logits = lambda *_: __import__("torch").full((1, 290), math.nan)
    playground = Playground(model)
    with pytest.raises(UserError, match="is not a number"):
        list(playground.write(playground.prompt(turns(0), playground.settings), Settings(), 0, lambda: False))
