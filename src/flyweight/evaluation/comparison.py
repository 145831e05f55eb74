"""Two models on the same items: by how much do they differ, and can they be told apart?

Differences are paired: both models saw the same items, so that what makes an item hard for both falls out.
Where many comparisons are made, some seem to differ by chance; how many is said, and Holm's correction over
all of them says which differences survive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flyweight.base import UserError, derive_seed
from flyweight.evaluation.resampling import Paired, holm, paired_difference
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.runs import Run

RESAMPLES = 10_000
COVERAGE = 0.95

FEWEST_ITEMS = 10
"""With fewer items that both have, nothing is said about which is better."""

LOWER_IS_BETTER = frozenset(
    {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "loss", "ece"}
)
"""Metrics of which less is better; they are no shares of 1 either."""


def is_lower_better(metric: str) -> bool:
    """Whether less of `metric` is better; a filter after a comma (`exact_match,strict-match`) does not matter."""
    return metric.partition(",")[0] in LOWER_IS_BETTER


@dataclass(frozen=True)
class Difference:
    """One metric of one task in two models; A less B."""

    task: str
    metric: str
    a: float
    """The first model's value, over the items that both have."""
    b: float
    """The second model's."""
    difference: float
    stderr: float | None
    """Standard error of the paired difference."""
    low: float
    """The ends of the bootstrap interval."""
    high: float
    p: float
    """Two-sided, from the same bootstrap."""
    p_holm: float
    """Adjusted for all comparisons made together."""
    items: int
    """Items that both have."""
    only_a: int
    """Items that only the first has; they are left out."""
    only_b: int
    """Items that only the second has."""
    averaging: str
    """How items make the number: `items`, `subsets` (a mean of the subsets' means), `weight`."""

    @property
    def is_told_apart(self) -> bool:
        """Whether the interval leaves zero out, with enough items to say so."""
        return self.items >= FEWEST_ITEMS and (self.low > 0 or self.high < 0)

    @property
    def survives(self) -> bool:
        """Whether it is still there after the correction for all comparisons."""
        return self.is_told_apart and self.p_holm < 1 - COVERAGE

    def sentence(self, a: str, b: str) -> str:
        """What the figures say, plainly."""
        lower = is_lower_better(self.metric)
        scale, unit = (1.0, "") if lower else (100.0, " points")
        digits = ".4f" if lower else ".1f"
        where = f"on {self.task} ({self.metric})"
        if self.items < FEWEST_ITEMS:
            return f"{a} and {b} have only {self.items} items of {self.task} in common: too few to tell them apart"
        low, high = scale * self.low, scale * self.high
        if not self.is_told_apart:
            return (
                f"{a} and {b} cannot be told apart {where}: difference {scale * self.difference:{digits}}{unit}, "
                f"{COVERAGE:.0%} interval {low:{digits}} to {high:{digits}}"
            )
        better, worse, sign = (a, b, 1) if (self.difference > 0) != lower else (b, a, -1)
        sign = -sign if lower else sign
        ends = sorted((sign * low, sign * high))
        said = (
            f"{better} is better than {worse} {where} by {abs(scale * self.difference):{digits}}{unit} "
            f"({COVERAGE:.0%} interval {ends[0]:{digits}} to {ends[1]:{digits}})"
        )
        if not self.survives:
            said += f", which may be chance among so many comparisons (Holm's p {self.p_holm:.2g})"
        return said


