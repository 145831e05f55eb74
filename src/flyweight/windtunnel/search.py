"""The search: Bayesian optimisation of a recipe's numbers on a proxy, one ordinary run a trial."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight.corpus import OpenCorpus, open_corpus
from flyweight.windtunnel.confirmation import Candidate, best_trials, confirm, values_of
from flyweight.windtunnel.database import database_errors, is_database_error
from flyweight.windtunnel.machines import LOST_SECONDS, Watch, beating, give_up
from flyweight.windtunnel.study import Study, require_optuna
from flyweight.windtunnel.trials import Outcome, check_weights, run_trial
from flyweight.windtunnel.workers import POLL_SECONDS, Stopped, held, on_few_threads, work_together

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


def search(
    study: Study,
    corpus: Path,
    *,
    workers: int = 1,
    budget: Budget | None = None,
    look: Callable[[list[optuna.trial.FrozenTrial]], None] = lambda trials: None,
    confirmed: Callable[[int, int], None] = lambda done, total: None,
) -> list[Candidate]:
    """Run the trials that are left, then the best ones again with other seeds.

    Any number of such calls share a study: on one machine through its folder, on several through a database. One
    that was killed leaves trials which the next call on its machine goes on with. If none comes until nothing else is
    left to do, another machine gives them up and begins trials with the same values (`machines`).

    Args:
        study: what is searched.
        corpus: folder of the token shards.
        workers: processes.
        budget: when to stop early.
        look: shown all trials but lost ones, now and then.
        confirmed: told how many of how many runs with other seeds are done, now and then.

    Returns:
        The candidates, best first; empty where every trial diverged.

    Raises:
        Stopped: a signal came.
        UserError: what ended a worker.
    """
    budget = budget or Budget()
    check_weights(study.tunnel.weights, open_corpus(corpus))
    record = study.load()

    def show() -> None:
        try:
            look(_counted(record))
        except Exception as error:
            # A database that is gone for a moment only: the workers find out if it stays away.
            if study.storage is None or not is_database_error(error):
                raise

    with database_errors(study.storage):
        while not _is_over(study, _counted(record), budget):
            work_together(_work, (study, corpus, workers, budget), workers, show)
            if not _is_over(study, _counted(record), budget):  # the rest is in other hands
                time.sleep(20 * POLL_SECONDS)
        look(_counted(record))
        best = best_trials(_counted(record), study.tunnel.confirm)
        return confirm(study, corpus, best, workers=workers, progress=confirmed)


def _counted(record: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """All trials but those that were given up."""
    from optuna.trial import TrialState

    return [trial for trial in record.get_trials(deepcopy=False) if trial.state is not TrialState.FAIL]


def _is_over(study: Study, trials: list[optuna.trial.FrozenTrial], budget: Budget) -> bool:
    unfinished = any(not trial.state.is_finished() for trial in trials)
    return not unfinished and (len(trials) >= study.tunnel.trials or budget.is_spent(trials))


def _work(study: Study, corpus: Path, workers: int, budget: Budget) -> None:
    """What a worker does: trials that were left behind, then new ones, until there are enough."""
    optuna = require_optuna()
    opened = open_corpus(corpus)
    passed: set[int] = set()
    watch = Watch()
    with database_errors(study.storage):
        while True:
            with contextlib.ExitStack() as stack:
                with study.choosing():
                    record = study.load()
                    trial = _left_behind(study, record, passed) or _new(study, record, budget, optuna)
                    free = False
                    if trial is not None:
                        passed.add(trial.number)
                        free = stack.enter_context(held(study.trial_folder(trial.number)))
                if trial is not None and free:
                    _run(study, record, trial, opened, workers, optuna)
            if trial is None and not _await_others(study, record, watch):
                return


def _left_behind(study: Study, record: optuna.Study, passed: set[int]) -> optuna.trial.Trial | None:
    """A trial of this machine that is under way on record and held by no process."""
    from optuna.trial import Trial, TrialState

    for trial in record.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        folder = study.trial_folder(trial.number)
        if trial.number in passed or _is_elsewhere(study, trial):
            continue
        with held(folder) as free:
            if not free:
                continue
            if trial.params.keys() == study.tunnel.space.keys():
                return Trial(record, trial._trial_id)
            give_up(record, trial, "killed before it had all its values", again=False)
    return None


def _is_elsewhere(study: Study, trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial that is under way was begun in another folder; without a database there is none."""
    folder = study.trial_folder(trial.number)
    return study.storage is not None and not folder.with_name(f"{folder.name}.lock").exists()


def _new(study: Study, record: optuna.Study, budget: Budget, optuna: Any) -> optuna.trial.Trial | None:
    """The next trial, with values of a lost one or by the sampler; None when there are enough."""
    trials = _counted(record)
    queued = any(trial.state is optuna.trial.TrialState.WAITING for trial in trials)
    if not queued and (len(trials) >= study.tunnel.trials or budget.is_spent(trials)):
        return None
    trial = study.load(len(trials)).ask(study.distributions())
    if sum(other.number < trial.number for other in _counted(record)) >= study.tunnel.trials:
        give_up(record, trial, "another machine began the last one first", again=False)
        return None
    return trial


def _await_others(study: Study, record: optuna.Study, watch: Watch) -> bool:
    """Wait a moment for trials of other machines, of which lost ones are queued again; False if there are none."""
    from optuna.trial import TrialState

    under_way = record.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    others = [trial for trial in under_way if _is_elsewhere(study, trial)]
    for trial in watch.silent(others):
        complete = trial.params.keys() == study.tunnel.space.keys()
        give_up(record, trial, f"nothing was heard of it for {LOST_SECONDS:g} s", again=complete)
    if others:
        time.sleep(POLL_SECONDS)
    return bool(others)


def _run(
    study: Study,
    record: optuna.Study,
    trial: optuna.trial.Trial,
    corpus: OpenCorpus,
    workers: int,
    optuna: Any,
) -> None:
    recipe = on_few_threads(study.recipe(values_of(trial)), workers)
    folder = study.trial_folder(trial.number)
    alive = beating(trial) if study.storage is not None else contextlib.nullcontext()

    def judge(clock: int, value: float) -> bool:
        trial.report(value, clock)
        return trial.should_prune()

    # A trial that another machine gave up in the meantime is its now: what came of it here does not count.
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError), alive:
        outcome = run_trial(
            recipe,
            corpus,
            folder,
            goal=study.goal,
            rungs=study.tunnel.rungs,
            judge=judge,
            start_from=study.start(),
        )
        if outcome is None:
            raise Stopped("stopped")
        _tell(study, record, trial, outcome, optuna)


def _tell(
    study: Study, record: optuna.Study, trial: optuna.trial.Trial, outcome: Outcome, optuna: Any
) -> None:
    """Put on record what a trial came to. One that diverged counts as pruned: it can never be the best."""
    trial.set_user_attr("tokens", outcome.clock - study.begin)
    trial.set_user_attr("seconds", outcome.seconds)
    trial.set_user_attr("bits_per_byte", outcome.bits_per_byte)
    trial.set_user_attr("errors", outcome.errors)
    if outcome.state == "complete":
        record.tell(trial, outcome.objective, skip_if_finished=True)
        return
    if outcome.state == "diverged":
        trial.set_user_attr(DIVERGED, outcome.reason)
    record.tell(trial, state=optuna.trial.TrialState.PRUNED, skip_if_finished=True)
