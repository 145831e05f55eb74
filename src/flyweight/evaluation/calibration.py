"""Calibration: does a model that gives a choice 70 percent get it right 7 times in 10?

Three definitions are in use for multiple choice, and their numbers differ; all three are given, by name
(`READINGS`). Each takes the softmax over the choices' log-likelihoods as the model's probabilities, and

    ECE = sum over bins of (n_b / N) |share right in b - mean probability in b|

(arXiv 1706.04599, equation 3, there for the first of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from flyweight.base import UserError, derive_seed
from flyweight.evaluation.results import TaskResult

Reading = Literal["options", "options-equal-count", "top-1"]

READINGS: dict[Reading, str] = {
    "options": "all choices, bins of equal width",
    "options-equal-count": "all choices, bins of equal count",
    "top-1": "the likeliest choice, bins of equal width",
}
"""`options`: how Figure 4 of Xmodel-2 (arXiv 2412.19638) and that of the GPT-4 report (2303.08774) are read
here; neither says. `options-equal-count`: arXiv 2207.05221. `top-1`: arXiv 1706.04599."""

BINS = 10
RESAMPLES = 1_000
COVERAGE = 0.95
MASS_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

_AT_ONCE = 64  # resamples that are drawn together: their weights are a (64, items) matrix


@dataclass(frozen=True)
class Bin:
    """A bin of a reliability diagram."""

    low: float
    """Its lower edge, a probability."""
    high: float
    """Its upper edge."""
    count: int
    """Probabilities in it."""
    confidence: float | None
    """Their mean; None in an empty bin."""
    right: float | None
    """The share of them whose choice is the right one."""
    right_low: float | None
    """The lower end of the bootstrap interval of that share."""
    right_high: float | None
    """The upper end."""


@dataclass(frozen=True)
class Reliability:
    """One reading of how well calibrated a model is."""

    reading: Reading
    bins: tuple[Bin, ...]
    ece: float
    """Expected calibration error, a share of 1."""
    ece_low: float
    """Bootstrap interval of it. Resampling adds noise to every bin, so that the interval lies above where one
    would expect it where there are few items."""
    ece_high: float
    ece_if_calibrated: float
    """Mean ECE of a perfectly calibrated model that gives these very probabilities to as many items: it is
    not zero, because a bin's share is never exactly its mean probability. ECE is biased upwards by about this
    at small n."""
    ece_if_calibrated_high: float
    """The value that such a model's ECE exceeds in one case of twenty."""


@dataclass(frozen=True)
class Calibration:
    """How far a model's probabilities of the choices can be believed."""

    items: int
    choices: int
    accuracy: float
    """Share of items whose likeliest choice is right. A model at chance that always says 25 percent is well
    calibrated, and knows nothing: never quote an ECE without this."""
    accuracy_stderr: float
    brier: float
    """Mean over items of the squared error summed over the choices (lm-eval's `brier_score`): 0 is perfect,
    1 - 1/choices is what equal probabilities give, 2 is the worst."""
    mass_mean: float
    """Mean over items of the probability of all choices together, before the softmax. Where it is small the
    model would rather say something else, and the probabilities are those of a forced choice."""
    mass_quantiles: dict[str, float]
    """The same: quantiles by their level."""
    readings: tuple[Reliability, ...]
    coverage: float = COVERAGE
    """Of all intervals."""
    resamples: int = RESAMPLES

    def reading(self, name: Reading) -> Reliability:
        """One of the three."""
        return next(one for one in self.readings if one.reading == name)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            **asdict(self),
            "readings": {one.reading: asdict(one) for one in self.readings},
        }