@dataclass(frozen=True)
class Comparison:
    """Two models on all that both were measured on."""

    a: str
    b: str
    differences: tuple[Difference, ...]
    refused: dict[str, str]
    """Tasks or metrics that cannot be compared, each with the reason."""
    notes: tuple[str, ...]
    resamples: int

    @property
    def sentences(self) -> list[str]:
        """One a difference."""
        return [one.sentence(self.a, self.b) for one in self.differences]

    @property
    def summary(self) -> str:
        """How many differ, how many would by chance, how many survive the correction."""
        count = len(self.differences)
        apart = sum(one.is_told_apart for one in self.differences)
        survive = sum(one.survives for one in self.differences)
        chance = (1 - COVERAGE) * count
        return (
            f"{apart} of {count} comparisons have an interval that leaves out zero; about {chance:.1f} would by chance "
            f"if the models were equally good. After Holm's correction for all {count}, {survive} "
            f"{'is' if survive == 1 else 'are'} left."
        )

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "a": self.a,
            "b": self.b,
            "coverage": COVERAGE,
            "resamples": self.resamples,
            "differences": [
                {
                    **asdict(one),
                    "told_apart": one.is_told_apart,
                    "survives_holm": one.survives,
                    "sentence": one.sentence(self.a, self.b),
                }
                for one in self.differences
            ],
            "summary": self.summary,
            "refused": self.refused,
            "notes": list(self.notes),
        }


