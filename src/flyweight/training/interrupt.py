"""SIGINT and SIGTERM end a run cleanly: after the step in hand, with a checkpoint."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

from flyweight.training.parallel import ALONE, Ranks


class _BrokenOff(BaseException):
    """A signal came while something ran that may be broken off. No view of the events may swallow it."""


class Interruption:
    """While entered, the first SIGINT or SIGTERM sets `requested`; a second SIGINT interrupts at once.

    A signal reaches the processes of a run at different moments: with several, it counts once `agree` was called
    on all of them.
    """

    def __init__(self, ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self._received = self._agreed = False
        self._breaks = False
        self._before: dict[int, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = True
        if self._breaks:
            self._breaks = False
            raise _BrokenOff

    @property
    def requested(self) -> bool:
        """Whether the run is to end."""
        return self._received if self._ranks.alone else self._agreed

    def agree(self, failed: bool = False) -> bool:
        """Tell the other ranks of a signal, and hear of theirs; whether something else `failed` on any of them."""
        self._agreed, failed = self._ranks.any(self._received, failed)
        return failed

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Within, a signal ends the block at once: for what changes no state and may take minutes.

        Not with several processes, which would no longer be in step.
        """
        self._breaks = self._ranks.alone and not self.requested
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
