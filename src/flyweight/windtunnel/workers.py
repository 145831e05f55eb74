"""Trials side by side: worker processes that take the next one until none is left."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.base import Busy, UserError, exclusive, read_json, write_json
from flyweight.corpus import open_corpus
from flyweight.recipe import Recipe, identity_hash
from flyweight.windtunnel.trials import Goal, Outcome, read_outcome, run_trial

POLL_SECONDS = 0.5
"""Between two looks at the workers."""


@dataclass(frozen=True)
class Job:
    """A trial that is known beforehand."""

    name: str
    """Of its folder."""
    recipe: Recipe
    start_from: str | None = None
    """RUN@TOKENS of another run."""
    keep_weights: bool = False
    """Keep its last checkpoint."""


class Stopped(UserError):
    """A signal ended the work; what was done is kept."""


def on_few_threads(recipe: Recipe, workers: int) -> Recipe:
    """The recipe for one of `workers` processes: its share of the cores, no trackers, checkpoints at rungs only."""
    cores = os.cpu_count() or 1
    execution = recipe.execution.model_copy(
        update={"threads": max(1, cores // workers), "trackers": (), "checkpoint_every": 0, "milestones": ()}
    )
    return recipe.model_copy(update={"execution": execution})


def keep_to_plan(path: Path, about: dict[str, Any], what: str) -> None:
    """Write down what runs are of before the first of them, or refuse to go on with others.

    Args:
        path: of the file that says it.
        about: plain values.
        what: the runs, for people.

    Raises:
        UserError: the file says something else.
    """
    about = json.loads(json.dumps(about))
    if not path.exists():
        write_json(path, about)
    elif (known := read_json(path, what)) != about:
        odd = sorted(key for key in known.keys() | about.keys() if known.get(key) != about.get(key))
        raise UserError(
            f"{path.parent}: {what} was begun with another {' and another '.join(odd)}, which is fixed before its "
            f"first run; name another folder."
        )


def run_jobs(
    jobs: Sequence[Job],
    corpus: Path,
    folder: Path,
    *,
    workers: int = 1,
    goal: Goal | None = None,
    until: float | None = None,
    progress: Callable[[dict[str, Outcome]], None] = lambda done: None,
) -> dict[str, Outcome]:
    """Run trials that are known beforehand, `workers` at a time; finished ones are only read.

    Any number of such calls, on any machines that share the folder, share the jobs. One that was killed goes on
    where it stood.

    Args:
        jobs: the trials.
        corpus: folder of the token shards.
        folder: where each trial has a folder.
        workers: processes.
        goal: what they are judged by.
        until: begin no trial after this time, in seconds since the epoch.
        progress: told of finished trials, now and then.

    Raises:
        Stopped: a signal came, or the time is over before all are done.
        UserError: what ended a worker, or the folder has a job of this name with another recipe.
    """

    def done() -> dict[str, Outcome]:
        found = {job.name: _outcome_of(job, folder) for job in jobs}
        return {name: outcome for name, outcome in found.items() if outcome is not None}

    while len(finished := done()) < len(jobs):
        if until is not None and time.time() >= until:
            raise Stopped(
                f"the budget is spent: {len(finished)} of {len(jobs)} runs are done; the same command goes on from "
                f"here."
            )
        left = len(jobs) - len(finished)
        work_together(
            _take_jobs,
            (list(jobs), corpus, folder, goal, until),
            min(workers, left),
            lambda: progress(done()),
        )
        if len(done()) == len(finished):  # the rest is in other hands
            time.sleep(20 * POLL_SECONDS)
    progress(finished)
    return finished


def _take_jobs(
    jobs: Sequence[Job], corpus: Path, folder: Path, goal: Goal | None, until: float | None
) -> None:
    """What a worker does: each job that nobody has finished or is at."""
    opened = open_corpus(corpus)
    for job in jobs:
        if until is not None and time.time() >= until:
            return
        if _outcome_of(job, folder) is not None:
            continue
        with held(folder / job.name) as free:
            if not free:
                continue
            outcome = run_trial(
                job.recipe, opened, folder / job.name, goal=goal, start_from=job.start_from,
                keep_weights=job.keep_weights,
            )  # fmt: skip
        if outcome is None:
            raise Stopped("stopped")


def _outcome_of(job: Job, folder: Path) -> Outcome | None:
    outcome = read_outcome(folder / job.name)
    if outcome is not None and outcome.recipe_hash != identity_hash(job.recipe):
        raise UserError(f"{folder / job.name}: this was run with another recipe; name another folder.")
    return outcome


@contextlib.contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Whether this process alone works on the trial in `folder`, within the block."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder.with_name(f"{folder.name}.lock"), "held"))
            free = True
        except Busy:
            free = False
        yield free


def work_together(
    work: Callable[..., None], arguments: tuple[Any, ...], workers: int, look: Callable[[], None]
) -> None:
    """Run `work(*arguments)` in `workers` processes and wait for all of them.

    A worker whose parent is gone ends as by SIGTERM: its trial is saved and goes on later.

    Raises:
        Stopped: a signal came; the workers have saved what they were at.
        UserError: what ended the first worker that failed.
    """
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    processes = [
        context.Process(target=_worker, args=(work, arguments, told, os.getpid()), daemon=False)
        for _ in range(workers)
    ]
    for process in processes:
        process.start()
    stopped = False
    while any(process.is_alive() for process in processes):
        try:
            look()
            for process in processes:
                process.join(POLL_SECONDS / workers)
        except KeyboardInterrupt:
            stopped = True
            for process in processes:
                if process.is_alive() and process.pid:
                    os.kill(process.pid, signal.SIGTERM)
    messages = _messages(told)
    if stopped or "stopped" in messages:
        raise Stopped("stopped; the same command goes on from here.")
    if messages:
        raise UserError(messages[0])
    if odd := [process.exitcode for process in processes if process.exitcode]:
        if odd[0] > 0:
            raise RuntimeError("a worker failed; its traceback is above")
        raise UserError(f"a worker was killed (signal {-odd[0]}); the same command goes on from here.")


def _messages(told: Any) -> list[str]:
    found = []
    while True:
        try:
            found.append(told.get(timeout=0.1))
        except queue.Empty:
            return found


def _worker(work: Callable[..., None], arguments: tuple[Any, ...], told: Any, parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        work(*arguments)
    except (Stopped, KeyboardInterrupt):
        told.put("stopped")
    except UserError as error:
        told.put(str(error))


def _end_with(parent: int) -> None:
    """End this process as by SIGTERM once its parent is gone."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