def calibration_of(result: TaskResult, task: str, **options: Any) -> Calibration:
    """The calibration of a multiple-choice task's result, from its columns `loglikelihoods` and `gold`.

    Args:
        result: what the task came to.
        task: its name, for errors.
        options: those of `calibrate`.

    Raises:
        UserError: a result without these columns, or items with different numbers of choices.
    """
    missing = [name for name in ("loglikelihoods", "gold") if name not in result.items]
    if missing:
        raise UserError(
            f"the results of {task} have no column {missing[0]!r}; calibration needs a multiple-choice task whose "
            f"items were kept, such as mmlu."
        )
    choices = {len(row) for row in result.items["loglikelihoods"]}
    if len(choices) != 1 or min(choices) < 2:
        found = ", ".join(map(str, sorted(choices))) or "none"
        raise UserError(
            f"the items of {task} have different numbers of choices ({found}); calibration over choices needs the same "
            f"number everywhere, as mmlu has."
        )
    return calibrate(result.items["loglikelihoods"], result.items["gold"], **options)


def calibrate(
    log_likelihoods: Sequence[Sequence[float]] | np.ndarray,
    gold: Sequence[int] | np.ndarray,
    *,
    bins: int = BINS,
    top_bins: int = BINS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Calibration:
    """The calibration of choices.

    Intervals are percentiles over items drawn again with replacement, all choices of an item together;
    the edges of the bins stay those of the whole set.

    Args:
        log_likelihoods: (N, K), natural logarithms: of item n, choice k.
        gold: (N,), the right choice of each item.
        bins: of the readings over all choices.
        top_bins: of the reading over the likeliest choice; 10 and 15 are both in use.
        resamples: bootstrap draws.
        seed: of these.

    Raises:
        UserError: no items, or a log-likelihood that is not a finite number.
    """
    values, right = np.asarray(log_likelihoods, np.float64), np.asarray(gold, np.int64)
    if values.ndim != 2 or len(values) == 0:
        raise UserError("calibration needs items with log-likelihoods of their choices; found none.")
    assert values.shape[1] >= 2
    assert right.shape == (len(values),)
    assert right.min() >= 0
    assert right.max() < values.shape[1]
    if not np.isfinite(values).all():
        raise UserError(
            f"{int((~np.isfinite(values)).any(1).sum()):,} of {len(values):,} items have a log-likelihood that is not "
            f"a finite number; calibration cannot be measured with them."
        )
    probabilities = _softmax(values)
    hits = np.arange(values.shape[1]) == right[:, None]
    top = probabilities.argmax(1)[:, None]  # the first of equals, as in the accuracy
    top_p, top_hits = (np.take_along_axis(table, top, 1) for table in (probabilities, hits))
    width = np.linspace(0, 1, bins + 1)
    accuracy = float(top_hits.mean())
    mass = np.exp(values).sum(1)

    def read(name: Reading, p: np.ndarray, hit: np.ndarray, edges: np.ndarray) -> Reliability:
        random = np.random.default_rng(derive_seed(seed, "calibration", name))
        return _reliability(name, p, hit, edges, probabilities, resamples, random)

    return Calibration(
        items=len(values),
        choices=values.shape[1],
        accuracy=accuracy,
        accuracy_stderr=float(np.sqrt(accuracy * (1 - accuracy) / max(1, len(values) - 1))),
        brier=float(((probabilities - hits) ** 2).sum(1).mean()),
        mass_mean=float(mass.mean()),
        mass_quantiles={f"{q:g}": float(np.quantile(mass, q)) for q in MASS_QUANTILES},
        readings=(
            read("options", probabilities, hits, width),
            read("options-equal-count", probabilities, hits, _equal_counts(probabilities, bins)),
            read("top-1", top_p, top_hits, np.linspace(0, 1, top_bins + 1)),
        ),
        resamples=resamples,
    )


def _softmax(values: np.ndarray) -> np.ndarray:
    weights = np.exp(values - values.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _equal_counts(probabilities: np.ndarray, bins: int) -> np.ndarray:
    """Edges between which lie equally many probabilities; fewer bins where many are the same."""
    inner = np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1])
    return np.unique([0.0, *inner, 1.0])


