"""One event in, every sink served; the record first, since it is the truth and the rest are views."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, Self

from flyweight.events import Event, EventWriter, Notice
from flyweight.recipe import Recipe


class Sink(Protocol):
    """A view of the event stream."""

    def handle(self, event: Event) -> None:
        """Take one event in."""
        ...

    def close(self) -> None:
        """The attempt is over."""
        ...


class Sinks:
    """The record and the views of one attempt; closes them all when left. Without a record, nothing is told."""

    def __init__(self, record: EventWriter | None, views: Iterable[Sink]):
        self._record = record
        self._views = list(views)

    def emit(self, event: Event) -> None:
        """Write `event` to the record, then show it; a view that fails is dropped, the run goes on."""
        if self._record is None:
            return
        self._record.write(event)
        for view in list(self._views):
            try:
                view.handle(event)
            except Exception as error:
                self._views.remove(view)
                self.emit(Notice(f"{type(view).__name__} failed and is off from here: {error}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for view in self._views:
            with contextlib.suppress(Exception):
                view.close()
        if self._record is not None:
            self._record.close()


def standard_sinks(recipe: Recipe, run: Path, clock: int) -> list[Sink]:
    """A dashboard or plain lines, and the trackers that the recipe names.

    Raises:
        UserError: it names one that is not installed.
    """
    from flyweight.training.sinks import trackers
    from flyweight.training.sinks.dashboard import Dashboard
    from flyweight.training.sinks.lines import PlainLines
    from flyweight.training.sinks.tensorboard import tensorboard_sink

    wanted = recipe.execution.trackers
    named = () if wanted == "auto" else wanted
    for name in named:
        trackers.require(name)
    terminal: Sink = Dashboard() if sys.stdout.isatty() else PlainLines()
    sinks: list[Sink] = [terminal]
    if wanted == "auto" or "tensorboard" in named:
        views = tensorboard_sink(run, clock)
        if views is None:
            terminal.handle(
                Notice("TensorBoard is not installed (pip install 'flyweight[track]'); no such files.")
            )
        else:
            sinks.append(views)
    return sinks + trackers.begin([name for name in named if name != "tensorboard"], recipe, run, clock)
