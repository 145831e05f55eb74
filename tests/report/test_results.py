"""Results of any nesting become plain rows; nothing is lost and nothing is made up."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.report import measurements
from flyweight.report.results import Measurement, bits_per_byte_rows


def test_tasks_parts_and_groups(results: dict[str, Any]):
    rows = {(row.task, row.part, row.metric): row for row in measurements(results)}
    whole = rows["arithmark-gen", (), "acc"]
    assert (whole.value, whole.stderr, whole.n, whole.chance) == (0.3125, 0.0123, 1400, 0.25)
    part = rows["arithmark-gen", ("v2",), "acc"]
    assert (part.value, part.n, part.chance, part.grouped) == (0.415, 600, 0.25, False)
    group = rows["arithmark-gen", ("v2", "operands 3"), "acc"]
    assert (group.value, group.stderr, group.grouped) == (0.29, None, True)
    assert rows["other", (), "perplexity"].value == 12.345678
    assert len(rows) == 1 + 1 + 2 + 1 + 20 + 1
    assert not any(row.metric in ("seconds", "n", "chance", "complete") for row in rows.values())


def test_a_level_of_versions_has_no_name_of_its_own():
    node = {"versions": {"v1": {"acc": {"value": 0.5, "stderr": 0.1}, "n": 8}}, "chance": 0.25}
    (row,) = measurements({"tasks": {"t": node}})
    assert row == Measurement("t", ("v1",), "acc", 0.5, 0.1, 8, 0.25)


def test_a_part_of_a_published_set_is_marked():
    (row,) = measurements({"tasks": {"blimp": {"acc": 0.6, "complete": False}}})
    assert row.partial
    assert row.label == "a part of the set"


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
                st.sampled_from(["acc", "acc_stderr", "n", "value", "chance", "by_x", "v"]), inner
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
