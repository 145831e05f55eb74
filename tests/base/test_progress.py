"""The time left is told by what was done now, not by what an earlier attempt did."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flyweight.base import progress
from flyweight.base.progress import StageProgress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_lines_of_a_stage_that_goes_on(clock: Clock, capsys):
    with StageProgress() as shown:
        shown("runs", 0.5)  # done before
        clock.now += 100
        shown("runs", 0.6)
        clock.now += 200
        shown("runs", 0.8)
        clock.now += 400
        shown("runs", 1.0)
    assert capsys.readouterr().err.splitlines() == [
        "runs: 50%",
        "runs: 60%, about 400 s left",
        "runs: 80%, about 200 s left",
        "runs: 100%",
    ]


def test_a_bar_of_a_stage_that_goes_on(clock: Clock):
    written = io.StringIO()
    shown = StageProgress()
    shown._console = Console(file=written, force_terminal=True, width=80, color_system=None)
    with shown:
        shown("runs", 0.5)
        clock.now += 3600
        shown("runs", 0.6)  # longer ago than a bar of rich looks back
        clock.now += 600
        assert shown._bars is not None
        shown._bars.refresh()
    frames = written.getvalue()
    assert "60%" in frames
    assert "-:--:--" in frames  # at first nothing is known
    assert "3:50:00" in frames  # four hours, of which ten minutes are over


def test_stages_follow_each_other(clock: Clock, capsys):
    with StageProgress() as shown:
        shown("read", 0.0)
        clock.now += 10
        shown("read", 0.5)
        shown("encode", 0.0)
    assert capsys.readouterr().err.splitlines() == ["read: 0%", "read: 50%, about 10 s left", "encode: 0%"]