def compare(a: Run, b: Run, *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """All metrics of all tasks that both runs have.

    Args:
        a: the first run.
        b: the second; differences are A less B.
        resamples: bootstrap draws.
        seed: of these.

    Raises:
        UserError: nothing that can be compared; the sentence says why.
    """
    refused: dict[str, str] = {}
    found: list[Difference] = []
    first, second = _names(a, b)
    for task in a.tasks:
        if task not in b.tasks:
            continue
        one, other = a.tasks[task], b.tasks[task]
        if (reason := _why_not(one, other, first, second)) is not None:
            refused[task] = reason
            continue
        places, only_a, only_b = _matched(one.items["id"], other.items["id"])
        for metric in one.metrics:
            if metric not in other.metrics:
                continue
            difference = _difference(task, metric, one, other, places, resamples, seed)
            if isinstance(difference, str):
                refused[f"{task} ({metric})"] = difference
            else:
                found.append(Difference(**difference, only_a=only_a, only_b=only_b, p_holm=1.0))
    if not found:
        raise UserError(_nothing(a, b, first, second, refused))
    adjusted = holm([one.p for one in found])
    found = [Difference(**{**asdict(one), "p_holm": p}) for one, p in zip(found, adjusted, strict=True)]
    return Comparison(first, second, tuple(found), refused, _notes(a, b, first, second, found), resamples)


def _names(a: Run, b: Run) -> tuple[str, str]:
    return (a.name, b.name) if a.name != b.name else (f"{a.name} (first)", f"{b.name} (second)")


def _why_not(one: TaskResult, other: TaskResult, a: str, b: str) -> str | None:
    """Why two results of a task are not comparable; None where they are."""
    prints = [result.data.get("fingerprint") for result in (one, other)]
    if prints[0] and prints[1] and prints[0] != prints[1]:
        return (
            f"the items are not the same: {a} was measured on data {prints[0][:12]} ({one.data.get('source', '?')}), "
            f"{b} on {prints[1][:12]} ({other.data.get('source', '?')}); measure both on the same data"
        )
    if one.shots != other.shots:
        return (
            f"{a} was given {one.shots} examples in the prompt and {b} {other.shots}; measure both with the same "
            f"number"
        )
    for name, result in ((a, one), (b, other)):
        ids = result.items.get("id")
        if not ids:
            return f"the results of {name} keep no items; measure it again"
        if len(set(ids)) < len(ids):
            return f"{len(ids) - len(set(ids))} items of {name} share their id with another, so they cannot be matched"
    return None


def _matched(first: Sequence[Any], second: Sequence[Any]) -> tuple[np.ndarray, int, int]:
    """Places (n, 2) of the items that both have, and how many only the one or the other has."""
    where = {item: place for place, item in enumerate(second)}
    places = [(place, where[item]) for place, item in enumerate(first) if item in where]
    return np.array(places, np.int64).reshape(-1, 2), len(first) - len(places), len(second) - len(places)


def _difference(
    task: str,
    metric: str,
    one: TaskResult,
    other: TaskResult,
    places: np.ndarray,
    resamples: int,
    seed: int,
) -> dict[str, Any] | str:
    """The fields of a difference, or why there is none."""
    ways = [_averagings(result, metric) for result in (one, other)]
    if not all(ways):
        return "its value is no mean over the items that were kept, so it has no paired difference"
    way = next((way for way in ways[0] if way in ways[1]), None)
    if way is None:
        return "the two values are means of different kinds"
    columns = [
        [result.items[metric][place] for place in side]
        for result, side in zip((one, other), places.T, strict=True)
    ]
    kept = np.array([x is not None and y is not None for x, y in zip(*columns, strict=True)], bool)
    if not kept.any():
        return "no item that both have counts for it"
    rows = places[kept][:, 0]
    first, second = (np.array(column, dtype=object)[kept].astype(np.float64) for column in columns)
    groups = [one.items["subset"][row] for row in rows] if way == "subsets" else None
    weights = np.array([one.items["weight"][row] for row in rows], np.float64) if way == "weight" else None
    random = np.random.default_rng(derive_seed(seed, "comparison", task, metric))
    paired: Paired = paired_difference(
        first, second, groups=groups, weights=weights, resamples=resamples, coverage=COVERAGE, random=random
    )
    return {
        "task": task,
        "metric": metric,
        "a": _mean(first, groups, weights),
        "b": _mean(second, groups, weights),
        **paired._asdict(),
        "items": int(kept.sum()),
        "averaging": way,
    }


def _averagings(result: TaskResult, metric: str) -> list[str]:
    """The ways in which the items' column makes the reported value, found by trying.

    A mean of subsets' means comes first: with subsets of one size it is the plain mean as well, and to draw
    within subsets is then right.
    """
    column = result.items.get(metric)
    if column is None:
        return []
    rows = [row for row, value in enumerate(column) if value is not None]
    if not rows:
        return []
    values = np.array([column[row] for row in rows], np.float64)
    candidates: dict[str, tuple[list[str] | None, np.ndarray | None]] = {}
    if "subset" in result.items:
        candidates["subsets"] = ([result.items["subset"][row] for row in rows], None)
    candidates["items"] = (None, None)
    if "weight" in result.items:
        candidates["weight"] = (None, np.array([result.items["weight"][row] for row in rows], np.float64))
    reported = result.metrics[metric].value
    return [
        name
        for name, (groups, weights) in candidates.items()
        if math.isclose(_mean(values, groups, weights), reported, rel_tol=1e-6, abs_tol=1e-9)
    ]


def _mean(values: np.ndarray, groups: Sequence[str] | None, weights: np.ndarray | None) -> float:
    if weights is not None:
        return float((weights * values).sum() / weights.sum())
    if groups is None:
        return float(values.mean())
    _, labels = np.unique(groups, return_inverse=True)
    return float((np.bincount(labels, values) / np.bincount(labels)).mean())


def _nothing(a: Run, b: Run, first: str, second: str, refused: Mapping[str, str]) -> str:
    if refused:
        task, reason = next(iter(refused.items()))
        more = f" ({len(refused) - 1} more were refused)" if len(refused) > 1 else ""
        return f"{first} and {second} cannot be compared on {task}: {reason}{more}."
    return (
        f"{first} and {second} have no task in common: the first was measured on {', '.join(a.tasks) or 'none'}, the "
        f"second on {', '.join(b.tasks) or 'none'}; measure both on the same tasks."
    )


def _notes(a: Run, b: Run, first: str, second: str, found: Sequence[Difference]) -> tuple[str, ...]:
    notes = []
    if a.fingerprint and a.fingerprint == b.fingerprint:
        notes.append("both results are of the same weights")
    for name in sorted(set(a.versions) & set(b.versions)):
        if a.versions[name] != b.versions[name]:
            notes.append(
                f"{first} was measured with {name} {a.versions[name]}, {second} with {b.versions[name]}"
            )
    partial = {one.task: (one.only_a, one.only_b) for one in found if one.only_a or one.only_b}
    for task, (only_a, only_b) in partial.items():
        notes.append(
            f"{task}: {only_a:,} items only {first} has and {only_b:,} only {second} has are left out, so the values "
            f"are not those of the full set"
        )
    return tuple(notes)
