"""Tijdeman's rule: shares within one sequence at every point, whatever the weights do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.curriculum import ROW, UNIT, Mixture, Schedule, fixed_point_weights
from flyweight.recipe import Training


def section(tokens: int, batch: int, length: int, mixture: list[dict]) -> Training:
    return Training.model_validate(
        {
            "tokens": tokens,
            "batch_size": batch,
            "sequence_length": length,
            "mixture": mixture,
            "learning_rate": 1e-3,
        }
    )


@st.composite
def mixtures(draw):
    count = draw(st.integers(1, 13))
    names = [f"s{i}" for i in range(count)]
    knots = []
    for at in sorted({0, *draw(st.lists(st.integers(1, 60_000), max_size=4))}):
        raw = draw(
            st.lists(st.sampled_from([0, 0, 1, 1, 2, 3, 7, 40, 1000]), min_size=count, max_size=count).filter(
                any
            )
        )
        shape = draw(st.sampled_from(["step", "linear"])) if at else "step"
        knots.append(
            {"at": at, "shape": shape, "weights": {n: w / sum(raw) for n, w in zip(names, raw, strict=True)}}
        )
    return section(80_000, draw(st.integers(1, 40)), 8, knots)


@settings(max_examples=60, deadline=None)
@given(mixtures())
def test_realised_shares_stay_within_one_sequence_of_the_plan(training):
    schedule = Schedule.of(training)
    mixture = Mixture(training, schedule)
    assigned = mixture.sources_of(0, schedule.sequences)
    counts = np.cumsum(np.eye(len(mixture.sources), dtype=np.int64)[assigned], axis=0)
    # The plan by an independent route: the timelines' own weights, one sequence after another.
    clocks = np.repeat(schedule.step_clocks(), [schedule.step(s).batch_size for s in range(schedule.steps)])
    exact = np.stack([t.values(clocks) for t in training.mixture_timelines().values()], axis=1)
    drift = schedule.sequences / UNIT  # rounding to fixed point, summed up
    assert np.abs(counts - np.cumsum(exact, axis=0)).max() < 1 + drift
    # A source without weight is never drawn.
    assert (exact[np.arange(len(assigned)), assigned] > 0).all() or _rounding_of_lag(exact, assigned)


def _rounding_of_lag(exact: np.ndarray, assigned: np.ndarray) -> bool:
    """A source whose weight has just become 0 may still be owed the sequence that it lags behind."""
    for n in np.flatnonzero(exact[np.arange(len(assigned)), assigned] == 0):
        source = assigned[n]
        owed = exact[: n + 1, source].sum() - np.count_nonzero(assigned[:n] == source)
        if owed <= 0:
            return False
    return True


@settings(max_examples=20, deadline=None)
@given(mixtures(), st.data())
def test_seek_equals_walk(training, data):
    schedule = Schedule.of(training)
    walked = Mixture(training, schedule)
    everything = walked.sources_of(0, schedule.sequences)
    place = data.draw(st.integers(0, schedule.sequences - 1))
    sought = Mixture(training, schedule)
    assert sought.sources_of(place, 1)[0] == everything[place]
    before = np.bincount(everything[:place], minlength=len(walked.sources))
    assert (Mixture(training, schedule).counts_before(place) == before).all()


def test_a_remembered_row_makes_seeking_start_there_and_a_foreign_row_is_refused():
    training = section(ROW * 8 * 5, 64, 8, [{"at": 0, "weights": {"a": 0.3, "b": 0.7}}])
    schedule = Schedule.of(training)
    walked = Mixture(training, schedule)
    expected = walked.sources_of(ROW * 4, 100)
    fresh = Mixture(training, schedule)
    assert max(walked._rows) == 5
    fresh.remember_row(4, tuple(int(c) for c in walked.counts_before(4 * ROW)))
    assert (fresh.sources_of(ROW * 4, 100) == expected).all()
    assert sorted(fresh._rows) == [0, 4, 5]  # nothing before row 4 was walked
    with pytest.raises(ValueError, match="do not belong"):
        fresh.remember_row(3, (3 * ROW, 0))


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=13).filter(any))
def test_fixed_point_weights_add_up_exactly_and_keep_zeros(raw):
    weights = np.array([raw], dtype=np.float64) / sum(raw)
    units = fixed_point_weights(weights)
    assert units.sum() == UNIT
    assert (units[weights == 0] == 0).all()
    assert np.abs(units / UNIT - weights).max() <= 1 / UNIT
