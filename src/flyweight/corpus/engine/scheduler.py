"""Carrying out many jobs: a few ahead of the workers, failures tried again, one progress for all."""

from __future__ import annotations

import enum
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.corpus.engine.executors import Executor, WorkerLost
from flyweight.corpus.engine.jobs import REPORT_SECONDS, Job, Report, read_progress

ATTEMPTS = 3
"""How often a job is tried: a machine may drop out, a disk or a network may hiccup."""

_AHEAD = 2
"""Jobs that wait for each worker, so that none stands idle."""


class Turn(enum.Enum):
    """Whether a job may start."""

    NOW = enum.auto()
    LATER = enum.auto()
    """Ask again when another job has ended; never said while none is under way."""
    NEVER = enum.auto()
    """It is not needed, nor are those that follow it in its lane."""


@dataclass
class _Running:
    number: int
    progress: Path


def run_jobs(
    executor: Executor,
    jobs: Sequence[Job],
    report: Report,
    turn: Callable[[int], Turn] = lambda number: Turn.NOW,
    keep: Callable[[int, Any], None] = lambda number, result: None,
) -> list[Any]:
    """Carry out `jobs` and return their results, in the jobs' order.

    Args:
        executor: where they run.
        jobs: independent of each other.
        report: takes the share that is done.
        turn: asked before a job starts, with its number; a job that is not needed has the result None.
        keep: takes every result when it comes, with the number of its job.

    Raises:
        UserError: a job raised it, or its worker died ATTEMPTS times. Finished jobs keep their results on disk.
        Exception: whatever a job raised at its last attempt.
    """
    results: list[Any] = [None] * len(jobs)
    attempts = [0] * len(jobs)
    waiting = _Waiting(jobs, turn)
    done, total = 0.0, sum(job.size for job in jobs) or 1.0
    running: dict[Any, _Running] = {}
    refused: dict[int, UserError] = {}
    with tempfile.TemporaryDirectory(prefix="flyweight-") as folder:
        while True:
            while len(running) < _AHEAD * executor.workers and (number := waiting.take()) is not None:
                attempts[number] += 1
                progress = Path(folder) / str(number)
                running[executor.submit(jobs[number], str(progress))] = _Running(number, progress)
            if not running:
                assert not refused
                return results
            for handle in executor.wait(running, REPORT_SECONDS):
                number = running.pop(handle).number
                try:
                    taken = _take(executor, handle, jobs[number], attempts[number], results, number)
                except UserError as error:
                    refused[number] = error
                    continue
                if taken:
                    done += jobs[number].size
                    keep(number, results[number])
                else:
                    waiting.give_back(number)
            under_way = [one.number for one in running.values()]
            _raise_needed(refused, turn, lambda number: waiting.follows(number, under_way))  # noqa: B023
            parts = sum(jobs[one.number].size * read_progress(one.progress) for one in running.values())
            report(min(1.0, (done + waiting.spared + parts) / total))


def _raise_needed(
    refused: dict[int, UserError], turn: Callable[[int], Turn], follows: Callable[[int], bool]
) -> None:
    """Raise the refusal of a job that is needed, once all before it in its lane have ended.

    A job that was begun ahead of time, as workers have to do, must not fail what does without it: then whether
    there is an error would depend on the number of workers.
    """
    for number, error in list(refused.items()):
        if follows(number):
            continue
        if turn(number) is not Turn.NEVER:
            raise error
        del refused[number]


class _Waiting:
    """The jobs that have not started, in their lanes."""

    def __init__(self, jobs: Sequence[Job], turn: Callable[[int], Turn]) -> None:
        self._jobs, self._turn = jobs, turn
        self._lanes: dict[str, deque[int]] = {}
        for number, job in enumerate(jobs):
            self._lanes.setdefault(job.lane, deque()).append(number)
        self.spared = 0.0
        """The size of the jobs that are not needed."""

    def take(self) -> int | None:
        """The number of the next job that may start now; None if there is none."""
        for lane in self._lanes.values():
            if not lane:
                continue
            turn = self._turn(lane[0])
            if turn is Turn.NOW:
                return lane.popleft()
            if turn is Turn.NEVER:
                self.spared += sum(self._jobs[number].size for number in lane)
                lane.clear()
        return None

    def follows(self, number: int, under_way: Sequence[int]) -> bool:
        """Whether jobs before this one in its lane have not ended."""
        lane = self._jobs[number].lane
        started = any(other < number and self._jobs[other].lane == lane for other in under_way)
        return started or any(other < number for other in self._lanes[lane])

    def give_back(self, number: int) -> None:
        """A job that is to be tried again is the next one of its lane."""
        self._lanes[self._jobs[number].lane].appendleft(number)


def _take(executor: Executor, handle: Any, job: Job, attempt: int, results: list[Any], number: int) -> bool:
    """Store a result; False when the job is to be tried again."""
    try:
        results[number] = executor.result(handle)
    except UserError:
        raise
    except (WorkerLost, MemoryError):
        if attempt >= ATTEMPTS:
            raise UserError(
                f"{job.name}: the process that did this was killed {ATTEMPTS} times, most likely for want of "
                f"memory; set execution.workers to fewer. What was finished is kept."
            ) from None
        return False
    except OSError:
        if attempt >= ATTEMPTS:
            raise
        return False
    return True
