"""Progress with a time left, for whatever takes longer than a moment."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_EVERY = 5.0
"""Seconds between lines where the output is not a terminal."""


class StageProgress:
    """Call it with a stage's name and the share of it that is done; one bar a stage.

    Where standard error is not a terminal it prints a line when a stage begins and every few seconds.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars: Progress | None = None
        self._tasks: dict[str, int] = {}
        self._began: dict[str, float] = {}
        self._printed = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
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
        if self._bars is not None:
            if stage not in self._tasks:
                self._finish_others()
                self._tasks[stage] = self._bars.add_task(stage, total=1.0)
            self._bars.update(self._tasks[stage], completed=share)  # type: ignore[arg-type]
            return
        now = time.monotonic()
        new = stage not in self._began
        if new:
            self._began[stage] = now
        if new or now - self._printed > _LINE_EVERY:
            self._printed = now
            spent = now - self._began[stage]
            left = f", about {spent / share * (1 - share):.0f} s left" if share > 0.02 and share < 1 else ""
            self._console.print(f"{stage}: {share:.0%}{left}", highlight=False)

    def _finish_others(self) -> None:
        assert self._bars is not None
        for task in self._tasks.values():
            self._bars.update(task, completed=1.0)  # type: ignore[arg-type]
