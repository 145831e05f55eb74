"""Paired differences between two models on the same items, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_FEW_VALUES = 64
_AT_ONCE = 4_000_000  # drawn indices held at once


class Paired(NamedTuple):
    """A difference between two means over the same items."""

    difference: float
    stderr: float | None
    """Standard error of the paired difference; None with a single item in a group."""
    low: float
    """The ends of the percentile interval."""
    high: float
    p: float
    """Two-sided: how often a resampled difference lies on the other side of zero, twice; at least 2 / (draws + 1)."""


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    weights: np.ndarray | None = None,
    resamples: int,
    coverage: float,
    random: np.random.Generator,
) -> Paired:
    """Mean of `first` less mean of `second`, items drawn again with replacement, both models' values together.

    Args:
        first: (n,) what each item adds to the first model's mean.
        second: (n,) the same of the second.
        groups: (n,) where the number is a plain mean of the groups' means: items are drawn within each group.
        weights: (n,) where it is a weighted mean; not with groups.
        resamples: draws.
        coverage: of the interval.
        random: draws.
    """
    assert groups is None or weights is None
    change = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    if weights is not None:
        drawn, difference, error = _weighted(change, np.asarray(weights, np.float64), resamples, random)
    else:
        labels = (
            np.zeros(len(change), np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
        )
        parts = [change[labels == label] for label in range(labels.max() + 1)]
        drawn = np.mean([_means(part, resamples, random) for part in parts], axis=0)
        difference = float(np.mean([part.mean() for part in parts]))
        error = (
            float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) / len(parts))
            if min(map(len, parts)) > 1
            else None
        )
    tail = 50 * (1 - coverage)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    beyond = min(int((drawn <= 1e-12).sum()), int((drawn >= -1e-12).sum()))
    return Paired(difference, error, float(low), float(high), min(1.0, 2 * (beyond + 1) / (resamples + 1)))


def _means(values: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Means (resamples,) of `values` drawn again."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _FEW_VALUES:
        # Right or wrong twice makes three differences: how often each is drawn is multinomial, exactly.
        return random.multinomial(len(values), counts / len(values), size=resamples) @ distinct / len(values)
    return _gathered(len(values), resamples, random, values)[0] / len(values)


def _weighted(
    change: np.ndarray, weights: np.ndarray, resamples: int, random: np.random.Generator
) -> tuple[np.ndarray, float, float | None]:
    total, count = weights.sum(), len(change)
    difference = float((weights * change).sum() / total)
    sums, sizes = _gathered(count, resamples, random, weights * change, weights)
    excess = weights * (change - difference)
    error = float(np.sqrt(count / (count - 1) * np.square(excess).sum()) / total) if count > 1 else None
    return sums / sizes, difference, error


def _gathered(
    count: int, resamples: int, random: np.random.Generator, *columns: np.ndarray
) -> list[np.ndarray]:
    """Of each column (n,), its sums (resamples,) over items drawn again, the same for all columns."""
    found: list[list[np.ndarray]] = [[] for _ in columns]
    step = max(1, _AT_ONCE // count)
    for start in range(0, resamples, step):
        drawn = random.integers(0, count, (min(step, resamples - start), count))
        for sums, column in zip(found, columns, strict=True):
            sums.append(column[drawn].sum(1))
    return [np.concatenate(sums) for sums in found]


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Scandinavian Journal of Statistics 6, 1979): valid however the tests depend."""
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = highest
    return adjusted
