"""The best trials again with other seeds: which of them is best not by luck alone."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.corpus import open_corpus
from flyweight.recipe import Recipe
from flyweight.windtunnel.database import database_errors, is_database_error
from flyweight.windtunnel.machines import machine_name
from flyweight.windtunnel.study import Study
from flyweight.windtunnel.trials import Outcome, run_trial
from flyweight.windtunnel.workers import (
    POLL_SECONDS,
    Job,
    Stopped,
    held,
    on_few_threads,
    run_jobs,
    work_together,
)

if TYPE_CHECKING:
    import optuna

CONFIRMATIONS_FOLDER = "confirmations"


@dataclass(frozen=True)
class Candidate:
    """One of the best trials, trained with several seeds."""

    number: int
    values: dict[str, float]
    objectives: tuple[float, ...]
    """Of each seed that did not diverge."""
    diverged: int = 0
    """Seeds that did."""

    @property
    def mean(self) -> float:
        """Over the seeds; a candidate with a seed that diverged is none."""
        return float("inf") if self.diverged else statistics.mean(self.objectives)

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds; None for one."""
        return statistics.stdev(self.objectives) if len(self.objectives) > 1 else None


def confirm(
    study: Study,
    corpus: Path,
    best: list[optuna.trial.FrozenTrial],
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Candidate]:
    """The best trials with other seeds, as candidates, best first.

    What a run came to is put on the study's record, so that machines which share a database share these runs too.
    Each takes them in an order of its own; a machine that is gone has left nothing which another would wait for.

    Args:
        study: what was searched.
        corpus: folder of the token shards.
        best: its best trials.
        workers: processes.
        progress: told how many of how many runs are done, now and then.

    Raises:
        Stopped: a signal came.
        UserError: what ended a worker.
    """
    seeds = range(1, study.tunnel.seeds if study.tunnel.confirm else 1)
    jobs = [
        Job(
            f"{trial.number:04d}-seed-{seed}",
            on_few_threads(study.recipe(values_of(trial), seed), workers),
            study.start(seed),
        )
        for trial in best
        for seed in seeds
    ]
    record = study.load()

    def left() -> list[Job]:
        known = record.user_attrs
        return [job for job in jobs if _key(job) not in known]

    def show() -> None:
        try:
            progress(len(jobs) - len(left()), len(jobs))
        except Exception as error:  # as in `search`
            if study.storage is None or not is_database_error(error):
                raise

    while waiting := left():
        work_together(_work, (study, corpus, waiting), min(workers, len(waiting)), show)
        if left():  # in the hands of another process of this machine
            time.sleep(20 * POLL_SECONDS)
    known = record.user_attrs
    candidates = []
    for trial in best:
        names = [f"{trial.number:04d}-seed-{seed}" for seed in seeds]
        again = [known[_key(job)]["objective"] for job in jobs if job.name in names]
        found = [trial.value, *again]
        kept = tuple(value for value in found if value is not None)
        candidates.append(Candidate(trial.number, values_of(trial), kept, len(found) - len(kept)))
    return sorted(candidates, key=lambda candidate: candidate.mean)


def run_seeds(
    study: Study,
    number: int,
    values: dict[str, float],
    recipe: Callable[[int], Recipe],
    folder: Path,
    corpus: Path,
    *,
    workers: int = 1,
) -> Candidate:
    """What is no trial, trained with as many seeds as a candidate: something to compare candidates with.

    Args:
        study: whose seeds, weights and start it has.
        number: the candidate's.
        values: the candidate's.
        recipe: takes a seed, from 0, and says what to train.
        folder: of the runs.
        corpus: folder of the token shards.
        workers: processes.

    Raises:
        Stopped: a signal came.
        UserError: what ended a worker, or the folder has other runs.
    """
    jobs = [
        Job(f"seed-{seed}", on_few_threads(recipe(seed), workers), study.start(seed))
        for seed in range(study.tunnel.seeds)
    ]
    outcomes = run_jobs(jobs, corpus, folder, workers=workers, goal=study.goal)
    objectives = [outcomes[job.name].objective for job in jobs]
    kept = tuple(value for value in objectives if value is not None)
    return Candidate(number, values, kept, len(objectives) - len(kept))


def best_trials(trials: list[optuna.trial.FrozenTrial], count: int) -> list[optuna.trial.FrozenTrial]:
    """The best complete trials, at least one where there is any; of equal values only the first."""
    from optuna.trial import TrialState

    complete = sorted(
        (trial for trial in trials if trial.state is TrialState.COMPLETE),
        key=lambda trial: (trial.value, trial.number),
    )
    distinct: dict[tuple[float, ...], optuna.trial.FrozenTrial] = {}
    for trial in complete:
        distinct.setdefault(tuple(values_of(trial).values()), trial)
    return list(distinct.values())[: max(1, count)]


def values_of(trial: optuna.trial.BaseTrial) -> dict[str, float]:
    """The trial's values, as they go into its recipe, in the order of their names; 0.1 + 2 x 0.1 is 0.3 here."""
    return {key: float(f"{float(trial.params[key]):.10g}") for key in sorted(trial.params)}


def _work(study: Study, corpus: Path, jobs: Sequence[Job]) -> None:
    """What a worker does: each run that nobody has finished, nor is at on this machine."""
    opened = open_corpus(corpus)
    record = study.load()
    order = list(jobs)
    if study.storage is not None:  # machines that begin at the same end would all do the same
        random.Random(f"{machine_name()}:{study.folder.resolve()}").shuffle(order)
    with database_errors(study.storage):
        for job in order:
            folder = study.folder / CONFIRMATIONS_FOLDER / job.name
            if _key(job) in record.user_attrs:
                continue
            with held(folder) as free:
                if not free:
                    continue
                outcome = run_trial(job.recipe, opened, folder, goal=study.goal, start_from=job.start_from)
                if outcome is None:
                    raise Stopped("stopped")
                _put_on_record(record, job, outcome)


def _put_on_record(record: optuna.Study, job: Job, outcome: Outcome) -> None:
    """Once: where two machines did the same run, the first one's counts for both."""
    if _key(job) not in record.user_attrs:
        record.set_user_attr(_key(job), asdict(outcome))


def _key(job: Job) -> str:
    return f"confirmation {job.name}"
