"""Progress with a time left, for whatever takes longer than a moment."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

_LINE_EVERY = 5.0
"""Seconds between lines where the output is not a terminal."""


class Pace:
    """How fast a stage goes, by what was done since its first call: work of an earlier attempt took no time now."""

    def __init__(self, share: float, now: float) -> None:
        self._first, self._began = share, now
        self._ends: float | None = None

    def note(self, share: float, now: float) -> None:
        """Take in that `share` is done at `now`."""
        done, left = share - self._first, 1 - share
        if done > 0.02 * (1 - self._first):
            self._ends = now + (now - self._began) / done * left

    def left(self, now: float) -> float | None:
        """Seconds to the end; None while too little is done to say."""
        return None if self._ends is None else max(0.0, self._ends - now)


class _Left(ProgressColumn):
    """The time left, counted down between two calls."""

    def __init__(self, paces: dict[str, Pace]) -> None:
        super().__init__()
        self._paces = paces

    def render(self, task: Task) -> Text:
        seconds = self._paces[task.description].left(time.monotonic()) if not task.finished else 0.0
        if seconds is None:
            return Text("-:--:--", style="progress.remaining")
        minutes, seconds = divmod(round(seconds), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}", style="progress.remaining")


class StageProgress:
    """Call it with a stage's name and the share of it that is done; one bar a stage.

    The time left is told by what was done since the stage's first call. Where standard error is not a terminal it
    prints a line when a stage begins and every few seconds.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, int] = {}
        self._paces: dict[str, Pace] = {}
        self._printed = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                _Left(self._paces),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, share: float) -> None:
        """The share, 0 to 1, of `stage` that is done."""
        now = time.monotonic()
        new = stage not in self._paces
        if new:
            self._paces[stage] = Pace(share, now)
        pace = self._paces[stage]
        pace.note(share, now)
        if self._bars is not None:
            if new:
                self._finish_others()
                self._tasks[stage] = self._bars.add_task(stage, total=1.0)
            self._bars.update(self._tasks[stage], completed=share)  # type: ignore[arg-type]
        elif new or now - self._printed > _LINE_EVERY:
            self._printed = now
            seconds = pace.left(now)
            left = f", about {seconds:.0f} s left" if seconds is not None and share < 1 else ""
            self._console.print(f"{stage}: {share:.0%}{left}", highlight=False)

    def _finish_others(self) -> None:
        assert self._bars is not None
        for task in self._tasks.values():
            self._bars.update(task, completed=1.0)  # type: ignore[arg-type]
