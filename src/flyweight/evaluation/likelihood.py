"""Log-likelihoods of continuations, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch

from flyweight.inference import LanguageModel

Request = tuple[list[int], list[int]]
"""Tokens of a context and tokens of its continuation."""

BATCH_TOKENS = 8_192
"""Positions in one forward pass, padding included; one row may be longer."""


class Scores(NamedTuple):
    """What scoring a list of requests gives."""

    values: list[float]
    """Log-likelihood of each continuation, natural logarithm, in the order of the requests."""
    truncated: int
    """How many requests did not fit into the model and lost their first tokens."""


class _Row(NamedTuple):
    place: int
    """Index among the requests."""
    tokens: list[int]
    """Context and continuation, at most max_length + 1 tokens; the last is a target only."""
    scored: int
    """How many tokens at the end are scored."""


def log_likelihoods(
    model: LanguageModel, requests: Sequence[Request], batch_tokens: int = BATCH_TOKENS
) -> list[float]:
    """The sum of log p(continuation | context) of each request, in nats; see `score_requests`."""
    return score_requests(model, requests, batch_tokens).values


def score_requests(
    model: LanguageModel,
    requests: Sequence[Request],
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[float], None] | None = None,
) -> Scores:
    """The log-likelihood of each continuation after its context, as lm-eval scores it.

    An empty context is the model's prefix token. Of a request that is too long the last
    `max_length + 1` tokens are kept: the context is cut first, and a continuation longer than
    `max_length` is scored over its last `max_length` tokens. Requests are sorted by length, the
    longest first, padded on the right (causality makes that harmless) and batched by
    `batch_tokens`; log-softmax is float32 and only over the positions that are scored.

    Args:
        model: scores.
        requests: (context, continuation) pairs; a continuation has at least one token.
        batch_tokens: positions in a forward pass; it does not change the scores.
        progress: called with the share of the work that is done.
    """
    values = [0.0] * len(requests)
    rows = sorted(
        (_fit(model, *numbered) for numbered in enumerate(requests)), key=lambda row: -len(row.tokens)
    )
    done, total = 0, sum(len(row.tokens) for row in rows)
    for batch in _batches(rows, batch_tokens):
        for row, value in zip(batch, _score(model, batch), strict=True):
            values[row.place] = value
        done += sum(len(row.tokens) for row in batch)
        if progress is not None:
            progress(done / total)
    truncated = sum(
        max(len(context), 1) + len(continuation) > model.max_length + 1 for context, continuation in requests
    )
    return Scores(values, truncated)


def _fit(model: LanguageModel, place: int, request: Request) -> _Row:
    context, continuation = request
    assert continuation, "a continuation without tokens has no likelihood"
    tokens = [*(context or [model.prefix_token]), *continuation][-(model.max_length + 1) :]
    return _Row(place, tokens, min(len(continuation), len(tokens) - 1))


def _batches(rows: list[_Row], batch_tokens: int) -> Iterator[list[_Row]]:
    """Runs of `rows`, which come longest first, of at most `batch_tokens` positions each."""
    start = 0
    while start < len(rows):
        size = max(1, batch_tokens // (len(rows[start].tokens) - 1))
        yield rows[start : start + size]
        start += size


def _score(model: LanguageModel, batch: list[_Row]) -> list[float]:
    width = len(batch[0].tokens) - 1
    inputs = [row.tokens[:-1] + [0] * (width + 1 - len(row.tokens)) for row in batch]
    places = [
        (number, position)
        for number, row in enumerate(batch)
        for position in range(len(row.tokens) - 1 - row.scored, len(row.tokens) - 1)
    ]
    targets = [token for row in batch for token in row.tokens[-row.scored :]]
    rows, positions = torch.tensor(places, dtype=torch.int64, device=model.device).unbind(1)
    log_probs = model.target_log_probs(
        torch.tensor(inputs, dtype=torch.int64, device=model.device),
        rows,
        positions,
        torch.tensor(targets, dtype=torch.int64, device=model.device),
    ).cpu()
    return [part.double().sum().item() for part in log_probs.split([row.scored for row in batch])]
