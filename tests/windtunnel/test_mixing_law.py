"""A mixing law is found again from branches that follow it, with the mixture that is best by it."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("scipy")

from flyweight.base import UserError
from flyweight.windtunnel.mixing_law import Law, fit_response, least_points

NAMES = ("text", "sums", "talk")
TRUE = Law(
    floor=np.array([1.5, 1.2, 1.0]),
    scale=np.log([0.2, 0.9, 0.8]),
    slope=np.array([[1.5, 1.2], [-4.0, -0.5], [-0.3, -5.0]]),
)


def branches(
    count: int, noise: float, seed: int = 0
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    random = np.random.default_rng(seed)
    shares = random.dirichlet([1, 1, 1], count)[:, :2] * 0.9
    losses = TRUE.losses(shares) + noise * random.standard_normal((count, 3))
    return (
        [dict(zip(("sums", "talk"), row.tolist(), strict=True)) for row in shares],
        [dict(zip(NAMES, row.tolist(), strict=True)) for row in losses],
    )


def best_by_grid(weights: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    axis = np.linspace(0, 0.95, 191)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    inside = grid[(grid.sum(1) >= limits[0]) & (grid.sum(1) <= limits[1])]
    return inside[np.argmin(TRUE.losses(inside) @ weights)]


def test_an_exact_law_is_found_again_with_its_best_mixture():
    found = fit_response(("sums", "talk"), *branches(30, 0.0), {}, (0.0, 0.9), resamples=5)
    shares = np.array([[0.1, 0.1], [0.4, 0.2], [0.0, 0.8]])
    assert found.law.losses(shares) == pytest.approx(TRUE.losses(shares), abs=2e-3)
    assert found.best == pytest.approx(best_by_grid(np.full(3, 1 / 3), (0.0, 0.9)), abs=0.02)
    assert found.residual < 1e-3


def test_weights_move_the_best_share_and_limits_hold_it():
    shares, losses = branches(30, 0.0)
    totals = [
        fit_response(("sums", "talk"), shares, losses, {"text": text, "sums": 1, "talk": 1}, (0.0, 0.9), resamples=2)
        .best.sum()
        for text in (0.5, 4.0, 16.0)
    ]  # fmt: skip
    assert totals[0] > totals[1] > totals[2]
    held = fit_response(("sums", "talk"), shares, losses, {"text": 16.0}, (0.3, 0.9), resamples=2)
    assert held.best.sum() == pytest.approx(0.3, abs=1e-3)


def test_the_interval_holds_the_truth_most_of_the_time():
    best = best_by_grid(np.full(3, 1 / 3), (0.0, 0.9)).sum()
    held = 0
    for seed in range(10):
        found = fit_response(("sums", "talk"), *branches(24, 0.01, seed), {}, (0.0, 0.9), resamples=30)
        held += found.best_low <= best <= found.best_high
        assert found.best_high - found.best_low < 0.3
    assert held >= 6


def test_the_curve_goes_through_the_best_mixture():
    found = fit_response(("sums", "talk"), *branches(24, 0.01), {}, (0.0, 0.9), resamples=10)
    curve = found.along(np.array([0.0, found.best.sum(), 0.9]))
    assert curve.shape == (3, 3, 4)
    assert curve[0, 1, :3] == pytest.approx(found.law.losses(found.best))
    assert curve[0, 1, 3] == pytest.approx(curve[0, 1, :3].mean())
    assert (curve[0, [0, 2], 3] > curve[0, 1, 3]).all()
    assert json.loads(json.dumps(found.to_dict()))["best"]["sums"] == found.best[0]


def test_too_few_branches_are_refused():
    shares, losses = branches(least_points(2) - 1, 0.0)
    with pytest.raises(UserError, match="needs 6 branches at least; 5 are complete"):
        fit_response(("sums", "talk"), shares, losses, {}, (0.0, 0.9))
