"""The law of context: how the loss of a token falls with its place in the context.

L(t) = b + (t / c)^a, with t = 1 for the first token of a context, is what Xmodel-2 calls its post-training scaling
law (arXiv 2412.19638, section 4.2 and Figure 5: a = -0.575, b = 1.772, c = 32.840 on WikiText-2). How it was fitted
there is not said; here it is weighted least squares on means over windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from flyweight.base import derive_seed
from flyweight.evaluation.context_losses import PositionLosses, position_losses
from flyweight.evaluation.likelihood import BATCH_TOKENS
from flyweight.evaluation.texts import Texts
from flyweight.inference import LanguageModel

BINS_PER_DECADE = 12
"""Of positions that are averaged together, evenly on a logarithmic scale."""

FIRST = 2
"""The first position of the fit. What stands before the first token is no text."""

RESAMPLES = 200
COVERAGE = 0.9

STEEPEST, FLATTEST = -5.0, -0.01
"""Bounds of the exponent a."""

FLAT = 2.0
"""Chi square for a degree of freedom up to which one level for all positions describes the losses as well."""

_SMALLEST_ERROR = 1e-3  # nats: a bin's standard error below it would give that bin all of the weight


class Law(NamedTuple):
    """L(t) = b + (t / c)^a, in nats for a token."""

    a: float
    """Below zero."""
    b: float
    """What no context gets below; at least zero."""
    c: float
    """The place where context has brought the loss within one nat of b."""

    def loss(self, t: np.ndarray | float) -> np.ndarray:
        """L at the positions `t`, from 1 on."""
        # In logarithms: c can be far out where a is close to zero.
        return self.b + np.exp(self.a * (np.log(t) - math.log(self.c)))


XMODEL_2 = Law(-0.575, 1.772, 32.840)
"""The published coefficients; with another tokenizer or text they are no yardstick."""


class ContextBin(NamedTuple):
    """Neighbouring positions taken together."""

    first: int
    """The first position."""
    last: int
    """The last one."""
    loss: float
    """Mean loss, nats."""
    stderr: float
    """Its standard error over windows."""
    fitted: float
    """What the law says for these positions."""
    in_fit: bool
    """False for the first position and beyond the trained length."""

    @property
    def middle(self) -> float:
        """Where it is drawn: the geometric mean of its ends."""
        return math.sqrt(self.first * self.last)


@dataclass(frozen=True)
class ContextLaw:
    """A fitted law and what it was fitted to."""

    law: Law
    resampled: tuple[Law, ...]
    """Fits to windows drawn again with replacement."""
    bins: tuple[ContextBin, ...]
    by_position: tuple[float, ...]
    """Mean loss at positions 1, 2, ..."""
    stderr_by_position: tuple[float, ...]
    """Standard errors over windows."""
    windows: int
    length: int
    """Tokens of a window."""
    trained_length: int
    tokens_per_byte: float
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def residual(self) -> float:
        """Root mean square of measured less fitted, nats, over the bins of the fit."""
        return float(np.sqrt(np.mean([(one.loss - one.fitted) ** 2 for one in self.bins if one.in_fit])))

    @property
    def residual_in_errors(self) -> float:
        """The same in standard errors: far above 1, the law does not describe the model, however close it looks."""
        scaled = [
            (one.loss - one.fitted) / max(one.stderr, _SMALLEST_ERROR) for one in self.bins if one.in_fit
        ]
        return float(np.sqrt(np.sum(np.square(scaled)) / max(1, len(scaled) - 3)))

    def interval(self, name: str) -> tuple[float, float]:
        """The interval of a coefficient: `a`, `b` or `c`."""
        tail = 50 * (1 - COVERAGE)
        low, high = np.percentile([getattr(law, name) for law in self.resampled], [tail, 100 - tail])
        return float(low), float(high)

    def band(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The interval of L at positions `t`: two arrays of their shape."""
        tail = 50 * (1 - COVERAGE)
        low, high = np.percentile([law.loss(t) for law in self.resampled], [tail, 100 - tail], axis=0)
        return low, high

    def _band_of_bins(self) -> tuple[list[float], list[float]]:
        """`band` where the bins are drawn: in the middle of each."""
        low, high = self.band(np.array([one.middle for one in self.bins]))
        return low.tolist(), high.tolist()

    def bits_per_byte(self, nats: float) -> float:
        """Nats for a token as bits for a byte of this text, under this tokenizer."""
        return nats * self.tokens_per_byte / math.log(2)

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "law": self.law._asdict(),
            "intervals": {name: self.interval(name) for name in Law._fields},
            "coverage": COVERAGE,
            "residual": self.residual,
            "residual_in_errors": self.residual_in_errors,
            "bits_per_byte": {"b": self.bits_per_byte(self.law.b)},
            **{key: value for key, value in asdict(self).items() if key not in ("law", "resampled", "bins")},
            "bins": [
                {
                    **one._asdict(),
                    "bits_per_byte": self.bits_per_byte(one.loss),
                    "fitted_low": low,
                    "fitted_high": high,
                }
                for one, low, high in zip(self.bins, *self._band_of_bins(), strict=True)
            ],
        }


