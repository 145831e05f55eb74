"""Log-likelihoods of continuations, in batches, with what requests share computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from flyweight.base import UserError
from flyweight.evaluation.trees import LONGEST_ROW, Batch, Line, Row, make_batch, pack
from flyweight.inference import LanguageModel
from flyweight.inference.language_model import BROKEN
from flyweight.model import Placement

Request = tuple[list[int], list[int]]
"""Tokens of a context and tokens of its continuation."""

BATCH_TOKENS = 2_048
"""Positions in one forward pass, padding included; one row may be longer. On a CPU more than this is slower: the
activations of a layer no longer stay in its cache."""

BATCH_TOKENS_ON_GPU = 32_768
"""The same where thousands of positions are needed to keep the device busy."""


class Work(NamedTuple):
    """What scoring computed, and what it would have been with a row for each request and a readout everywhere."""

    tokens: int = 0
    """Tokens that went through the model, without padding."""
    readouts: int = 0
    """Places at which logits were computed."""
    tokens_alone: int = 0
    """Tokens of all requests."""


class Scores(NamedTuple):
    """What scoring a list of requests gives."""

    values: list[float]
    """Log-likelihood of each continuation, natural logarithm, in the order of the requests."""
    greedy: list[bool]
    """Whether greedy decoding would have written the continuation."""
    truncated: int
    """How many requests did not fit into the model and lost their first tokens."""
    tokens_lost: int
    """How many tokens they lost together."""
    work: Work
    """What was computed."""


def log_likelihoods(
    model: LanguageModel, requests: Sequence[Request], batch_tokens: int | None = None
) -> list[float]:
    """The sum of log p(continuation | context) of each request, in nats; see `score_requests`."""
    return score_requests(model, requests, batch_tokens).values


def score_requests(
    model: LanguageModel,
    requests: Sequence[Request],
    batch_tokens: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Scores:
    """The log-likelihood of each continuation after its context, as lm-eval scores it.

    An empty context is the model's prefix token. Of a request that is too long the last
    `max_length + 1` tokens are kept: the context is cut first, and a continuation longer than
    `max_length` is scored over its last `max_length` tokens. Requests that share tokens are packed into
    trees where the model takes them (`trees.pack`), rows are sorted by length, the longest first, padded on
    the right (causality makes that harmless) and batched by `batch_tokens`; log-softmax is float32 and only
    over the positions that are scored.

    Args:
        model: scores.
        requests: (context, continuation) pairs; a continuation has at least one token.
        batch_tokens: positions in a forward pass; it does not change the scores. None takes what suits the device.
        progress: called with the share of the work that is done.

    Raises:
        UserError: the model's likelihoods are no numbers, which would make the first choice always the best.
    """
    if batch_tokens is None:
        batch_tokens = BATCH_TOKENS if model.device.type == "cpu" else BATCH_TOKENS_ON_GPU
    lines = [_line(model, *request) for request in requests]
    values = np.zeros(len(requests))
    greedy = np.ones(len(requests), np.bool_)
    rows = pack(lines, trees=model.takes_trees, longest=min(LONGEST_ROW, model.longest_row or LONGEST_ROW))
    done, total, readouts = 0, sum(row.length for row in rows), 0
    for some in _batches(rows, batch_tokens):
        batch = make_batch(some, lines)
        log_probs, likeliest = _score(model, batch)
        if np.isnan(log_probs).any():
            raise UserError(BROKEN.format(model.name))
        values += np.bincount(batch.requests, log_probs, len(values))
        greedy[batch.requests[~likeliest]] = False
        readouts += len(batch.places)
        done += sum(row.length for row in some)
        if progress is not None:
            progress(done / total)
    lost = [max(0, max(len(context), 1) + len(rest) - model.max_length - 1) for context, rest in requests]
    return Scores(
        values.tolist(),
        greedy.tolist(),
        sum(tokens > 0 for tokens in lost),
        sum(lost),
        Work(total, readouts, sum(len(line.tokens) for line in lines)),
    )


def _line(model: LanguageModel, context: list[int], continuation: list[int]) -> Line:
    assert continuation, "a continuation without tokens has no likelihood"
    tokens = np.array(
        [*(context or [model.prefix_token]), *continuation][-(model.max_length + 1) :], np.int32
    )
    return Line(tokens[:-1], tokens[-min(len(continuation), len(tokens) - 1) :])


def _batches(rows: list[Row], batch_tokens: int) -> Iterator[list[Row]]:
    """Runs of `rows`, which come longest first, of at most `batch_tokens` positions each."""
    start = 0
    while start < len(rows):
        size = max(1, batch_tokens // rows[start].length)
        yield rows[start : start + size]
        start += size


def _score(model: LanguageModel, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    placement = None
    if batch.positions is not None and batch.mask is not None:
        placement = Placement(torch.from_numpy(batch.positions), torch.from_numpy(batch.mask)).to(
            model.device
        )
    tokens, rows, places, owners, targets = (
        torch.from_numpy(array).to(model.device)
        for array in (batch.tokens, batch.rows, batch.places, batch.owners, batch.targets)
    )
    scored = model.score(tokens, rows, places, owners, targets, placement)
    return scored.log_probs.cpu().double().numpy(), scored.likeliest.cpu().numpy()
