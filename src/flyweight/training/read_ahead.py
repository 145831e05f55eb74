"""The next batch is read while the present one is trained on."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Place = TypeVar("Place")
Batch = TypeVar("Batch")


class ReadAhead(Generic[Place, Batch]):
    """Reads batches one ahead, in a thread of its own.

    What a place holds never depends on what was read before, so a guess that turns out wrong (a step was
    skipped, a run went back) costs one reading and nothing else.
    """

    def __init__(self, read: Callable[[Place], Batch]) -> None:
        """`read` is called in the other thread, never twice at a time."""
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read ahead")
        self._next: tuple[Place, Future[Batch]] | None = None
        self.waited = 0.0
        """Seconds that `take` has waited for batches, since the beginning."""

    def take(self, place: Place, following: Place | None) -> Batch:
        """The batch at `place`; then the one at `following` is begun.

        Raises:
            Exception: what reading this batch raised. Of a batch that nobody takes, nothing is raised.
        """
        begin = time.perf_counter()
        expected, self._next = self._next, None
        if expected is None or expected[0] != place:
            if expected is not None:
                expected[1].cancel()
            expected = place, self._thread.submit(self._read, place)
        batch = expected[1].result()
        self.waited += time.perf_counter() - begin
        if following is not None:
            self._next = following, self._thread.submit(self._read, following)
        return batch

    def close(self) -> None:
        """End the thread, after what it is reading."""
        self._thread.shutdown(cancel_futures=True)