def context_law(
    model: LanguageModel,
    texts: Texts,
    *,
    length: int | None = None,
    max_windows: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> ContextLaw:
    """Measure the loss by position on a text, and fit the law to it; arguments as for the two steps below.

    Raises:
        UserError: too little text, a length that the model cannot take.
    """
    measured = position_losses(
        model, texts, length=length, max_windows=max_windows, batch_tokens=batch_tokens, progress=progress
    )
    return fit_context_law(measured, files=texts.files, resamples=resamples, seed=seed)


def fit_context_law(
    measured: PositionLosses,
    *,
    files: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ContextLaw:
    """Fit the law to means over bins of positions, each weighted by its standard error over windows.

    A bin is compared with the mean of L over its positions. Fitted are the positions from FIRST to the trained
    length. The intervals are those of fits to windows drawn again with replacement; windows are neighbours in
    a text and resemble each other, so that they are somewhat too narrow.

    Args:
        measured: losses by window and position.
        files: what was read, for the record.
        resamples: bootstrap draws.
        seed: of these.
    """
    losses = measured.losses.astype(np.float64)
    count, length = losses.shape
    edges = _edges(length, measured.trained_length)
    by_bin = np.stack([losses[:, first - 1 : last].mean(1) for first, last in edges], 1)
    means, errors = by_bin.mean(0), by_bin.std(0, ddof=1) / math.sqrt(count)
    used = np.array([first >= FIRST and last <= measured.trained_length for first, last in edges])
    chosen = [edge for edge, taken in zip(edges, used, strict=True) if taken]
    weights = np.maximum(errors[used], _SMALLEST_ERROR)
    best = _fit(chosen, means[used], weights, _starts(means[used]))
    random = np.random.default_rng(derive_seed(seed, "context law"))
    drawn = [
        _law(_fit(chosen, by_bin[random.integers(0, count, count)].mean(0)[used], weights, [best]))
        for _ in range(resamples)
    ]
    law = _law(best)
    bins = tuple(
        ContextBin(first, last, float(mean), float(error), float(_mean_loss(law, first, last)), bool(taken))
        for (first, last), mean, error, taken in zip(edges, means, errors, used, strict=True)
    )
    return ContextLaw(
        law=law,
        resampled=tuple(drawn),
        bins=bins,
        by_position=tuple(losses.mean(0).tolist()),
        stderr_by_position=tuple((losses.std(0, ddof=1) / math.sqrt(count)).tolist()),
        windows=count,
        length=length,
        trained_length=measured.trained_length,
        tokens_per_byte=measured.tokens_per_byte,
        files=tuple(files),
        warnings=_warnings(law, means[used], weights),
    )


def _edges(length: int, trained_length: int) -> list[tuple[int, int]]:
    """First and last positions of the bins; none crosses FIRST or the trained length."""
    starts = {1, FIRST, *([trained_length + 1] if trained_length < length else [])}
    for index in range(math.ceil(BINS_PER_DECADE * math.log10(length)) + 1):
        start = round(10 ** (index / BINS_PER_DECADE))
        if start <= length:
            starts.add(start)
    ordered = sorted(starts)
    return list(zip(ordered, [start - 1 for start in ordered[1:]] + [length], strict=True))


def _mean_loss(law: Law, first: int, last: int) -> float:
    return float(law.loss(np.arange(first, last + 1)).mean())


def _warnings(law: Law, means: np.ndarray, errors: np.ndarray) -> tuple[str, ...]:
    found = []
    level = np.average(means, weights=errors**-2)
    if np.square((means - level) / errors).sum() < FLAT * (len(means) - 1):
        found.append(
            "the loss does not fall with the position by more than its noise, so the law says nothing"
        )
    # The fit stops a little inside of its bounds.
    if law.a >= 1.01 * FLATTEST or law.a <= 0.99 * STEEPEST:
        found.append(
            f"the exponent a = {law.a:.3g} is at its bound: the loss does not fall as such a law says"
        )
    if law.b <= 1e-3:
        found.append("the floor b is at zero: the windows are too short to show where the loss ends")
    return tuple(found)


# The fit's own coordinates (a, b, k): L = b + exp(k + a ln t). There, unlike c, k is well determined for every a.


def _starts(means: np.ndarray) -> list[np.ndarray]:
    """Exponents from a grid, floors from zero to just below the lowest mean, k so that the highest is met."""
    low, high = float(means.min()), float(means.max())
    found = []
    for a in (-0.1, -0.3, -0.6, -1.2):
        for share in (0.0, 0.5, 0.8, 0.98):
            b = share * low
            found.append(np.array([a, b, math.log(max(high - b, 1e-6)) - a * math.log(FIRST)]))
    return found


def _fit(
    edges: Sequence[tuple[int, int]], means: np.ndarray, errors: np.ndarray, starts: Sequence[np.ndarray]
) -> np.ndarray:
    from scipy.optimize import least_squares

    logs = np.log(np.concatenate([np.arange(first, last + 1) for first, last in edges]))
    sizes = np.array([last - first + 1 for first, last in edges])
    begins = np.cumsum(sizes) - sizes

    def residuals(x: np.ndarray) -> np.ndarray:
        predicted = x[1] + np.add.reduceat(np.exp(x[2] + x[0] * logs), begins) / sizes
        return (predicted - means) / errors

    def slopes(x: np.ndarray) -> np.ndarray:
        falls = np.exp(x[2] + x[0] * logs)
        by_a, by_k = (np.add.reduceat(part, begins) / sizes for part in (falls * logs, falls))
        return np.stack([by_a, np.ones_like(by_a), by_k], 1) / errors[:, None]

    bounds = ([STEEPEST, 0.0, -30.0], [FLATTEST, max(float(means.max()), 1e-3), 30.0])
    found = [
        least_squares(residuals, np.clip(start, *bounds), jac=slopes, bounds=bounds)  # type: ignore[arg-type]
        for start in starts
    ]
    return min(found, key=lambda one: one.cost).x


def _law(x: np.ndarray) -> Law:
    a, b, k = (float(value) for value in x)
    return Law(a, b, math.exp(min(max(-k / a, -700.0), 700.0)))  # (t / c)^a = exp(k + a ln t)
