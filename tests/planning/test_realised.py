"""What a run read, from its log lines: against an order that was really drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.curriculum import Mixture, Schedule
from flyweight.planning import plot_timelines, realised_tokens
from flyweight.planning.timelines import planned_shares, timelines_figure
from flyweight.recipe import Recipe, recipe_from_dict


@pytest.fixture
def changing(tiny: dict[str, Any]) -> Recipe:
    """Batch, length and mixture all change, in different places."""
    tiny["training"] |= {
        "tokens": 20_000,
        "batch_size": [{"at": 0, "value": 4}, {"at": 7_000, "value": 6}],
        "sequence_length": [{"at": 0, "value": 16}, {"at": 12_000, "value": 64}],
        "mixture": [
            {"at": 0, "weights": {"a": 0.9, "b": 0.1}},
            {"at": 15_000, "weights": {"a": 0.2, "b": 0.8}, "shape": "linear"},
        ],
    }
    return recipe_from_dict(tiny)


def log_lines(recipe: Recipe, every: int) -> Iterator[dict[str, Any]]:
    """What training logs: after the first step, after each `every`-th, after the last."""
    schedule = Schedule.of(recipe.training)
    mixture = Mixture(recipe.training, schedule)
    for number in range(1, schedule.steps + 1):
        if number == 1 or number % every == 0 or number == schedule.steps:
            step = schedule.step(number)
            counts = mixture.counts_before(step.sequence)
            yield {
                "clock": step.clock,
                "realised": dict(zip(mixture.sources, map(int, counts), strict=True)),
            }


def really(recipe: Recipe, begin: int, end: int) -> dict[str, int]:
    """Tokens by source of the steps in [begin, end), sequence by sequence."""
    schedule = Schedule.of(recipe.training)
    mixture = Mixture(recipe.training, schedule)
    result = dict.fromkeys(mixture.sources, 0)
    for step in map(schedule.step, range(schedule.steps)):
        if begin <= step.clock < end:
            for source in mixture.sources_of(step.sequence, step.batch_size):
                result[mixture.sources[source]] += step.sequence_length
    return result


def test_tokens_are_those_of_the_sequences(changing: Recipe):
    found = realised_tokens(list(log_lines(changing, 1)))
    assert found is not None
    total = Schedule.of(changing.training).tokens
    assert (found.begin, found.end) == (0, total)
    assert found.by_source == pytest.approx(really(changing, 0, total))
    # Not what shares of sequences would say: long ones come from b more often than short ones.
    last = list(log_lines(changing, 1))[-1]["realised"]
    assert abs(last["b"] / sum(last.values()) - found.by_source["b"] / total) > 0.05


@pytest.mark.parametrize("every", [3, 10])
def test_sparse_log_lines_lose_nothing_in_sum(changing: Recipe, every: int):
    found = realised_tokens(list(log_lines(changing, every)))
    total = Schedule.of(changing.training).tokens
    assert found is not None
    assert sum(found.by_source.values()) == pytest.approx(total)
    exact = really(changing, 0, total)
    assert all(abs(found.by_source[name] - exact[name]) < 0.01 * total for name in exact)


def test_a_run_that_began_elsewhere_counts_from_its_first_line(changing: Recipe):
    lines = [line for line in log_lines(changing, 1) if line["clock"] > 9_000]
    found = realised_tokens(lines, began=9_000)
    assert found is not None
    assert found.begin == lines[0]["clock"] > 9_000
    assert found.by_source == pytest.approx(really(changing, found.begin, found.end))


def test_shares_of_stretches_add_up_and_weigh_up(changing: Recipe):
    found = realised_tokens(list(log_lines(changing, 2)))
    assert found is not None
    shares = found.shares(windows=12)
    assert len(shares.tokens) == 24
    assert np.allclose(sum(shares.by_source.values()), 1)
    sizes = shares.tokens[1::2] - shares.tokens[::2]
    for name, values in shares.by_source.items():
        assert (values[1::2] == values[::2]).all()
        assert (values[::2] * sizes).sum() == pytest.approx(found.by_source[name])
    planned = planned_shares(changing)
    middles = (shares.tokens[1::2] + shares.tokens[::2]) / 2
    expected = np.interp(middles, planned.tokens, planned.by_source["b"])
    assert np.abs(shares.by_source["b"][::2] - expected).max() < 0.08


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 64)), max_size=30))
def test_any_record_gives_shares_of_its_own_clock(lines: list[tuple[int, int, int]]):
    clock, counts, steps = 0, [0, 0], []
    for one, other, length in lines:
        clock, counts = clock + (one + other) * length, [counts[0] + one, counts[1] + other]
        steps.append({"clock": clock, "realised": {"a": counts[0], "b": counts[1]}})
    found = realised_tokens(steps)
    if not steps:
        assert found is None
    else:
        assert found is not None
        assert sum(found.by_source.values()) == pytest.approx(clock)


def test_records_that_do_not_tell():
    assert realised_tokens([]) is None
    assert realised_tokens([{"clock": 64}]) is None
    assert realised_tokens([{"clock": 64, "realised": {"a": 4}}], began=32) is None


def test_the_plot_lays_the_realised_mixture_under_the_planned_one(changing: Recipe, tmp_path):
    realised = realised_tokens(list(log_lines(changing, 1)))
    titles = [axes.get_title(loc="left") for axes in timelines_figure(changing, realised).axes]
    assert titles[-2:] == ["Mixture, planned", "Mixture, realised"]
    assert timelines_figure(changing).axes[-1].get_title(loc="left") == "Mixture"
    plot_timelines(changing, tmp_path / "plot.svg", realised)
    assert "Mixture, realised" in (tmp_path / "plot.svg").read_text(encoding="utf-8")
