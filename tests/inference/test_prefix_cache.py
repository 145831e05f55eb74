"""A text that begins like the last one is read from where they part, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.inference import DecoderModel, LanguageModel, PrefixCache, Sampling, generate_steps, load_model

LENGTH = 40
TOLERANCE = 1e-4
KINDS = ("own decoder", "transformers", "remembers nothing", "cannot be cut")


class Forgetful(LanguageModel):
    """Computes everything again for each token, as models without a cache do."""

    def __init__(self, model: DecoderModel) -> None:
        super().__init__("forgetful", model.tokenizer, model.max_length, model.device)
        self._model = model

    def logits_at(self, *arguments: Any) -> torch.Tensor:
        return self._model.logits_at(*arguments)


class Uncut(DecoderModel):
    def joins(self, cache: Any) -> bool:
        return False


@pytest.fixture(scope="module")
def models(decoder: Any, tokenizer: Any, llama_folder: Path) -> dict[str, LanguageModel]:
    own = DecoderModel(decoder, tokenizer)
    models = (own, load_model(llama_folder, "cpu"), Forgetful(own), Uncut(decoder, tokenizer))
    return dict(zip(KINDS, models, strict=True))


def last_logits(model: LanguageModel, tokens: list[int]) -> torch.Tensor:
    at = torch.tensor([len(tokens) - 1])
    return model.logits_at(torch.tensor([tokens]), torch.tensor([0]), at)[0]


texts = st.lists(
    st.tuples(st.integers(0, LENGTH), st.lists(st.integers(1, 9), min_size=1, max_size=12)), max_size=6
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(texts=texts)
def test_logits_are_those_of_the_whole_text_however_texts_follow_each_other(
    models: dict[str, LanguageModel], kind: str, texts: list[tuple[int, list[int]]]
) -> None:
    model, cache = models[kind], PrefixCache(models[kind])
    text: list[int] = []
    for kept, more in texts:
        before = text
        text = ([*text[:kept], *more])[-LENGTH:]
        known = cache.begin(text, len(text))
        same = next((n for n, (a, b) in enumerate(zip(before, text, strict=False)) if a != b), len(before))
        assert known == (0 if kind == "cannot be cut" else min(same, len(text) - 1))
        torch.testing.assert_close(cache.read(text[known:]), last_logits(model, text), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_same_with_it_and_what_was_written_is_known_too(
    models: dict[str, LanguageModel], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = models[kind], PrefixCache(models[kind])
    sampling, text, read = Sampling(0.9, 0.95), model.tokenizer.encode("The cat sat"), []
    answer = model.next_logits
    monkeypatch.setattr(
        model, "next_logits", lambda tokens, kept: read.append(tokens.shape[1]) or answer(tokens, kept)
    )
    for turn in range(3):
        alone = [step.token for step in generate_steps(model, text, 6, sampling, turn)]
        read.clear()
        steps = [step.token for step in generate_steps(model, text, 6, sampling, turn, cache=cache)]
        assert steps == alone
        # The last token that was written was not read, and the first of the turn must be.
        assert read[0] == (len(text) if turn == 0 or kind == "cannot be cut" else 3)
        text = [*text, *steps, 60, 61]


def test_a_step_that_breaks_off_leaves_nothing_that_is_trusted(
    models: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["transformers"]
    cache = PrefixCache(model)
    cache.begin([5, 6, 7, 8], 8)
    cache.read([5, 6, 7, 8])

    def interrupted(*arguments: Any) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "next_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cache.read([9])
    monkeypatch.undo()
    assert cache.begin([5, 6, 7, 8, 9], 8) == 0
    torch.testing.assert_close(
        cache.read([5, 6, 7, 8, 9]), last_logits(model, [5, 6, 7, 8, 9]), atol=TOLERANCE, rtol=0
    )
