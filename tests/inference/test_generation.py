from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import NoRepeatNGramLogitsProcessor

from flyweight.base import UserError
from flyweight.corpus import TextTokenizer
from flyweight.inference import DecoderModel, LanguageModel, generate, generate_stream
from flyweight.inference.generation import fit_prompt, generate_steps, generate_tokens, stream_text
from flyweight.inference.sampling import Sampling, next_token_probabilities, penalise, without_repeats
from flyweight.model import Decoder

GREEDY = Sampling(temperature=0)


class ScriptedModel(LanguageModel):
    """Wants to say `script` after the prompt, whatever it is; records the longest input it was shown."""

    def __init__(self, tokenizer: TextTokenizer, script: list[int], prompt_tokens: int, max_length: int = 64):
        super().__init__("scripted", tokenizer, max_length, torch.device("cpu"))
        self.script, self.prompt_tokens, self.longest = script, prompt_tokens, 0

    def logits_at(self, tokens: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        self.longest = max(self.longest, tokens.shape[1])
        logits = torch.zeros(len(rows), 300)
        for row, position in enumerate(positions.tolist()):
            step = position + 1 - self.prompt_tokens
            logits[row, self.script[step % len(self.script)]] = 50.0
        return logits


def test_greedy_with_cache_is_argmax_of_the_full_forward(model: DecoderModel, decoder: Decoder):
    prompt = "The cat sat"
    tokens = [model.prefix_token, *model.tokenizer.encode(prompt)]
    expected = []
    with torch.no_grad():
        for _ in range(12):
            logits = decoder.logits(decoder(torch.tensor([tokens])))[0, -1, : model.tokenizer.vocab_size]
            token = int(logits.argmax())
            if token == model.tokenizer.end_of_text:
                break
            tokens.append(token)
            expected.append(token)
    assert expected, "a test in which nothing is generated proves nothing"
    assert list(generate_tokens(model, prompt, 12, GREEDY, seed=0)) == expected
    assert generate(model, prompt, 12, temperature=0) == model.tokenizer.decode(expected)


def test_the_seed_decides(model: DecoderModel):
    texts = [generate(model, "The", 20, temperature=1.0, seed=seed) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_temperature_zero_ignores_the_seed(model: DecoderModel):
    assert len({generate(model, "The", 10, temperature=0, seed=seed) for seed in range(3)}) == 1


def test_end_of_text_ends_the_text(tokenizer: TextTokenizer):
    said = tokenizer.encode("the dog")
    script = ScriptedModel(tokenizer, [*said, tokenizer.end_of_text, *said], prompt_tokens=1)
    assert generate(script, "", 50, temperature=0) == "the dog"


def test_a_full_context_ends_the_text_and_a_long_prompt_keeps_its_end(tokenizer: TextTokenizer):
    word = tokenizer.encode("a")
    long = ScriptedModel(tokenizer, word, prompt_tokens=0, max_length=16)
    assert len(list(generate_tokens(long, "x" * 100, 100, GREEDY, 0))) == 8  # half of the context is prompt
    assert long.longest == 15  # the last token generated is never an input
    short = ScriptedModel(tokenizer, word, prompt_tokens=0, max_length=16)
    assert len(list(generate_tokens(short, "x" * 100, 3, GREEDY, 0))) == 3
    assert len(list(generate_tokens(short, "", 100, GREEDY, 0))) == 15


def test_fit_prompt():
    tokens = list(range(20))
    assert fit_prompt(tokens[:5], 4, 16) == tokens[:5]
    assert fit_prompt(tokens, 4, 16) == tokens[-12:]
    assert fit_prompt(tokens, 100, 16) == tokens[-8:]
    assert fit_prompt(tokens, 1, 1) == tokens[-1:]


def test_padded_vocabulary_rows_are_never_drawn(tokenizer: TextTokenizer):
    class Padded(ScriptedModel):
        def logits_at(
            self, tokens: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor
        ) -> torch.Tensor:
            logits = torch.zeros(1, 300)
            logits[:, tokenizer.vocab_size :] = 100.0
            return logits

    drawn = list(generate_tokens(Padded(tokenizer, [1], 1), "a", 40, Sampling(), seed=4))
    assert drawn
    assert max(drawn) < tokenizer.vocab_size


def test_top_k_and_top_p_keep_the_fewest_most_likely():
    logits = torch.tensor([1.0, 3.0, 2.0, 0.0]).log()  # probabilities 1/6, 3/6, 2/6, 0
    none = torch.tensor([], dtype=torch.int64)

    def kept(**settings: Any) -> list[int]:
        return next_token_probabilities(logits, none, Sampling(**settings)).nonzero()[:, 0].tolist()

    assert kept() == [0, 1, 2]
    assert kept(top_k=1) == [1]
    assert kept(top_k=2) == [1, 2]
    assert kept(top_p=0.01) == [1]
    assert kept(top_p=0.4) == [1]
    assert kept(top_p=0.6) == [1, 2]
    assert kept(top_p=0.9) == [0, 1, 2]
    assert kept(top_k=2, top_p=0.59) == [1]  # 3/5 of what top_k left is already more than 0.59
    both = next_token_probabilities(logits, none, Sampling(top_k=2))
    torch.testing.assert_close(both, torch.tensor([0, 0.6, 0.4, 0]))


@pytest.mark.parametrize("top_p", [1.0, 0.9999999])
def test_top_p_cuts_no_more_of_a_large_vocabulary_than_it_says(top_p: float):
    logits = 3 * torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    got = next_token_probabilities(logits, torch.tensor([0]), Sampling(top_p=top_p)).double()
    expected = logits.double().softmax(0)
    ordered, tokens = expected.sort(descending=True)
    kept = torch.zeros(len(logits), dtype=torch.bool)
    kept[tokens] = ordered.cumsum(0) - ordered < top_p
    assert bool(kept.all()) == (top_p == 1)
    assert bool(((got > 0) == kept).all())
    torch.testing.assert_close(got, expected * kept / expected[kept].sum(), rtol=1e-5, atol=0)


def test_temperature_sharpens_and_flattens():
    logits, none = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([], dtype=torch.int64)
    for temperature in (0.5, 1.0, 3.0):
        got = next_token_probabilities(logits, none, Sampling(temperature=temperature))
        torch.testing.assert_close(got, (logits / temperature).softmax(0))
    tiny = next_token_probabilities(logits, none, Sampling(temperature=1e-30))
    assert tiny.tolist() == [1, 0, 0]


def test_repetition_penalty_makes_what_was_seen_less_likely():
    logits = torch.tensor([2.0, -2.0, 1.0, 0.5])
    got = penalise(logits, torch.tensor([0, 1, 1, 0]), 2.0)
    assert got.tolist() == [1.0, -4.0, 1.0, 0.5]  # once, however often seen
    assert penalise(logits, torch.tensor([0, 1]), 1.0).tolist() == logits.tolist()
    greedy = next_token_probabilities(logits, torch.tensor([0]), Sampling(0.0, repetition_penalty=4.0))
    assert int(greedy.argmax()) == 2


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_run_of_tokens_comes_twice_as_transformers_does_it(size: int):
    logits = torch.zeros(4)
    for length in range(8):
        for seed in range(20):
            seen = torch.randint(0, 4, (length,), generator=torch.Generator().manual_seed(seed))
            got = without_repeats(logits, seen, size)
            if not length:
                assert got.tolist() == logits.tolist()
                continue
            expected = NoRepeatNGramLogitsProcessor(size)(seen[None], logits[None].clone())[0]
            if expected.isneginf().all():  # there, transformers has nothing left to draw from
                expected = logits
            assert got.tolist() == expected.tolist(), seen


def test_steps_show_the_models_probabilities_and_what_sampling_left_of_them(model: DecoderModel):
    steps = list(generate_steps(model, model.tokenizer.encode("The cat"), 8, Sampling(0.5, 0.8, 20), seed=3))
    assert steps
    for step in steps:
        assert step.model.sum() == pytest.approx(1, abs=1e-5)
        assert step.drawn_from.sum() == pytest.approx(1, abs=1e-5)
        assert step.drawn_from[step.token] > 0
        assert 0 < int((step.drawn_from > 0).sum()) <= 20
        likeliest = step.model.topk(int((step.drawn_from > 0).sum())).indices
        assert set(likeliest.tolist()) == set(step.drawn_from.nonzero()[:, 0].tolist())


def test_further_stop_tokens_end_the_text_and_are_told(model: DecoderModel):
    context = model.tokenizer.encode("The cat")
    free = [step.token for step in generate_steps(model, context, 8, GREEDY, 0)]
    stopped = list(generate_steps(model, context, 8, GREEDY, 0, [free[3]]))
    place = free.index(free[3])
    assert [step.token for step in stopped] == free[: place + 1]
    assert [step.ends for step in stopped] == [False] * place + [True]


def test_the_prefix_token_is_not_penalised(tokenizer: TextTokenizer):
    # Penalised, end_of_text (2 / 1.5) would lose against "a" (1.9).
    class Ending(ScriptedModel):
        def logits_at(
            self, tokens: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor
        ) -> torch.Tensor:
            logits = torch.zeros(1, 300)
            logits[0, tokenizer.end_of_text] = 2.0
            logits[0, tokenizer.encode("a")[0]] = 1.9
            return logits

    assert generate(Ending(tokenizer, [1], 1), "b", 5, temperature=0, repetition_penalty=1.5) == ""


@pytest.mark.parametrize("text", ["naïve ☃ 🙂🙂 family 👨‍👩‍👧 日本語", "plain", "", "\ufffd real \ufffd"])
def test_streamed_pieces_join_to_the_text_and_hold_whole_characters(tokenizer: TextTokenizer, text: str):
    tokens = tokenizer.encode(text)
    pieces = list(stream_text(tokenizer, iter(tokens)))
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) > 1 or len(tokens) < 2


def test_a_character_that_never_ends_is_shown_at_last(tokenizer: TextTokenizer):
    tokens = tokenizer.encode("a🙂")[:-1]
    assert "".join(stream_text(tokenizer, iter(tokens))) == tokenizer.decode(tokens)


def test_streaming_is_lazy(tokenizer: TextTokenizer):
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for token in tokenizer.encode("cat dog bird"):
            taken += 1
            yield token

    stream = stream_text(tokenizer, source())
    next(stream)
    assert taken == 1


def test_streamed_generation_is_the_generated_text(model: DecoderModel):
    for seed in range(5):
        settings: dict[str, Any] = {"max_new_tokens": 30, "temperature": 1.5, "seed": seed}
        assert "".join(generate_stream(model, "é", **settings)) == generate(model, "é", **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"repetition_penalty": 0},
        {"repetition_penalty": 1e-300},
        {"no_repeat_ngram_size": -1},
        {"max_new_tokens": 0},
    ],
)
def test_settings_out_of_range_are_refused_at_once(model: DecoderModel, settings: dict[str, Any]):
    with pytest.raises(UserError, match=next(iter(settings))):
        generate_stream(model, "a", **settings)


@pytest.mark.parametrize("extreme", [{"temperature": 1e-300}, {"temperature": 1e-37}, {"top_p": 1e-300}])
def test_tiny_settings_take_the_most_likely_token(extreme: dict[str, float]):
    logits = torch.tensor([1.0, 3.0, -20.0, 2.0])
    probabilities = next_token_probabilities(logits, torch.tensor([0]), Sampling(**extreme))
    assert probabilities.tolist() == [0.0, 1.0, 0.0, 0.0]


def test_a_model_that_computes_nan_is_one_sentence(tokenizer: TextTokenizer):
    class Broken(ScriptedModel):
        def logits_at(
            self, tokens: torch.Tensor, rows: torch.Tensor, positions: torch.Tensor
        ) -> torch.Tensor:
            return super().logits_at(tokens, rows, positions) * float("nan")

    with pytest.raises(UserError, match=r"^scripted: what .* not a number \(NaN\): its weights"):
        generate(Broken(tokenizer, [1], 1), "The")
