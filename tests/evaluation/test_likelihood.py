from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from flyweight.base import UserError
from flyweight.evaluation import log_likelihoods
from flyweight.evaluation.context_losses import position_losses
from flyweight.evaluation.likelihood import score_requests
from flyweight.evaluation.text_bits import measure_texts
from flyweight.evaluation.texts import Text, Texts
from flyweight.inference import DecoderModel, LanguageModel
from flyweight.inference.batched import Prompt, write_batched


def naive(model: DecoderModel, context: list[int], continuation: list[int]) -> float:
    """One request alone, from the logits of the whole sequence."""
    tokens = [*(context or [model.tokenizer.end_of_text]), *continuation]
    with torch.no_grad():
        logits = model.decoder.logits(model.decoder(torch.tensor([tokens[:-1]])))[0]
    log_probs = logits.double().log_softmax(-1)
    first = len(tokens) - len(continuation)
    return sum(float(log_probs[place - 1, tokens[place]]) for place in range(first, len(tokens)))


def some_requests(count: int, longest: int = 12) -> list[tuple[list[int], list[int]]]:
    rng = random.Random(3)

    def tokens(least: int) -> list[int]:
        return [rng.randrange(260) for _ in range(rng.randint(least, longest))]

    return [(tokens(0), tokens(1)) for _ in range(count)] + [([], [7])]


def test_each_score_is_what_the_request_alone_gives_in_the_order_asked(model: DecoderModel):
    requests = some_requests(60)
    assert any(not context for context, _ in requests)
    expected = [naive(model, *request) for request in requests]
    assert log_likelihoods(model, requests) == pytest.approx(expected, abs=1e-4)


def test_batch_size_changes_nothing(model: DecoderModel):
    requests = some_requests(40)
    reference = log_likelihoods(model, requests, batch_tokens=1)
    for batch_tokens in (13, 64, 100_000):
        assert log_likelihoods(model, requests, batch_tokens) == pytest.approx(reference, abs=1e-4)


def test_batches_keep_to_their_budget(uniform: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    shapes = []
    score = uniform.score
    monkeypatch.setattr(
        uniform, "score", lambda tokens, *rest: shapes.append(tokens.shape) or score(tokens, *rest)
    )
    log_likelihoods(uniform, some_requests(40), batch_tokens=50)
    assert shapes
    assert all(rows * width <= 50 for rows, width in shapes)
    assert [width for _, width in shapes] == sorted((width for _, width in shapes), reverse=True)
    assert len(shapes) < 41


def test_what_is_too_long_keeps_its_end_and_is_counted(model: DecoderModel):
    tokens = [token for context, _ in some_requests(40) for token in context]
    fits = (tokens[:20], tokens[20:25])  # 24 inputs and the last target: just fits
    long_context = (tokens[:60], tokens[60:65])
    long_continuation = (tokens[:5], tokens[5:45])
    scores = score_requests(model, [fits, long_context, long_continuation])
    assert scores.truncated == 2
    assert scores.values == pytest.approx(
        [
            naive(model, *fits),
            naive(model, tokens[40:60], tokens[60:65]),
            naive(model, tokens[20:21], tokens[21:45]),
        ],
        abs=1e-4,
    )


def test_uniform_scores(uniform: LanguageModel):
    values = log_likelihoods(uniform, [([1, 2], [3]), ([], [4, 5, 6])])
    assert values == pytest.approx([-torch.tensor(260.0).log().item() * n for n in (1, 3)])


def test_a_model_that_computes_no_numbers_is_not_scored(
    uniform: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        uniform, "logits_at", lambda tokens, rows, *_: torch.full((len(rows), 260), torch.nan)
    )
    with pytest.raises(UserError, match="uniform: what the model computes is not a number"):
        score_requests(uniform, [([1, 2], [3]), ([1, 2], [4])])
    with pytest.raises(UserError, match="uniform: what the model computes is not a number"):
        write_batched(uniform, [Prompt([1, 2], 3)])
    texts = Texts([Text("a", "word " * 200)], ("a",), "")
    with pytest.raises(UserError, match="uniform: what the model computes is not a number"):
        measure_texts(uniform, texts)
    with pytest.raises(UserError, match="uniform: what the model computes is not a number"):
        position_losses(uniform, texts)


def test_rows_of_several_requests_are_no_longer_than_the_model_allows(
    uniform: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    widths: list[int] = []
    score = uniform.score

    def seen(tokens: torch.Tensor, *rest: Any) -> Any:
        widths.append(tokens.shape[1])
        return score(tokens, *rest)

    monkeypatch.setattr(uniform, "takes_trees", True)
    monkeypatch.setattr(uniform, "score", seen)
    requests = [([1, 2, 3, 4], [n, 6, 7]) for n in range(8, 20)]
    free = score_requests(uniform, requests).values
    assert max(widths) > 12
    widths.clear()
    monkeypatch.setattr(uniform, "longest_row", 12)
    assert score_requests(uniform, requests).values == pytest.approx(free)
    assert max(widths) <= 12


def test_progress_ends_at_one(uniform: LanguageModel):
    shares: list[float] = []
    score_requests(uniform, some_requests(20), batch_tokens=40, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_no_requests_no_scores(uniform: LanguageModel):
    assert log_likelihoods(uniform, []) == []