def _reliability(
    reading: Reading,
    p: np.ndarray,
    hit: np.ndarray,
    edges: np.ndarray,
    probabilities: np.ndarray,
    resamples: int,
    random: np.random.Generator,
) -> Reliability:
    """Bin `p` (N, M) and `hit` (N, M); the null model draws its answers by `probabilities` (N, K)."""
    # A probability on an edge belongs to the bin above it, 1 to the last one.
    place = np.minimum(np.searchsorted(edges, p, side="right") - 1, len(edges) - 2)
    counts, sums, hits = (_by_bin(place, table, len(edges) - 1) for table in (np.ones_like(p), p, hit))
    count, total, right = counts.sum(0), sums.sum(0), hits.sum(0)
    shares, errors = _resample(counts, sums, hits, resamples, random)
    errors_if = _if_calibrated(place, sums, probabilities, hit.shape[1] == 1, resamples, random)
    low, high = _interval(shares)
    found = [
        Bin(
            float(edges[b]), float(edges[b + 1]), int(count[b]), float(total[b] / count[b]),
            float(right[b] / count[b]), float(low[b]), float(high[b]),
        )
        if count[b]
        else Bin(float(edges[b]), float(edges[b + 1]), 0, None, None, None, None)
        for b in range(len(count))
    ]  # fmt: skip
    ece_low, ece_high = _interval(errors)
    return Reliability(
        reading,
        tuple(found),
        float(_ece(count, total, right)),
        float(ece_low),
        float(ece_high),
        float(errors_if.mean()),
        float(np.quantile(errors_if, 0.95)),
    )


def _by_bin(place: np.ndarray, values: np.ndarray, bins: int) -> np.ndarray:
    """(N, bins): of each item, the sum of its `values` (N, M) by bin."""
    table = np.zeros((len(place), bins))
    np.add.at(table, (np.arange(len(place))[:, None], place), values)
    return table


def _ece(count: np.ndarray, total: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The ECE of the bins in the last axis: (n_b / N) |right / n_b - total / n_b|, summed."""
    return np.abs(right - total).sum(-1) / count.sum(-1)


def _resample(
    counts: np.ndarray, sums: np.ndarray, hits: np.ndarray, resamples: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Of each resample the share right by bin (R, bins), nan where the bin is empty, and the ECE (R,)."""
    items = len(counts)
    everything = np.concatenate([counts, sums, hits], 1)
    shares, errors = [], []
    for start in range(0, resamples, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        drawn = random.integers(0, items, (size, items)) + items * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * items).reshape(size, items)
        count, total, right = np.split(weights @ everything, 3, axis=1)
        shares.append(np.divide(right, count, out=np.full_like(right, np.nan), where=count > 0))
        errors.append(_ece(count, total, right))
    return np.concatenate(shares), np.concatenate(errors)


def _if_calibrated(
    place: np.ndarray,
    sums: np.ndarray,
    probabilities: np.ndarray,
    only_top: bool,
    draws: int,
    random: np.random.Generator,
) -> np.ndarray:
    """The ECE (draws,) where the right choice of every item is drawn by the model's own probabilities."""
    total, size = sums.sum(0), place.size
    steps = probabilities.cumsum(1)
    top = probabilities.argmax(1)
    errors = []
    for _ in range(draws):
        answer = (random.random((len(steps), 1)) > steps[:, :-1]).sum(1)
        bins = place[answer == top, 0] if only_top else np.take_along_axis(place, answer[:, None], 1)[:, 0]
        right = np.bincount(bins, minlength=len(total))
        errors.append(np.abs(right - total).sum() / size)
    return np.array(errors)


def _interval(values: np.ndarray) -> np.ndarray:
    """The lower and the upper end (2, ...) of the middle COVERAGE of the first axis; nan where all are."""
    tail = 50 * (1 - COVERAGE)
    empty = np.isnan(values).all(0)
    filled = np.where(empty, 0.0, values)
    return np.where(empty, np.nan, np.nanpercentile(filled, [tail, 100 - tail], axis=0))
