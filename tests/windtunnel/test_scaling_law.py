"""A law is found again from what it says, with an interval that holds what it did not see."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("scipy")

from flyweight.base import UserError
from flyweight.windtunnel.scaling_law import LEAST, Fit, Law, Measured, fit_law

TRUE = Law(a=400.0, alpha=0.45, b=900.0, beta=0.42, c=0.9)
SIZES = (100_000, 300_000, 1_000_000, 3_000_000)
COUNTS = (2_000_000, 4_000_000, 8_000_000, 16_000_000)


def branches(noise: float, seed: int = 0) -> list[Measured]:
    random = np.random.default_rng(seed)
    return [
        Measured(size, count, TRUE.loss(size, count) * (1 + noise * random.standard_normal()))
        for size in SIZES
        for count in COUNTS
    ]


def test_an_exact_law_is_found_again():
    fit = fit_law(branches(0.0), resamples=3)
    assert fit.law.alpha == pytest.approx(TRUE.alpha, rel=1e-3)
    assert fit.law.beta == pytest.approx(TRUE.beta, rel=1e-3)
    assert fit.law.c == pytest.approx(TRUE.c, rel=1e-2)
    assert fit.residual < 1e-5
    middle, low, high = fit.predict(1e7, 1e8)
    assert low <= middle <= high
    assert middle == pytest.approx(TRUE.loss(1e7, 1e8), rel=1e-3)


def test_the_interval_holds_a_larger_model_most_of_the_time():
    held = 0
    for seed in range(12):
        _, low, high = fit_law(branches(0.003, seed), resamples=40).predict(1e7, 3.2e7)
        held += low <= TRUE.loss(1e7, 3.2e7) <= high
    assert held >= 8


def test_the_best_split_is_the_best_one():
    parameters, tokens = TRUE.best_split(1e15)
    assert 6 * parameters * tokens == pytest.approx(1e15)
    best = TRUE.loss(parameters, tokens)
    for factor in (0.8, 1.25):
        assert TRUE.loss(parameters * factor, tokens / factor) > best


def test_a_loss_that_answers_to_one_of_the_two_alone_has_no_best_split():
    for law in (
        Law(2e-9, LEAST, 900.0, 0.42, 0.9),
        Law(400.0, 0.45, 1e-9, LEAST, 0.9),
        Law(2e-22, 0.05, 1e30, 0.02, 1),
    ):
        assert all(math.isnan(value) for value in law.best_split(1e15))
        assert Fit(law, (law,), ()).best_split(1e15) is None
    middle, low, high = Fit(TRUE, (TRUE, Law(400.0, LEAST, 900.0, 0.42, 0.9)), ()).best_split(1e15) or (
        0,
        0,
        0,
    )
    assert low == 0.0  # fewer parameters than any number
    assert middle == high == TRUE.best_split(1e15)[0]


def test_an_interval_that_was_thrown_away_is_missed():
    data = fit_law(branches(0.0), resamples=2).to_dict()
    assert Fit.from_dict(data).predict(1e6, 1e7)[0] == pytest.approx(TRUE.loss(1e6, 1e7), rel=1e-3)
    with pytest.raises(TypeError, match="no resampled laws"):
        Fit.from_dict({**data, "resampled": []})


def test_too_little_is_refused():
    for few in (branches(0)[:4], [point for point in branches(0) if point.tokens == COUNTS[0]] * 2):
        with pytest.raises(UserError, match="needs two sizes"):
            fit_law(few)
    with pytest.raises(UserError, match="one token count only"):
        fit_law([*branches(0), Measured(10, 10, 1.0)])
    with pytest.raises(UserError, match="diverged"):
        fit_law([*branches(0), Measured(SIZES[0], 10, float("nan"))])
