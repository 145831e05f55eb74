"""Where jobs are carried out: in this process, in a pool of processes, or on a Ray cluster.

An executor only starts jobs and hands back what became of them. Order, retries, progress and the
use of finished work are the scheduler's, so that the result never depends on the executor.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Collection
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, Protocol, Self

from flyweight.base import UserError
from flyweight.corpus.engine.jobs import Job, perform

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


class WorkerLost(Exception):
    """The process that carried out a job ended before the job did."""


class Executor(Protocol):
    """Starts jobs and says what became of them."""

    workers: int
    """Jobs that can run at the same time."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def submit(self, job: Job, progress: str) -> Any:
        """Start a job and return a handle for it; `progress` is its progress file."""
        ...

    def wait(self, handles: Collection[Any], seconds: float) -> set[Any]:
        """The handles that have ended, at the latest after `seconds`."""
        ...

    def result(self, handle: Any) -> Any:
        """What the job of an ended handle returned.

        Raises:
            WorkerLost: its process was killed or ran out of memory.
            Exception: what the job itself raised.
        """
        ...


class _Ended:
    def __init__(self, value: Any, error: Exception | None) -> None:
        self.value, self.error = value, error


class InProcess:
    """One job after another in this process: no start-up cost, for small work."""

    workers = 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, job: Job, progress: str) -> _Ended:
        """Carry out the job at once."""
        try:
            return _Ended(perform(job, progress), None)
        except Exception as error:
            return _Ended(None, error)

    def wait(self, handles: Collection[_Ended], seconds: float) -> set[_Ended]:
        """All have ended."""
        return set(handles)

    def result(self, handle: _Ended) -> Any:
        """What the job returned, or the error that it raised."""
        if handle.error is not None:
            raise handle.error
        return handle.value


def _become_worker() -> None:
    """One thread a worker, no message of its own for Ctrl-C, and no life after its parent's."""
    os.environ |= {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    _keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    # A parent that was killed cannot end its workers; left alone they would write into the next one's folders.
    threading.Thread(target=follow, daemon=True).start()


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next batch, where it is glibc.

    Batches of megabytes are allocated and freed over and over. By default the pages go back to the system
    each time, and to get and clear new ones took a sixth of the whole time on the machine of docs/log.md (2026-11-22).
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for parameter, size in ((_M_MMAP_THRESHOLD, 32 << 20), (_M_TRIM_THRESHOLD, 256 << 20)):
            library.mallopt(parameter, size)


class LocalPool:
    """A pool of fresh processes on this machine. A worker that is killed is replaced."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close(wait=error[0] is None)

    def _close(self, wait: bool) -> None:
        if self._pool is None:
            return
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=wait, cancel_futures=True)
        if not wait:
            # Their half-done work is thrown away in any case; a user who presses Ctrl-C wants an end now.
            for process in processes:
                process.terminate()
        self._pool = None

    def submit(self, job: Job, progress: str) -> concurrent.futures.Future:
        """Queue the job for the next free worker."""
        if self._pool is None:
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), _become_worker
            )
        try:
            return self._pool.submit(perform, job, progress)
        except BrokenProcessPool:
            self._close(wait=False)
            return self.submit(job, progress)

    def wait(self, handles: Collection[concurrent.futures.Future], seconds: float) -> set:
        """Those that have ended."""
        return concurrent.futures.wait(
            handles, timeout=seconds, return_when=concurrent.futures.FIRST_COMPLETED
        ).done

    def result(self, handle: concurrent.futures.Future) -> Any:
        """What the job returned; every job of a broken pool is lost with it."""
        try:
            return handle.result()
        except (BrokenProcessPool, concurrent.futures.CancelledError):
            raise WorkerLost from None


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_executor(engine: Literal["local", "ray"], workers: int | Literal["auto"]) -> Executor:
    """The executor of a preparation.

    Args:
        engine: `local`: processes of this machine. `ray`: tasks on the Ray cluster that RAY_ADDRESS names,
            or on one that is started here; its machines must share the corpus folder's file system.
        workers: jobs at the same time; `auto` is one a core.

    Raises:
        UserError: `ray` without the package, or without the cluster.
    """
    if engine == "ray":
        from flyweight.corpus.engine.ray_tasks import RayTasks

        return RayTasks(None if workers == "auto" else workers)
    if engine != "local":
        raise UserError(f"--engine {engine}: expected `local` or `ray`.")
    count = cores() if workers == "auto" else workers
    return LocalPool(count) if count > 1 else InProcess()
