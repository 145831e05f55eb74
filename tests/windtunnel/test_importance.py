"""The knob that decides is found, the one that does not is not."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("optuna")

import optuna

from flyweight.plots import to_png
from flyweight.windtunnel.figures import search_figure
from flyweight.windtunnel.importance import knob_importances
from flyweight.windtunnel.search import DIVERGED, best_trials


def record(trials: int = 60) -> optuna.Study:
    rng = random.Random(0)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    space = {
        "training.learning_rate": optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True),
        "parametrization.scale_emb": optuna.distributions.FloatDistribution(2, 20),
    }
    for _ in range(trials):
        values = {
            "training.learning_rate": 10 ** rng.uniform(-3, -1),
            "parametrization.scale_emb": rng.uniform(2, 20),
        }
        loss = 2 + abs(values["training.learning_rate"] - 0.02) + 1e-4 * rng.random()
        study.add_trial(optuna.create_trial(params=values, distributions=space, value=loss))
    return study


def test_the_knob_that_decides_is_found_with_its_uncertainty():
    found = knob_importances(record())
    assert list(found) == ["training.learning_rate", "parametrization.scale_emb"]
    first, second = found.values()
    assert first.low > second.high
    assert first.low <= first.high <= 1
    assert found == knob_importances(record())
    assert knob_importances(record(3)) == {}


def test_trials_without_a_result_are_drawn_and_never_the_best():
    study = record(8)
    good = study.get_trials()[0]
    study.add_trial(
        optuna.create_trial(
            params=good.params, distributions=good.distributions, state=optuna.trial.TrialState.PRUNED,
            intermediate_values={10: 0.1}, user_attrs={DIVERGED: "not finite"},
        )
    )  # fmt: skip
    trials = study.get_trials()
    assert [trial.number for trial in best_trials(trials, 100)] == sorted(
        range(8), key=lambda number: trials[number].value
    )
    figure = search_figure(trials, "study")
    assert figure is not None
    assert to_png(figure).startswith(b"\x89PNG")
    points = len(figure.axes[0].collections[0].get_offsets())
    for params, distributions in (
        (good.params, good.distributions),
        ({}, {}),
    ):  # lost, the second before it had values
        study.add_trial(
            optuna.create_trial(
                params=params, distributions=distributions, state=optuna.trial.TrialState.FAIL
            )
        )
    again = search_figure(study.get_trials(), "study")
    assert again is not None
    assert len(again.axes[0].collections[0].get_offsets()) == points
