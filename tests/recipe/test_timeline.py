from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flyweight.recipe import Timeline

SHAPES = ["step", "linear", "cosine", "1-sqrt", "exponential", "half-life"]


@st.composite
def timelines(draw) -> Timeline:
    """Any timeline: shapes mixed, jumps, falls and rises."""
    value = st.floats(min_value=0, max_value=10, allow_nan=False)
    knots = [{"at": 0, "value": draw(value)}]
    for gap in draw(st.lists(st.integers(min_value=0, max_value=10**11), max_size=6)):
        shape = draw(st.sampled_from(SHAPES)) if gap else "step"
        before = knots[-1]
        knot = {"at": before["at"] + gap, "value": draw(value), "shape": shape}
        if shape == "half-life":
            knot["half_life"] = draw(st.integers(min_value=1, max_value=10**10))
            knot["value"] = min(knot["value"], before["value"])
        knots.append(knot)
    return Timeline.model_validate(knots)


@given(timelines())
def test_exact_at_the_last_knot_of_every_place(timeline):
    last = {knot.at: knot.value for knot in timeline.knots}
    for at, value in last.items():
        assert timeline.at(at) == value


@given(timelines(), st.lists(st.integers(min_value=0, max_value=10**12), min_size=1, max_size=20))
def test_a_vector_gives_what_single_clocks_give(timeline, clocks):
    values = timeline.values(np.array(clocks))
    assert values.shape == (len(clocks),)
    assert values.tolist() == [timeline.at(clock) for clock in clocks]


@given(timelines(), st.data())
def test_monotone_between_knots(timeline, data):
    for before, after in zip(timeline.knots, timeline.knots[1:], strict=False):
        if after.at - before.at < 2:
            continue
        inside = st.integers(min_value=before.at, max_value=after.at - 1)
        clocks = sorted(data.draw(st.lists(inside, min_size=2, max_size=8)))
        steps = np.diff(timeline.values(np.array(clocks)))
        direction = np.sign(after.value - before.value)
        assert (steps * direction >= -1e-12).all()
        low, high = sorted((before.value, after.value))
        assert (timeline.values(np.array(clocks)) >= low - 1e-12).all()
        assert (timeline.values(np.array(clocks)) <= high + 1e-12).all()


@given(timelines(), st.integers(min_value=2, max_value=1000))
def test_stretching_by_a_whole_number_keeps_every_fraction(timeline, times):
    longer = timeline.stretched(times)
    for clock in [0, 1, 17, 10**6, *[knot.at for knot in timeline.knots]]:
        assert longer.at(clock * times) == pytest.approx(timeline.at(clock), rel=1e-9, abs=1e-12)


def test_constant_before_between_and_after():
    assert Timeline.constant(0.1).values(np.array([0, 1, 10**15])).tolist() == [0.1, 0.1, 0.1]
    steps = Timeline.model_validate([{"at": 0, "value": 480}, {"at": "1K x 10", "value": 960}])
    assert [steps.at(clock) for clock in (0, 9_999, 10_000, 10**9)] == [480, 480, 960, 960]
    assert steps.is_stepwise
    assert steps.maximum == 960


def test_a_jump_arrives_at_one_value_and_goes_on_from_another():
    knots = [
        {"at": 0, "value": 1.0},
        {"at": 100, "value": 0.5, "shape": "linear"},
        {"at": 100, "value": 0.1},
        {"at": 200, "value": 0.3, "shape": "linear"},
    ]
    timeline = Timeline.model_validate(knots)
    assert timeline.at(99) == pytest.approx(0.505)
    assert timeline.at(100) == 0.1
    assert timeline.at(150) == pytest.approx(0.2)
    assert not timeline.is_stepwise


