"""The samplers of a search, as Optuna has them, and what a Gaussian process is told beyond that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from flyweight.recipe import Tunnel

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler


def make_sampler(tunnel: Tunnel, seed: int) -> BaseSampler:
    """The sampler that `tunnel` asks for, with its own randomness."""
    import optuna

    startup = tunnel.startup_trials
    match tunnel.sampler:
        case "tpe":
            return optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True
            )
        case "gp":
            return _gaussian_process(seed, startup)
        case "random":
            return optuna.samplers.RandomSampler(seed=seed)


def _gaussian_process(seed: int, startup: int) -> BaseSampler:
    """Optuna's Gaussian process, which learns from all trials.

    By itself it reads complete trials only: it would not know where training diverges and go there again and again,
    and would fit less than half of a search that is pruned.
    """
    from optuna.samplers import BaseSampler, GPSampler, RandomSampler

    class _Sampler(BaseSampler):
        def __init__(self) -> None:
            self._process = GPSampler(seed=seed, n_startup_trials=startup)
            self._random = RandomSampler(seed=seed)

        def infer_relative_search_space(
            self, study: optuna.Study, trial: optuna.trial.FrozenTrial
        ) -> dict[str, BaseDistribution]:
            return self._process.infer_relative_search_space(_as_complete(study), trial)

        def sample_relative(
            self,
            study: optuna.Study,
            trial: optuna.trial.FrozenTrial,
            search_space: dict[str, BaseDistribution],
        ) -> dict[str, Any]:
            copy = _as_complete(study)
            return self._process.sample_relative(copy, copy.trials[trial.number], search_space)

        def sample_independent(
            self,
            study: optuna.Study,
            trial: optuna.trial.FrozenTrial,
            param_name: str,
            param_distribution: BaseDistribution,
        ) -> Any:
            return self._random.sample_independent(study, trial, param_name, param_distribution)

    return _Sampler()


def _as_complete(study: optuna.Study) -> optuna.Study:
    """A copy in memory in which each trial that ended has a value.

    A pruned one has what it had come to, which is more than it would have had at its end; one that diverged has the
    largest value of all.
    """
    import optuna
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    reached = {trial.number: _reached(trial) for trial in trials if trial.state.is_finished()}
    known = [value for value in reached.values() if value is not None]
    copy = optuna.create_study(direction=study.direction)
    for trial in trials:
        state, value = trial.state, None
        if state in (TrialState.COMPLETE, TrialState.PRUNED) and known:
            state, value = TrialState.COMPLETE, reached[trial.number]
            value = max(known) if value is None else value
        elif state is TrialState.PRUNED:  # all diverged so far
            state = TrialState.FAIL
        copy.add_trial(
            optuna.trial.create_trial(
                state=state, value=value, params=trial.params, distributions=trial.distributions
            )
        )
    return copy


def _reached(trial: optuna.trial.FrozenTrial) -> float | None:
    """Bits per byte at its end or where it was pruned; None where it diverged."""
    from flyweight.windtunnel.search import DIVERGED

    if DIVERGED in trial.user_attrs or trial.value is None or not math.isfinite(trial.value):
        return None
    return trial.value
