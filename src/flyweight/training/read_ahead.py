"""The next step's batch is drawn and read in a thread while the present one is trained on.

A batch is a pure function of its place: the step, and the journal of what the run has passed over. So a batch
that was read for a place which the run then does not come to (a step was skipped, the run went back) is thrown
away, and costs one reading and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Place = TypeVar("Place")
Batch = TypeVar("Batch")


class ReadAhead(Generic[Place, Batch]):
    """Reads batches one ahead; leaving it as a context ends its thread.

    Args:
        read: gives the batch of a place. It is called in the thread, never twice at a time, and must depend on
            nothing but the place.
    """

    def __init__(self, read: Callable[[Place], Batch]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._next: tuple[Place, Future[Batch]] | None = None
        self.waited = 0.0
        """Seconds that `take` has waited for batches so far."""

    def take(self, place: Place, following: Place | None) -> Batch:
        """The batch at `place`; reading the one at `following` then begins.

        Raises:
            Exception: what reading this batch raised. Of a batch that nobody takes, nothing is raised.
        """
        begin = time.perf_counter()
        ahead, self._next = self._next, None
        if ahead is None or ahead[0] != place:
            if ahead is not None:
                ahead[1].cancel()
            ahead = place, self._thread.submit(self._read, place)
        batch = ahead[1].result()
        if following is not None:
            self._next = following, self._thread.submit(self._read, following)
        self.waited += time.perf_counter() - begin
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._next = None
        self._thread.shutdown(wait=True, cancel_futures=True)
