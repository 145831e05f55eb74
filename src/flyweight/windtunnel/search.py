"""The search: Bayesian optimisation of a recipe's numbers on a proxy, one ordinary run a trial."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight.corpus import OpenCorpus, open_corpus
from flyweight.windtunnel.study import Study, require_optuna
from flyweight.windtunnel.trials import Outcome, check_weights, run_trial
from flyweight.windtunnel.workers import Job, Stopped, held, on_few_threads, run_jobs, work_together

if TYPE_CHECKING:
    import optuna

DIVERGED = "diverged"
"""The attribute of a trial in the record that says why it is no candidate."""


@dataclass(frozen=True)
class Budget:
    """When no further trial begins; those under way end."""

    tokens: int | None = None
    """Over all trials of the study."""
    until: float | None = None
    """Seconds since the epoch."""

    def is_spent(self, trials: list[optuna.trial.FrozenTrial]) -> bool:
        """Whether `trials` have used it up."""
        spent = sum(trial.user_attrs.get("tokens", 0) for trial in trials)
        return (self.tokens is not None and spent >= self.tokens) or (
            self.until is not None and time.time() >= self.until
        )


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


def search(
    study: Study,
    corpus: Path,
    *,
    workers: int = 1,
    budget: Budget | None = None,
    look: Callable[[list[optuna.trial.FrozenTrial]], None] = lambda trials: None,
) -> list[Candidate]:
    """Run the trials that are left, then the best ones again with other seeds.

    Any number of such calls share a study: on one machine through its folder, on several through a database. One
    that was killed leaves trials which the next call on its machine goes on with.

    Args:
        study: what is searched.
        corpus: folder of the token shards.
        workers: processes.
        budget: when to stop early.
        look: shown all trials, now and then.

    Returns:
        The candidates, best first; empty where every trial diverged.

    Raises:
        Stopped: a signal came.
        UserError: what ended a worker.
    """
    budget = budget or Budget()
    check_weights(study.tunnel.weights, open_corpus(corpus))
    record = study.load()

    def trials() -> list[optuna.trial.FrozenTrial]:
        return record.get_trials(deepcopy=False)

    if not _is_over(study, trials(), budget):
        work_together(_work, (study, corpus, workers, budget), workers, lambda: look(trials()))
    look(trials())
    return confirm(study, corpus, best_trials(trials(), study.tunnel.confirm), workers=workers)


def confirm(
    study: Study, corpus: Path, best: list[optuna.trial.FrozenTrial], *, workers: int = 1
) -> list[Candidate]:
    """The best trials with other seeds, as candidates, best first."""
    seeds = range(1, study.tunnel.seeds)
    jobs = [
        Job(f"{trial.number:04d}-seed-{seed}", on_few_threads(study.recipe(_values(trial), seed), workers))
        for trial in best
        for seed in seeds
    ]
    outcomes = run_jobs(
        jobs, corpus, study.folder / "confirmations", workers=workers, weights=study.tunnel.weights
    )
    candidates = []
    for trial in best:
        again = [outcomes[f"{trial.number:04d}-seed-{seed}"].objective for seed in seeds]
        found = [trial.value, *again]
        kept = tuple(value for value in found if value is not None)
        candidates.append(Candidate(trial.number, _values(trial), kept, len(found) - len(kept)))
    return sorted(candidates, key=lambda candidate: candidate.mean)


def best_trials(trials: list[optuna.trial.FrozenTrial], count: int) -> list[optuna.trial.FrozenTrial]:
    """The best complete trials, at least one where there is any; of equal values only the first."""
    from optuna.trial import TrialState

    complete = sorted(
        (trial for trial in trials if trial.state is TrialState.COMPLETE),
        key=lambda trial: (trial.value, trial.number),
    )
    distinct: dict[tuple[float, ...], optuna.trial.FrozenTrial] = {}
    for trial in complete:
        distinct.setdefault(tuple(_values(trial).values()), trial)
    return list(distinct.values())[: max(1, count)]


def _values(trial: optuna.trial.BaseTrial) -> dict[str, float]:
    """The trial's values, as they go into its recipe, in the order of their names; 0.1 + 2 x 0.1 is 0.3 here."""
    return {key: float(f"{float(trial.params[key]):.10g}") for key in sorted(trial.params)}


def _is_over(study: Study, trials: list[optuna.trial.FrozenTrial], budget: Budget) -> bool:
    unfinished = any(not trial.state.is_finished() for trial in trials)
    return not unfinished and (len(trials) >= study.tunnel.trials or budget.is_spent(trials))


def _work(study: Study, corpus: Path, workers: int, budget: Budget) -> None:
    """What a worker does: trials that were left behind, then new ones, until there are enough."""
    optuna = require_optuna()
    opened = open_corpus(corpus)
    passed: set[int] = set()
    while True:
        with contextlib.ExitStack() as stack:
            with study.choosing():
                record = study.load()
                trial = _left_behind(study, record, passed) or _new(study, record, budget, optuna)
                if trial is None:
                    return
                passed.add(trial.number)
                free = stack.enter_context(held(study.trial_folder(trial.number)))
            if free:
                _run(study, record, trial, opened, workers, optuna)


def _left_behind(study: Study, record: optuna.Study, passed: set[int]) -> optuna.trial.Trial | None:
    """A trial of this machine that is under way on record and held by no process."""
    from optuna.trial import Trial, TrialState

    for trial in record.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = study.trial_folder(trial.number)
        if trial.number in passed or not folder.with_name(f"{folder.name}.lock").exists():
            continue
        with held(folder) as free:
            if free:
                return Trial(record, trial._trial_id)
    return None


def _new(study: Study, record: optuna.Study, budget: Budget, optuna: Any) -> optuna.trial.Trial | None:
    """The next trial, with values by the sampler; None when there are enough."""
    trials = record.get_trials(deepcopy=False)
    if len(trials) >= study.tunnel.trials or budget.is_spent(trials):
        return None
    trial = study.load(len(trials)).ask(study.distributions())
    if trial.number >= study.tunnel.trials:  # another machine was faster
        record.tell(trial, state=optuna.trial.TrialState.FAIL)
        return None
    return trial


def _run(
    study: Study,
    record: optuna.Study,
    trial: optuna.trial.Trial,
    corpus: OpenCorpus,
    workers: int,
    optuna: Any,
) -> None:
    recipe = on_few_threads(study.recipe(_values(trial)), workers)
    folder = study.trial_folder(trial.number)

    def judge(clock: int, value: float) -> bool:
        trial.report(value, clock)
        return trial.should_prune()

    outcome = run_trial(
        recipe, corpus, folder, weights=study.tunnel.weights, rungs=study.tunnel.rungs, judge=judge
    )
    if outcome is None:
        raise Stopped("stopped")
    _tell(record, trial, outcome, optuna)


def _tell(record: optuna.Study, trial: optuna.trial.Trial, outcome: Outcome, optuna: Any) -> None:
    """Put on record what a trial came to. One that diverged counts as pruned: it can never be the best."""
    trial.set_user_attr("tokens", outcome.clock)
    trial.set_user_attr("seconds", outcome.seconds)
    trial.set_user_attr("bits_per_byte", outcome.bits_per_byte)
    if outcome.state == "complete":
        record.tell(trial, outcome.objective)
        return
    if outcome.state == "diverged":
        trial.set_user_attr(DIVERGED, outcome.reason)
    record.tell(trial, state=optuna.trial.TrialState.PRUNED)
