"""Segments: integers that agree with a walk step by step."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.curriculum import Schedule
from flyweight.recipe import Training


def training(tokens: int, batch: list[tuple[int, int]], length: list[tuple[int, int]]) -> Training:
    return Training.model_validate(
        {
            "tokens": tokens,
            "batch_size": [{"at": at, "value": value} for at, value in batch],
            "sequence_length": [{"at": at, "value": value} for at, value in length],
            "mixture": [{"at": 0, "weights": {"a": 1.0}}],
            "learning_rate": 1e-3,
        }
    )


def steps_timelines():
    knots = st.lists(st.tuples(st.integers(1, 20_000), st.integers(2, 64)), max_size=4)
    return st.tuples(st.integers(2, 64), knots).map(
        lambda pair: [(0, pair[0]), *sorted(dict(pair[1]).items())]
    )


@settings(max_examples=200, deadline=None)
@given(steps_timelines(), steps_timelines(), st.integers(4096, 40_000))
def test_segments_equal_a_walk(batch, length, tokens):
    section = training(tokens, batch, length)
    schedule = Schedule.of(section)
    clock = step = sequence = 0
    while True:
        b, t = int(section.batch_size.at(clock)), int(section.sequence_length.at(clock))
        if clock + b * t > tokens:
            break
        here = schedule.step(step)
        assert (here.clock, here.sequence, here.batch_size, here.sequence_length) == (clock, sequence, b, t)
        assert schedule.step_at_clock(clock).step == step
        assert schedule.first_step_from(clock) == step
        assert schedule.segment_of_sequence(sequence).sequence_length == t
        clock, step, sequence = clock + b * t, step + 1, sequence + b
    assert (schedule.tokens, schedule.steps, schedule.sequences) == (clock, step, sequence)
    assert list(schedule.step_clocks()) == [schedule.step(i).clock for i in range(schedule.steps)]


def test_gpt_x2_takes_143051_steps_and_decays_from_step_114441():
    from flyweight.recipe import load_recipe

    recipe = load_recipe("gpt-x2-125m")
    schedule = Schedule.of(recipe.training)
    assert schedule.steps == 143_051
    rate = recipe.training.learning_rate
    assert rate.at(schedule.step(114_440).middle) == 1.5e-3
    assert rate.at(schedule.step(114_441).middle) < 1.5e-3


def test_no_step_has_rate_zero_by_accident():
    section = training(64_000, [(0, 8)], [(0, 16)])
    section = section.model_copy(
        update={
            "learning_rate": type(section.learning_rate).model_validate(
                {"wsd": {"peak": 1.0, "warmup": 1280, "decay_start": 51_200, "end": 64_000}}
            )
        }
    )
    schedule = Schedule.of(section)
    rates = [section.learning_rate.at(schedule.step(i).middle) for i in range(schedule.steps)]
    assert min(rates) > 0
    assert rates[0] == pytest.approx(0.05)
    assert rates[-1] == pytest.approx(0.005)
