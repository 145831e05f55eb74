"""A scaling law from decayed branches: how loss falls with parameters and tokens, and what that says about a target.

L(N, D) = a N^-alpha + b D^-beta + c, with N parameters and D tokens, is fitted to branches of a few sizes, each
decayed at several token counts from one stable run, as the WSD schedule allows (arXiv 2404.06395, section 4.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from flyweight.base import UserError, derive_seed

RESAMPLES = 200
HUBER = 1e-3
"""Differences of log loss above this count linearly (arXiv 2203.15556, appendix D.2)."""

LEAST = 0.01
"""The smallest exponent: a law in which a term does not fall at all has no best split."""


@dataclass(frozen=True)
class Measured:
    """One decayed branch."""

    parameters: int
    tokens: int
    loss: float
    """Bits per byte, or nats per token: whatever it is, predictions are in the same."""


@dataclass(frozen=True)
class Law:
    """One set of coefficients."""

    a: float
    alpha: float
    b: float
    beta: float
    c: float
    """The loss that no model gets below."""

    def loss(self, parameters: float, tokens: float) -> float:
        """The predicted loss."""
        return self.a * parameters**-self.alpha + self.b * tokens**-self.beta + self.c

    def best_split(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens with the lowest loss at `flops` = 6 N D operations.

        N = G (flops / 6)^(beta / (alpha + beta)) with G = (alpha a / (beta b))^(1 / (alpha + beta)) (arXiv 2203.15556,
        equation 4). (nan, nan) where the loss falls with only one of the two, as far as the measurements tell.
        """
        if min(self.alpha, self.beta) <= 1.01 * LEAST or min(self.a, self.b) <= 0:
            return math.nan, math.nan
        logs = math.log(self.alpha) + math.log(self.a) - math.log(self.beta) - math.log(self.b)
        total = self.alpha + self.beta
        budget = math.log(flops / 6)
        parameters = (logs + self.beta * budget) / total
        if not abs(parameters) < 100 > abs(budget - parameters):
            return math.nan, math.nan
        return math.exp(parameters), math.exp(budget - parameters)


