from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flyweight.inference import DecoderModel, LanguageModel, batched, load_model
from flyweight.inference.batched import Prompt, write_batched
from flyweight.model import KVCache


def prompts(seed: int, count: int) -> list[Prompt]:
    rng = random.Random(seed)
    return [
        Prompt([rng.randrange(1, 250) for _ in range(rng.randint(1, 12))], rng.randint(1, 12))
        for _ in range(count)
    ]


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_prompts_together_are_continued_as_alone(model: DecoderModel, llama_folder: Path, rows: int):
    for some in (model, load_model(llama_folder, "cpu")):
        wanted = prompts(4, 20)
        alone = [write_batched(some, [prompt])[0] for prompt in wanted]
        assert write_batched(some, wanted, rows=rows) == alone
        assert [one.tokens for one in alone] == [
            len(greedy(some, prompt)) - (one.reason == "end")
            for one, prompt in zip(alone, wanted, strict=True)
        ]


def greedy(model: LanguageModel, prompt: Prompt) -> list[int]:
    """Token by token, without a cache."""
    tokens, new = list(prompt.tokens), []
    while len(new) < prompt.max_new_tokens and not (new and new[-1] in model.stop_tokens):
        place = torch.tensor([len(tokens) - 1])
        new.append(int(model.logits_at(torch.tensor([tokens]), torch.tensor([0]), place).argmax()))
        tokens.append(new[-1])
    return new


def test_a_stop_string_ends_a_text(model: DecoderModel):
    (prompt,) = prompts(1, 1)
    free = write_batched(model, [prompt._replace(max_new_tokens=12)])[0]
    assert free.reason == "length"
    stop = free.text[2:4]
    held = write_batched(model, [prompt._replace(max_new_tokens=12, stop=(stop, "never"))])[0]
    assert held.reason == "stop"
    assert stop in held.text
    assert free.text.startswith(held.text)
    assert held.tokens < free.tokens


def test_the_ending_token_ends_a_text_and_is_not_in_it(model: DecoderModel, monkeypatch: pytest.MonkeyPatch):
    (prompt,) = prompts(1, 1)
    second = greedy(model, prompt._replace(max_new_tokens=2))[1]
    monkeypatch.setattr(model, "stop_tokens", frozenset({second}))
    written = write_batched(model, [prompt._replace(max_new_tokens=12)])[0]
    assert written.reason == "end"
    assert written.tokens <= 1


def test_long_prompts_keep_to_the_tokens_that_a_cache_may_hold(
    model: DecoderModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batched, "CACHED_TOKENS", 90)
    held, seen = [], model.next_logits

    def watched(tokens: Tensor, cache: KVCache, valid: Tensor | None = None) -> Tensor:
        held.append(len(tokens))
        return seen(tokens, cache, valid)

    wanted = [Prompt([*range(1, 9)], new) for new in (4, 7, 10, 10, 7, 4, 10, 10)]
    expected = write_batched(model, wanted, rows=1)
    monkeypatch.setattr(model, "next_logits", watched)
    assert write_batched(model, wanted, rows=8) == expected
    assert max(held) == 90 // 18


def test_progress_ends_at_one_and_nothing_is_nothing(model: DecoderModel):
    shares: list[float] = []
    write_batched(model, prompts(2, 5), progress=shares.append)
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert write_batched(model, []) == []
