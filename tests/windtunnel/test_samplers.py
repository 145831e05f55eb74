"""Samplers beat chance, repeat themselves, and keep away from where training diverges."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna")

import optuna
from windtunnel_setup import tunnel_recipe

from flyweight.corpus import open_corpus
from flyweight.windtunnel.proxy import proxy_recipe
from flyweight.windtunnel.samplers import _as_complete
from flyweight.windtunnel.search import DIVERGED, search
from flyweight.windtunnel.study import Study, open_study

RATE, SCALE = "training.learning_rate", "parametrization.scale_emb"


def bowl(values: dict[str, float]) -> float:
    """Lowest, 1, at a rate of 0.016 and a scale of 6."""
    return 1 + 1.5 * (math.log10(values[RATE]) + 1.8) ** 2 + 0.02 * (values[SCALE] - 6) ** 2


def cliff(values: dict[str, float]) -> float | None:
    """Falls up to a rate of 0.02; above, training diverges."""
    return 1 - math.log10(values[RATE]) if values[RATE] < 0.02 else None


def study(folder: Path, sampler: str, seed: int = 0, startup: int = 8) -> Study:
    recipe = tunnel_recipe(folder, sampler=sampler, startup_trials=startup)
    recipe = recipe.model_copy(update={"seed": seed})
    return Study(folder, proxy_recipe(recipe, recipe.tunnel.proxy), recipe.tunnel, None)


def drive(
    one: Study, count: int, objective: Callable[[dict[str, float]], float | None]
) -> list[optuna.trial.FrozenTrial]:
    """All trials after `count` of them, told as a search tells them."""
    for number in range(count):
        record = one.load(number)
        trial = record.ask(one.distributions())
        value = objective(trial.params)
        if value is None:
            trial.set_user_attr(DIVERGED, "not finite")
            record.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            record.tell(trial, value)
    return one.load().get_trials()


@pytest.mark.slow
def test_tpe_and_gp_beat_chance(tmp_path: Path):
    def best(sampler: str) -> float:
        found = []
        for seed in range(3):
            folder = tmp_path / f"{sampler}-{seed}"
            folder.mkdir()
            trials = drive(study(folder, sampler, seed), 30, bowl)
            found.append(min(trial.value for trial in trials if trial.value is not None) - 1)
        return statistics.mean(found)

    chance = best("random")
    assert best("tpe") < chance / 2
    assert best("gp") < chance / 10


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random"])
def test_one_worker_repeats_its_trials(tmp_path: Path, sampler: str):
    again = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        trials = drive(study(tmp_path / name, sampler, startup=4), 7, bowl)
        again.append([trial.params for trial in trials])
    assert again[0] == again[1]


def test_trials_side_by_side_are_not_the_same(tmp_path: Path):
    one = study(tmp_path, "gp", startup=4)
    drive(one, 5, bowl)
    first = one.load(5).ask(one.distributions())
    second = one.load(6).ask(one.distributions())
    assert first.params != second.params


def test_a_gaussian_process_keeps_away_from_where_training_diverges(tmp_path: Path):
    trials = drive(study(tmp_path, "gp"), 18, cliff)
    learned = trials[8:]
    diverged = [trial for trial in learned if DIVERGED in trial.user_attrs]
    assert len(diverged) <= 2  # of 10; by complete trials alone it is half of them
    best = min(
        trial.value for trial in trials if trial.value is not None and DIVERGED not in trial.user_attrs
    )
    assert best < 1 - math.log10(0.015)  # and comes near the edge nevertheless


def test_what_a_gaussian_process_is_told(tmp_path: Path):
    one = study(tmp_path, "random")
    record = one.load()
    complete, pruned, wild, lost = (record.ask(one.distributions()) for _ in range(4))
    record.tell(complete, 2.0)
    pruned.report(3.0, 1)
    record.tell(pruned, state=optuna.trial.TrialState.PRUNED)
    wild.report(1.0, 1)  # sound at first
    wild.set_user_attr(DIVERGED, "not finite")
    record.tell(wild, state=optuna.trial.TrialState.PRUNED)
    record.tell(lost, state=optuna.trial.TrialState.FAIL)
    running = record.ask(one.distributions())
    told = _as_complete(record).trials
    assert [trial.value for trial in told] == [2.0, 3.0, 3.0, None, None]
    assert [trial.state.name for trial in told] == ["COMPLETE"] * 3 + ["FAIL", "RUNNING"]
    assert told[4].params == running.params


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_by_a_gaussian_process_ends_and_repeats(texts: Path, shards: Path, tmp_path: Path):
    found = []
    for name in ("one", "two"):
        recipe = tunnel_recipe(texts, sampler="gp", startup_trials=3, trials=6, confirm=1, prune="none")
        one = open_study(recipe, open_corpus(shards), tmp_path / name)
        candidates = search(one, shards)
        trials = one.load().get_trials()
        assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
        found.append(([(trial.params, trial.value) for trial in trials], candidates))
    assert found[0] == found[1]
