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
                _close([view])
                self.emit(Notice(f"{type(view).__name__} failed and is off from here: {error}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._views)
        if self._record is not None:
            self._record.close()


def _close(views: Iterable[Sink]) -> None:
    for view in views:
        with contextlib.suppress(Exception):
            view.close()


def standard_sinks(recipe: Recipe, run: Path, clock: int) -> list[Sink]:
    """A dashboard or plain lines, and the trackers that the recipe names.

    Raises:
        UserError: it names one that is not installed, or does not begin; those before it are closed again.
    """
    from flyweight.training.sinks import trackers
    from flyweight.training.sinks.dashboard import Dashboard
    from flyweight.training.sinks.lines import PlainLines
    from flyweight.training.sinks.tensorboard import tensorboard_sink

    wanted = recipe.execution.trackers
    named = () if wanted == "auto" else wanted
    for name in named:
        trackers.require(name)
    with_board = wanted == "auto" or "tensorboard" in named
    board = tensorboard_sink(run, clock) if with_board else None
    views: list[Sink] = [] if board is None else [board]
    try:
        for name in named:
            if name != "tensorboard":
                views.append(trackers.begin(name, recipe, run, clock))
    except BaseException:
        _close(views)
        raise
    # The terminal comes last: a live view that nobody closes keeps the cursor.
    terminal: Sink = Dashboard() if sys.stdout.isatty() else PlainLines()
    if with_board and board is None:
        terminal.handle(
            Notice("TensorBoard is not installed (pip install 'flyweight[track]'); no such files.")
        )
    return [terminal, *views]
