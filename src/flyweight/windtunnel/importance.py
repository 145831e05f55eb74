"""How much each knob of a study matters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flyweight.base import derive_seed
from flyweight.windtunnel.study import require_optuna

if TYPE_CHECKING:
    import optuna

RESAMPLES = 50


@dataclass(frozen=True)
class Importance:
    """The share of what knobs decide that one of them decides."""

    share: float
    low: float
    """The 10th percentile over resampled trials."""
    high: float
    """The 90th."""


def knob_importances(study: optuna.Study, resamples: int = RESAMPLES) -> dict[str, Importance]:
    """Importance of each knob by PED-ANOVA, the largest first.

    It compares where the best quarter of all trials lies with where all lie, knob by knob (arXiv 2304.10255). What
    other trials would have said is asked by drawing trials with replacement.

    Args:
        study: at least four complete trials of it count; with fewer nothing is returned.
        resamples: how often trials are drawn.
    """
    optuna = require_optuna()
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(complete) < 4:
        return {}
    whole = _shares(optuna, complete)
    random = np.random.default_rng(derive_seed(0, "tunnel", "importance"))
    drawn = [
        _shares(optuna, [complete[i] for i in random.integers(0, len(complete), len(complete))])
        for _ in range(resamples)
    ]
    return {
        key: Importance(
            share,
            float(np.percentile([shares.get(key, 0.0) for shares in drawn], 10)),
            float(np.percentile([shares.get(key, 0.0) for shares in drawn], 90)),
        )
        for key, share in sorted(whole.items(), key=lambda item: -item[1])
    }


def _shares(optuna: object, trials: list[optuna.trial.FrozenTrial]) -> dict[str, float]:
    from optuna import create_study, create_trial
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    copy = create_study(direction="minimize")
    copy.add_trials(
        [
            create_trial(params=trial.params, distributions=trial.distributions, value=trial.value)
            for trial in trials
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
        return get_param_importances(copy, evaluator=evaluator)
