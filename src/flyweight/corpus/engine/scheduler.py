"""Carrying out many jobs: a few ahead of the workers, failures tried again, one progress for all."""

from __future__ import annotations

import tempfile
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


@dataclass
class _Running:
    number: int
    progress: Path


def run_jobs(
    executor: Executor,
    jobs: Sequence[Job],
    report: Report,
    is_needed: Callable[[int], bool] = lambda number: True,
    keep: Callable[[int, Any], None] = lambda number, result: None,
) -> list[Any]:
    """Carry out `jobs` and return their results, in the jobs' order.

    Args:
        executor: where they run.
        jobs: independent of each other.
        report: takes the share that is done.
        is_needed: asked before a job starts, with its number; a job that is not needed has the result None.
        keep: takes every result when it comes, with the number of its job.

    Raises:
        UserError: a job raised it, or its worker died ATTEMPTS times. Finished jobs keep their results on disk.
        Exception: whatever a job raised at its last attempt.
    """
    results: list[Any] = [None] * len(jobs)
    attempts = [0] * len(jobs)
    waiting = list(range(len(jobs)))[::-1]
    done, total = 0.0, sum(job.size for job in jobs) or 1.0
    running: dict[Any, _Running] = {}
    with tempfile.TemporaryDirectory(prefix="flyweight-") as folder:
        while waiting or running:
            while waiting and len(running) < _AHEAD * executor.workers:
                number = waiting.pop()
                if not is_needed(number):
                    done += jobs[number].size
                    continue
                attempts[number] += 1
                progress = Path(folder) / str(number)
                running[executor.submit(jobs[number], str(progress))] = _Running(number, progress)
            for handle in executor.wait(running, REPORT_SECONDS):
                number = running.pop(handle).number
                if _take(executor, handle, jobs[number], attempts[number], results, number):
                    done += jobs[number].size
                    keep(number, results[number])
                else:
                    waiting.append(number)
            parts = sum(jobs[one.number].size * read_progress(one.progress) for one in running.values())
            report(min(1.0, (done + parts) / total))
    return results


def _take(executor: Executor, handle: Any, job: Job, attempt: int, results: list[Any], number: int) -> bool:
    """Store a result; False when the job is to be tried again."""
    try:
        results[number] = executor.result(handle)
    except UserError:
        raise
    except WorkerLost:
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
