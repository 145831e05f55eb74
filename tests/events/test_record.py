"""The record of a run: what a reader gets back after kills and resumes."""

from __future__ import annotations

import math

import pytest

from flyweight.base import UserError
from flyweight.events import (
    EVENTS_FILE,
    EventWriter,
    Notice,
    RolledBack,
    RunStarted,
    StepSkipped,
    Validated,
    read_events,
)


def started(resumed_from: int | None) -> RunStarted:
    return RunStarted("n", "h", resumed_from, 10, 100, 5, {}, {})


def validated(clock: int, bits: float = 1.0) -> Validated:
    return Validated(clock, clock, {"a": bits}, {"a": bits}, False, 0.1)


def test_events_past_the_checkpoint_that_a_later_attempt_resumed_from_are_dropped(tmp_path):
    first = EventWriter(tmp_path, "one")
    first.write(started(None))
    for clock in (10, 20, 30):
        first.write(validated(clock))
    second = EventWriter(tmp_path, "two")
    second.write(started(20))
    second.write(validated(30, bits=2.0))
    events = [e for e in read_events(tmp_path) if e["kind"] == "validated"]
    assert [(e["clock"], e["bits_per_byte"]["a"], e["attempt"]) for e in events] == [
        (10, 1.0, "one"), (20, 1.0, "one"), (30, 2.0, "two"),
    ]  # fmt: skip


def test_a_line_torn_by_a_kill_is_dropped_and_does_not_swallow_the_next(tmp_path):
    writer = EventWriter(tmp_path, "one")
    writer.write(started(None))
    writer.close()
    with (tmp_path / EVENTS_FILE).open("a") as file:
        file.write('{"kind": "validated", "clo')
    EventWriter(tmp_path, "two").write(Notice("still here"))
    assert [event["kind"] for event in read_events(tmp_path)] == ["run_started", "notice"]


def test_numbers_that_are_not_finite_survive(tmp_path):
    writer = EventWriter(tmp_path, "one")
    writer.write(validated(1, bits=math.nan))
    writer.write(validated(2, bits=math.inf))
    one, two = read_events(tmp_path)
    assert math.isnan(one["bits_per_byte"]["a"])
    assert two["bits_per_byte"]["a"] == math.inf


def test_a_folder_without_a_run_is_the_users_to_mend(tmp_path):
    with pytest.raises(UserError, match="no run here"):
        read_events(tmp_path)


def test_what_a_run_undid_by_going_back_is_dropped_and_that_it_did_so_stays(tmp_path):
    writer = EventWriter(tmp_path, "one")
    writer.write(started(None))
    for clock in (10, 20, 30):
        writer.write(validated(clock))
    writer.write(RolledBack(2, 20, 30, "a fault", 4, 9, 1, 0.1))
    writer.write(validated(30, bits=2.0))
    events = read_events(tmp_path)
    assert [e["kind"] for e in events] == [
        "run_started",
        "validated",
        "validated",
        "rolled_back",
        "validated",
    ]
    assert [e["bits_per_byte"]["a"] for e in events if e["kind"] == "validated"] == [1.0, 1.0, 2.0]


def test_a_skip_that_a_later_attempt_repeats_counts_once(tmp_path):
    for attempt, resumed in (("one", None), ("two", 20)):
        writer = EventWriter(tmp_path, attempt)
        writer.write(started(resumed))
        writer.write(StepSkipped(2, 20, "a fault", 1.0, 1.0, 4, 6, 1))
        writer.write(StepSkipped(2, 20, "a fault", 1.0, 1.0, 6, 8, 2))
        writer.close()
    skips = [event for event in read_events(tmp_path) if event["kind"] == "step_skipped"]
    assert [(event["first"], event["attempt"]) for event in skips] == [(4, "two"), (6, "two")]
