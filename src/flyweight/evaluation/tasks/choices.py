"""Endings to choose from, scored as ArithMark's publisher does, and what the scores come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from flyweight.evaluation.likelihood import Request, score_requests
from flyweight.evaluation.results import Metric
from flyweight.evaluation.statistics import mean, standard_error
from flyweight.inference import LanguageModel


class ScoredChoices(NamedTuple):
    """Of each question, what its endings got."""

    sums: list[list[float]]
    """Log-likelihoods of the endings, nats."""
    tokens: list[list[int]]
    """Tokens of the endings."""
    fit: dict[str, int]
    """`requests`, `truncated` of them, and `tokens_lost` by that."""

    @property
    def means(self) -> list[list[float]]:
        """Log-likelihoods for a token of the ending."""
        return [
            [value / count for value, count in zip(*pair, strict=True)]
            for pair in zip(self.sums, self.tokens, strict=True)
        ]


def score_choices(
    model: LanguageModel,
    questions: Sequence[tuple[str, Sequence[str]]],
    progress: Callable[[float], None] | None = None,
) -> ScoredChoices:
    """Score questions, each a context and its endings.

    Context and ending are tokenised apart and nothing is put before the context.
    """
    encode = model.tokenizer.encode_batch
    contexts = encode([context for context, _ in questions])
    endings = encode([ending for _, some in questions for ending in some])
    owners = [tokens for tokens, (_, some) in zip(contexts, questions, strict=True) for _ in some]
    requests: list[Request] = list(zip(owners, endings, strict=True))
    scores = score_requests(model, requests, progress=progress)
    values = scores.values
    fit = {"requests": len(requests), "truncated": scores.truncated, "tokens_lost": scores.tokens_lost}
    sums, counts, start = [], [], 0
    for _, some in questions:
        end = start + len(some)
        sums.append(values[start:end])
        counts.append([len(tokens) for tokens in endings[start:end]])
        start = end
    return ScoredChoices(sums, counts, fit)


def chosen_right(scores: Sequence[Sequence[float]], gold: Sequence[int]) -> list[float]:
    """1 where the right ending has the highest score, else 0; of equals the first is the one that is chosen."""
    return [float(row.index(max(row)) == right) for row, right in zip(map(list, scores), gold, strict=True)]


def metric_of(values: Sequence[float]) -> Metric:
    """The mean of `values` with its standard error."""
    return Metric(mean(values), standard_error(values), len(values))


def by_part(
    parts: Iterable[str | None], metrics: Mapping[str, Sequence[float | None]]
) -> dict[str, dict[str, Metric]]:
    """The metrics of each part of the items; None in `parts` belongs to none, None as a value does not count."""
    places: dict[str, list[int]] = {}
    for place, part in enumerate(parts):
        if part is not None:
            places.setdefault(part, []).append(place)
    found: dict[str, dict[str, Metric]] = {}
    for part, some in places.items():
        columns = {
            name: [value for place in some if (value := values[place]) is not None]
            for name, values in metrics.items()
        }
        found[part] = {name: metric_of(values) for name, values in columns.items() if values}
    return found
