"""SIGINT and SIGTERM end a run cleanly: after the step in hand, with a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self


class _BrokenOff(BaseException):
    """A signal came while something ran that may be broken off. No view of the events may swallow it."""


class Interruption:
    """While entered, the first SIGINT or SIGTERM sets `requested`; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._breaks = False
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._breaks:
            self._breaks = False
            raise _BrokenOff

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Within, a signal ends the block at once: for what changes no state and may take minutes."""
        self._breaks = not self.requested
        try:
            yield
        except _BrokenOff:
            pass
        finally:
            self._breaks = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
