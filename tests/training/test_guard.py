"""The guard's decisions, from numbers alone."""

from __future__ import annotations

import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.recipe import Guard as Settings
from flyweight.training.guard import Guard, deviation

STAGE = [0, 1, 1]


def noise(count: int, seed: int = 0, mean: float = 4.0) -> list[float]:
    rng = random.Random(seed)
    return [rng.gauss(mean, 0.1) for _ in range(count)]


def guard(**settings) -> Guard:
    return Guard(Settings(spike_window=32, **settings))


def feed(judge: Guard, losses: list[float]) -> list[str]:
    return [judge.judge(loss, 1.0, STAGE).action for loss in losses]


@pytest.mark.parametrize(
    ("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (2.0, math.inf)]
)
def test_what_is_not_finite_is_skipped_and_after_k_in_a_row_the_run_goes_back(loss, norm):
    judge = guard(rollback_after=3)
    assert [judge.judge(loss, norm, STAGE).action for _ in range(3)] == ["skip", "skip", "roll back"]


def test_a_step_that_is_taken_ends_the_row():
    judge = guard(rollback_after=2)
    for _ in range(5):
        assert feed(judge, [math.nan, 4.0]) == ["skip", "take"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [("ignore", "take"), ("warn", "warn"), ("skip", "skip"), ("rollback", "roll back")],
)
def test_a_spike_does_as_the_recipe_says(action, expected):
    judge = guard(spike=action)
    assert set(feed(judge, noise(40))) == {"take"}
    assert feed(judge, [6.0]) == [expected]


def test_a_spike_that_stays_warns_once_and_becomes_the_new_normal():
    judge = guard(spike="warn")
    feed(judge, noise(40))
    assert feed(judge, [8.0] * 30).count("warn") == 1
    assert feed(judge, noise(8, mean=8.0))[-1] == "take"


def test_a_skipped_spike_does_not_enter_the_window():
    judge = guard(spike="skip", rollback_after=100)
    feed(judge, noise(40))
    before = list(judge.state.losses)
    feed(judge, [9.0] * 20)
    assert judge.state.losses == before


def test_no_spike_is_told_from_too_few_steps_or_across_stages():
    judge = guard(spike="skip")
    assert set(feed(judge, [*noise(15), 50.0])) == {"take"}
    feed(judge, noise(40))
    assert judge.judge(9.0, 1.0, [1, 1, 1]).action == "take"  # another mixture has another loss


def test_a_fall_of_the_loss_is_no_spike():
    judge = guard(spike="skip")
    feed(judge, noise(40))
    assert feed(judge, [0.5]) == ["take"]


@given(st.lists(st.floats(1, 9), min_size=16, max_size=40), st.floats(0.1, 10), st.floats(0, 5))
def test_the_deviation_does_not_depend_on_the_scale_and_rises_with_the_loss(losses, scale, more):
    loss = 7.0
    assert deviation(loss * scale, [value * scale for value in losses]) == pytest.approx(
        deviation(loss, losses), rel=1e-6, abs=1e-6
    )
    assert deviation(loss + more, losses) >= deviation(loss, losses)


def test_the_deviation_counts_standard_deviations_of_normal_noise_whatever_the_outliers():
    losses = noise(2001)
    assert deviation(4.5, losses) == pytest.approx(5, rel=0.1)
    assert deviation(4.5, losses + [1e6] * 50) == pytest.approx(5, rel=0.15)


def test_losses_that_do_not_differ_make_no_small_rise_a_spike():
    assert deviation(4.001, [4.0] * 30) < 1
    assert deviation(5.0, [4.0] * 30) > 100


@given(st.integers(0, 60), st.integers(0, 99))
def test_a_guard_that_is_restored_decides_as_the_one_that_went_on(place, seed):
    rng = random.Random(seed)
    losses = [rng.choice([math.nan, 9.0]) if rng.random() < 0.1 else loss for loss in noise(80, seed)]
    whole, first, second = (guard(spike="skip") for _ in range(3))
    expected = feed(whole, losses)
    begun = feed(first, losses[:place])
    second.restore(json.loads(json.dumps(first.to_dict())))
    assert begun + feed(second, losses[place:]) == expected
    assert second.state == whole.state


def test_returns_without_progress_are_counted_and_progress_forgives_them():
    judge = guard(most_rollbacks=2)
    judge.rolled_back(1000, 800, {})
    assert not judge.gives_up
    judge.took(1150)  # past the failure, but not yet by the 200 that going back cost
    judge.rolled_back(1150, 800, {})
    assert judge.gives_up
    judge.took(1500)
    assert judge.gives_up
    judge.took(1501)
    assert not judge.gives_up


def test_going_back_brings_the_window_of_then_and_keeps_the_count():
    judge = guard()
    feed(judge, noise(10))
    then = judge.to_dict()
    feed(judge, [*noise(10, 1), math.nan])
    judge.rolled_back(20, 10, then)
    assert (judge.state.losses, judge.state.in_a_row, judge.state.rollbacks) == (then["losses"], 0, 1)
