"""How losses on sources and on tasks answer to the shares of a mixture, from branches that were trained with some.

The loss of source i is fitted as c_i + exp(k_i + sum_j t_ij q_j), with q_j the share of source j: the data mixing law
of arXiv 2403.16952. Sums of such terms are convex in the shares, so that there is one best mixture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flyweight.base import UserError, derive_seed

RESAMPLES = 100


@dataclass(frozen=True, eq=False)
class Law:
    """One set of coefficients; D losses over S shares."""

    floor: np.ndarray
    """c, (D,)."""
    scale: np.ndarray
    """k, (D,)."""
    slope: np.ndarray
    """t, (D, S)."""

    def losses(self, shares: np.ndarray) -> np.ndarray:
        """Of shares (..., S), each loss: (..., D)."""
        return self.floor + np.exp(self.scale + shares @ self.slope.T)


@dataclass(frozen=True, eq=False)
class Response:
    """The laws of all losses, others that fit resampled branches, and the best shares by them."""

    sources: tuple[str, ...]
    """Whose shares were varied."""
    losses: tuple[str, ...]
    """Sources whose bits per byte were measured, then tasks whose errors were."""
    weights: np.ndarray
    """Of the losses in the objective, adding up to 1: (D,)."""
    law: Law
    resampled: tuple[Law, ...]
    limits: tuple[float, float]
    """Of the total share."""
    points: np.ndarray
    """Shares that were tried, (n, S)."""
    measured: np.ndarray
    """Their losses, (n, D)."""
    best: np.ndarray
    """Shares with the lowest objective by the law, (S,)."""
    best_low: float
    """Of the total share of the best mixture: the interval that nine tenths of the resampled laws put it in."""
    best_high: float

    @property
    def residual(self) -> float:
        """Root mean square of measured less fitted objective."""
        off = (self.measured - self.law.losses(self.points)) @ self.weights
        return float(np.sqrt(np.mean(off**2)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "best": dict(zip(self.sources, self.best.tolist(), strict=True)),
            "best_share": float(self.best.sum()),
            "best_share_interval": [self.best_low, self.best_high],
            "residual": self.residual,
            "weights": dict(zip(self.losses, self.weights.tolist(), strict=True)),
            "laws": {
                name: {"floor": floor, "scale": scale, "slopes": dict(zip(self.sources, slopes, strict=True))}
                for name, floor, scale, slopes in zip(
                    self.losses,
                    self.law.floor.tolist(),
                    self.law.scale.tolist(),
                    self.law.slope.tolist(),
                    strict=True,
                )
            },
            "branches": [
                {
                    "shares": dict(zip(self.sources, shares, strict=True)),
                    "losses": dict(zip(self.losses, values, strict=True)),
                }
                for shares, values in zip(self.points.tolist(), self.measured.tolist(), strict=True)
            ],
        }

    def along(self, totals: np.ndarray) -> np.ndarray:
        """Losses at total shares (n,), split as in the best mixture: the law, low and high of each, (3, n, D + 1).

        The last column is the objective.
        """
        split = (
            self.best / self.best.sum()
            if self.best.sum() > 0
            else np.full(len(self.best), 1 / len(self.best))
        )
        shares = totals[:, None] * split

        def with_objective(law: Law) -> np.ndarray:
            losses = law.losses(shares)
            return np.concatenate([losses, (losses @ self.weights)[:, None]], axis=1)

        others = np.stack([with_objective(law) for law in self.resampled])
        low, high = np.percentile(others, [5, 95], axis=0)
        return np.stack([with_objective(self.law), low, high])


def least_points(sources: int) -> int:
    """How many branches a fit over so many varied sources needs at least."""
    return sources + 4


def fit_response(
    sources: Sequence[str],
    shares: Sequence[Mapping[str, float]],
    measured: Sequence[Mapping[str, float]],
    weights: Mapping[str, float],
    limits: tuple[float, float],
    *,
    resamples: int = RESAMPLES,
) -> Response:
    """Fit the law to branches.

    Args:
        sources: whose shares were varied.
        shares: of each branch, by source.
        measured: losses of each branch, by source or task.
        weights: of these in the objective; all alike where there are none.
        limits: the least and largest total share to look for the best one in.
        resamples: fits to branches drawn again with replacement.

    Raises:
        UserError: too few branches.
    """
    if len(shares) < least_points(len(sources)):
        raise UserError(
            f"a response over {len(sources)} sources needs {least_points(len(sources))} branches at least; "
            f"{len(shares)} are complete."
        )
    losses = tuple(measured[0])
    points = np.array([[one[name] for name in sources] for one in shares])
    values = np.array([[one[name] for name in losses] for one in measured])
    weighed = np.array([(weights or dict.fromkeys(losses, 1.0)).get(name, 0.0) for name in losses])
    weighed = weighed / weighed.sum()
    law = _fit(points, values)
    best = _best(law, weighed, limits)
    random = np.random.default_rng(derive_seed(0, "tunnel", "mixing law"))
    drawn = []
    while len(drawn) < resamples:
        chosen = random.integers(0, len(points), len(points))
        if len(np.unique(chosen)) >= least_points(len(sources)):
            drawn.append(_fit(points[chosen], values[chosen], law))
    totals = [_best(one, weighed, limits, best).sum() for one in drawn]
    low, high = np.percentile(totals, [5, 95])
    total = float(best.sum())
    return Response(
        tuple(sources), losses, weighed, law, tuple(drawn), limits, points, values, best, min(total, float(low)),
        max(total, float(high)),
    )  # fmt: skip


def _fit(points: np.ndarray, measured: np.ndarray, start: Law | None = None) -> Law:
    rows = []
    for index, values in enumerate(measured.T):
        if start is None:
            starts = _starts(points, values)
        else:
            starts = [np.array([start.floor[index], start.scale[index], *start.slope[index]])]
        rows.append(_fit_one(points, values, starts))
    return Law(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([row[2:] for row in rows]),
    )


def _starts(points: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """Floors below the lowest loss; scale and slopes by least squares of the logarithm above them."""
    found = []
    for below in (0.01, 0.1, 0.5):
        floor = (1 - below) * values.min()
        rest = np.log(np.maximum(values - floor, 1e-12))  # a task may be all right
        line, *_ = np.linalg.lstsq(np.column_stack([np.ones(len(points)), points]), rest, rcond=None)
        found.append(np.array([floor, *line]))
    return found


def _fit_one(points: np.ndarray, values: np.ndarray, starts: Sequence[np.ndarray]) -> np.ndarray:
    from scipy.optimize import least_squares

    def residuals(x: np.ndarray) -> np.ndarray:
        return x[0] + np.exp(np.clip(x[1] + points @ x[2:], -50, 50)) - values

    # A little of the slopes' squares: without them a loss that answers to nothing has any slopes at all.
    def penalised(x: np.ndarray) -> np.ndarray:
        return np.concatenate([residuals(x), 1e-4 * x[1:]])

    size = points.shape[1]
    bounds = ([0.0, *[-50.0] * (size + 1)], [max(values.min(), 1e-9), *[50.0] * (size + 1)])
    found = [least_squares(penalised, np.clip(start, *bounds), bounds=bounds) for start in starts]
    return min(found, key=lambda one: one.cost).x


def _best(
    law: Law, weights: np.ndarray, limits: tuple[float, float], start: np.ndarray | None = None
) -> np.ndarray:
    """Shares with the lowest objective; convex, so that one descent finds them."""
    from scipy.optimize import minimize

    size = law.slope.shape[1]
    first = np.full(size, sum(limits) / 2 / size) if start is None else start
    found = minimize(
        lambda shares: float(law.losses(shares) @ weights),
        first,
        bounds=[(0.0, limits[1])] * size,
        constraints=[
            {"type": "ineq", "fun": lambda shares: shares.sum() - limits[0]},
            {"type": "ineq", "fun": lambda shares: limits[1] - shares.sum()},
        ],
        method="SLSQP",
    )
    return np.clip(found.x, 0.0, limits[1])