@dataclass(frozen=True)
class Fit:
    """The law that fits best, and others that fit resampled measurements."""

    law: Law
    resampled: tuple[Law, ...]
    measured: tuple[Measured, ...]

    def predict(self, parameters: float, tokens: float, coverage: float = 0.9) -> tuple[float, float, float]:
        """The predicted loss, and the interval that `coverage` of the resampled laws lie in."""
        values = [law.loss(parameters, tokens) for law in self.resampled]
        tail = 50 * (1 - coverage)
        low, high = np.percentile(values, [tail, 100 - tail])
        middle = self.law.loss(parameters, tokens)
        return middle, min(middle, float(low)), max(middle, float(high))

    @property
    def residual(self) -> float:
        """Root mean square of measured over predicted loss, less one."""
        ratios = [point.loss / self.law.loss(point.parameters, point.tokens) - 1 for point in self.measured]
        return float(np.sqrt(np.mean(np.square(ratios))))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "law": asdict(self.law),
            "resampled": [asdict(law) for law in self.resampled],
            "measured": [asdict(point) for point in self.measured],
            "residual": self.residual,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The fit that `to_dict` wrote."""
        if not data["resampled"]:
            raise TypeError("no resampled laws, which intervals come from")
        return cls(
            Law(**data["law"]),
            tuple(Law(**law) for law in data["resampled"]),
            tuple(Measured(**point) for point in data["measured"]),
        )

    def best_split(self, flops: float, coverage: float = 0.9) -> tuple[float, float, float] | None:
        """Parameters with the lowest predicted loss at `flops`, and the interval of the resampled laws'.

        None where the law has no best split. A resampled law without one counts as one at the far end.
        """
        middle = self.law.best_split(flops)[0]
        if not math.isfinite(middle):
            return None
        values = [
            one
            if math.isfinite(one := law.best_split(flops)[0])
            else (0.0 if law.alpha < law.beta else math.inf)
            for law in self.resampled
        ]
        tail = 50 * (1 - coverage)
        low, high = np.percentile(values, [tail, 100 - tail], method="nearest")
        return middle, min(middle, float(low)), max(middle, float(high))


def fit_law(measured: Sequence[Measured], *, resamples: int = RESAMPLES) -> Fit:
    """Fit the law by least absolute-like differences of log loss, from several starts.

    The interval comes from fits to measurements of each size drawn again with replacement, each size keeping two
    token counts at least.

    Raises:
        UserError: fewer than two sizes, or fewer than two token counts, or fewer points than coefficients.
    """
    sizes, counts = {point.parameters for point in measured}, {point.tokens for point in measured}
    if len(sizes) < 2 or len(counts) < 2 or len(measured) < 5:
        raise UserError(
            f"a scaling law with five coefficients needs two sizes, two token counts and five branches at least; found "
            f"{len(sizes)}, {len(counts)} and {len(measured)}."
        )
    lengths = {size: {point.tokens for point in measured if point.parameters == size} for size in sizes}
    if lonely := [size for size, found in lengths.items() if len(found) < 2]:
        raise UserError(
            f"the size of {lonely[0]:,} parameters has one token count only; expected two at least."
        )
    if any(not (np.isfinite(point.loss) and point.loss > 0) for point in measured):
        raise UserError("a branch diverged or has no loss; a scaling law cannot be fitted with it.")
    points = np.array([(point.parameters, point.tokens, point.loss) for point in measured])
    best = _fit(points, _starts(points))
    random = np.random.default_rng(derive_seed(0, "tunnel", "scaling law"))
    drawn = []
    places = [np.flatnonzero(points[:, 0] == size) for size in sorted(sizes)]
    while len(drawn) < resamples:
        chosen = np.concatenate([random.choice(of_size, len(of_size)) for of_size in places])
        kept = [len(np.unique(points[np.intersect1d(chosen, of_size), 1])) for of_size in places]
        if min(kept) >= 2 and len(np.unique(chosen)) >= 5:
            drawn.append(_law(_fit(points[chosen], [best])))
    return Fit(_law(best), tuple(drawn), tuple(measured))


def _starts(points: np.ndarray) -> list[np.ndarray]:
    """Exponents from a grid; the floor from a tenth to nine tenths of the lowest loss; a and b to match."""
    parameters, tokens, loss = points.T
    found = []
    for alpha in (0.2, 0.5):
        for beta in (0.2, 0.5):
            for floor in (0.1, 0.5, 0.9):
                c = floor * loss.min()
                half = (loss.mean() - c) / 2
                found.append(
                    np.array(
                        [
                            np.log(half) + alpha * np.log(parameters).mean(), alpha,
                            np.log(half) + beta * np.log(tokens).mean(), beta, np.log(c),
                        ]
                    )
                )  # fmt: skip
    return found


def _fit(points: np.ndarray, starts: Sequence[np.ndarray]) -> np.ndarray:
    from scipy.optimize import least_squares

    parameters, tokens, loss = points.T
    log_n, log_d, log_l = np.log(parameters), np.log(tokens), np.log(loss)

    def residuals(x: np.ndarray) -> np.ndarray:
        parts = np.stack([x[0] - x[1] * log_n, x[2] - x[3] * log_d, np.full_like(log_n, x[4])])
        return np.logaddexp.reduce(parts, axis=0) - log_l

    bounds = ([-50, LEAST, -50, LEAST, -20], [50, 3.0, 50, 3.0, float(log_l.min())])
    found = [
        least_squares(residuals, np.clip(start, *bounds), bounds=bounds, loss="huber", f_scale=HUBER)
        for start in starts
    ]
    return min(found, key=lambda one: one.cost).x


def _law(x: np.ndarray) -> Law:
    return Law(float(np.exp(x[0])), float(x[1]), float(np.exp(x[2])), float(x[3]), float(np.exp(x[4])))
