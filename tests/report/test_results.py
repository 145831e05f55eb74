"""Results become plain rows; nothing is lost and nothing is made up."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.report import measurements
from flyweight.report.results import Measurement, bits_per_byte_rows


def test_tasks_and_subsets(results: dict[str, Any]):
    rows = {(row.task, row.part, row.metric): row for row in measurements(results)}
    whole = rows["arithmark-gen", (), "acc,v1"]
    assert (whole.value, whole.stderr, whole.n, whole.chance) == (0.3125, 0.0123, 1400, 0.25)
    subset = rows["arithmark-gen", ("operands 3",), "acc,v2"]
    assert (subset.value, subset.stderr, subset.chance, subset.grouped) == (0.29, None, 0.25, True)
    assert rows["blimp", ("subset uid_3",), "acc"].n == 1000
    assert rows["other", (), "perplexity"].value == 12.345678
    assert len(rows) == 2 + 2 + 1 + 20 + 1


def test_a_part_of_a_published_set_is_marked(results: dict[str, Any]):
    limited = measurements({**results, "settings": {"limit": 5}})
    assert {row.task for row in limited if row.partial} == {"blimp", "other"}  # a generated set has no whole
    assert next(row.label for row in limited if row.task == "other") == "a part of the set"
    assert not any(row.partial for row in measurements(results))


@pytest.mark.parametrize(
    ("row", "value", "error", "chance"),
    [
        (Measurement("t", (), "acc", 0.3125, 0.0123, chance=0.25), "31.2%", "± 1.2%", "25.0%"),
        (Measurement("t", (), "perplexity", 12.345678, 0.5), "12.35", "± 0.5", ""),
        (Measurement("t", (), "acc_norm", 0.5), "50.0%", "", ""),
    ],
)
def test_numbers_for_people(row: Measurement, value: str, error: str, chance: str):
    assert (row.text(), row.stderr_text(), row.chance_text()) == (value, error, chance)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["metrics", "subsets", "n", "value", "chance", "stderr", "v"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_stands_there_is_read_without_an_error(node: Any):
    for row in measurements({"tasks": {"t": node}}):
        assert math.isfinite(row.value)
        assert row.text()
    measurements({"tasks": node})
    bits_per_byte_rows({"bits_per_byte": node}, {})


def test_bits_per_byte_rows(results: dict[str, Any]):
    assert bits_per_byte_rows(results, {"english": 9.9}) == {
        "before training": {"english": 6.123, "mine": 6.456},
        "after training": {"english": 1.777, "mine": 2.888},
        "zstd -19": {"english": 2.345, "mine": 2.111},
        "lzma": {"english": 2.222, "mine": 2.099},
    }
    assert bits_per_byte_rows({}, {"english": 1.5}) == {"after training": {"english": 1.5}}
    assert bits_per_byte_rows({}, {}) == {}