def decaying(decay: str, clock: int, **more) -> float:
    """The value at `clock` of a decay from 2 to 0.5 over the tokens 1,000 to 2,000."""
    schedule = {"peak": 2, "warmup": 100, "decay_start": 1000, "end": 2000, "decay": decay, "final": 0.5}
    return Timeline.model_validate({"wsd": schedule | more}).at(clock)


@pytest.mark.parametrize(
    ("decay", "at_quarter", "at_half"),
    [
        ("linear", 2 - 0.25 * 1.5, 2 - 0.5 * 1.5),
        # 0.5 * (1 + cos(pi r)) of the way that is left
        ("cosine", 0.5 + 1.5 * (1 + math.sqrt(0.5)) / 2, 0.5 + 1.5 / 2),
        # 1 - sqrt(r): 1 - 0.5 and 1 - 0.7071
        ("1-sqrt", 0.5 + 1.5 * 0.5, 0.5 + 1.5 * (1 - math.sqrt(0.5))),
        # 2 * 0.5^r - 1: 0.68179283 and 0.41421356
        ("exponential", 0.5 + 1.5 * 0.6817928305074290, 0.5 + 1.5 * 0.4142135623730951),
    ],
)
def test_each_decay_has_its_formula(decay, at_quarter, at_half):
    assert decaying(decay, 1000) == 2
    assert decaying(decay, 1250) == pytest.approx(at_quarter, rel=1e-14)
    assert decaying(decay, 1500) == pytest.approx(at_half, rel=1e-14)
    assert decaying(decay, 2000) == decaying(decay, 10**9) == 0.5


def test_half_life_halves_and_stops_at_its_floor():
    values = [
        decaying("half-life", clock, half_life=300) for clock in (1000, 1150, 1300, 1599, 1600, 1601, 2000)
    ]
    assert values == pytest.approx(
        [2, 2 * math.sqrt(0.5), 1, 2 * 0.5 ** (599 / 300), 0.5, 0.5, 0.5], rel=1e-14
    )


def test_warmup_rises_in_a_line_from_zero_and_holds():
    values = [decaying("linear", clock) for clock in (0, 25, 100, 101, 999)]
    assert values == [0, 0.5, 2, 2, 2]


def test_a_schedule_without_warmup_starts_at_its_peak():
    assert decaying("linear", 0, warmup=0) == 2


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        ([], "first knot .* must be at 0"),
        ([{"at": 5, "value": 1}], "first knot .* must be at 0"),
        ([{"at": 0, "value": 1, "shape": "linear"}], "nothing to come from"),
        ([{"at": 0, "value": 1}, {"at": 9, "value": 1}, {"at": 3, "value": 1}], "out of order: 3 .* after 9"),
        ([{"at": 0, "value": 1}, {"at": 0, "value": 2, "shape": "linear"}], "are a jump"),
        ([{"at": 0, "value": 1}, {"at": 9, "value": 0, "shape": "half-life"}], "`half_life` goes with"),
        ([{"at": 0, "value": 1}, {"at": 9, "value": 0, "half_life": 3}], "`half_life` goes with"),
        (
            [{"at": 0, "value": 1}, {"at": 9, "value": 0, "shape": "half-life", "half_life": 0}],
            "must be more than 0",
        ),
        ({"wsd": {"peak": 1, "warmup": 9, "decay_start": 5, "end": 20}}, "before the warm-up ends at 9"),
        ({"wsd": {"peak": 1, "warmup": 1, "decay_start": 5, "end": 5}}, "not after its start"),
        ({"wsd": {"peak": 1, "warmup": 1, "decay_start": 5, "end": 9}, "more": 1}, "expected `wsd` alone"),
        (
            {"wsd": {"peak": 1, "warmup": 1, "decay_start": 5, "end": 9, "final": -1}},
            "greater than or equal to 0",
        ),
        (True, "valid dictionary or instance"),
    ],
)
def test_impossible_timelines_are_refused(knots, message):
    with pytest.raises(ValidationError, match=message):
        Timeline.model_validate(knots)
