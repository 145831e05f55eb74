"""A study finds what is better, goes on where it was killed, and takes no other study's trials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

pytest.importorskip("optuna")

from windtunnel_setup import tunnel_recipe

from flyweight.base import UserError
from flyweight.corpus import open_corpus
from flyweight.windtunnel.search import DIVERGED, Budget, search
from flyweight.windtunnel.study import Study, open_study


def study(texts: Path, shards: Path, folder: Path, **tunnel) -> Study:
    return open_study(tunnel_recipe(texts, **tunnel), open_corpus(shards), folder)


@pytest.mark.slow
def test_a_search_by_two_workers_and_again(texts: Path, shards: Path, tmp_path: Path):
    one = study(texts, shards, tmp_path / "study")
    seen: list[int] = []
    found = search(one, shards, workers=2, look=lambda trials: seen.append(len(trials)))
    trials = one.load().get_trials()
    assert len(trials) == 6
    assert all(trial.state.is_finished() for trial in trials)
    assert seen[-1] == 6
    best = min(trial.value for trial in trials if trial.value is not None)
    assert best in found[0].objectives + found[1].objectives
    assert len(found) == 2
    assert found[0].mean <= found[1].mean
    assert found[0].spread is not None
    before = sorted(path for path in (tmp_path / "study").rglob("events.jsonl"))
    times = [path.stat().st_mtime_ns for path in before]
    again = search(study(texts, shards, tmp_path / "study"), shards, workers=2)
    assert again == found  # read, not run
    assert [path.stat().st_mtime_ns for path in before] == times


@pytest.mark.slow
def test_a_trial_that_diverges_is_told_and_never_the_best(texts: Path, shards: Path, tmp_path: Path):
    one = study(
        texts, shards, tmp_path / "study", space={"training.learning_rate": {"choices": [1e-2, 1e4]}}, trials=5,
        startup_trials=5, confirm=1, prune="none",
    )  # fmt: skip
    (candidate,) = search(one, shards)
    trials = one.load().get_trials()
    wild = [trial for trial in trials if trial.params["training.learning_rate"] == 1e4]
    assert wild
    assert all(DIVERGED in trial.user_attrs for trial in wild)
    assert candidate.values == {"training.learning_rate": 1e-2}
    assert candidate.diverged == 0


@pytest.mark.slow
def test_the_budget_ends_a_search(texts: Path, shards: Path, tmp_path: Path):
    one = study(texts, shards, tmp_path / "study", confirm=1, seeds=1, prune="none")
    search(one, shards, budget=Budget(tokens=2 * 24 * 4 * 32))
    assert len(one.load().get_trials()) == 2


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(texts: Path, shards: Path, tmp_path: Path):
    """Everything is killed in the middle of a trial; that trial is finished, and there are as many as asked for."""
    recipe, folder = tmp_path / "recipe.yaml", tmp_path / "study"
    values = tunnel_recipe(texts, trials=4, confirm=0, prune="none").to_dict()
    with recipe.open("w") as file:
        YAML(typ="safe", pure=True).dump(values, file)
    words = [
        "tunnel",
        "search",
        str(recipe),
        "--study",
        str(folder),
        "--corpus",
        str(shards),
        "--workers",
        "1",
    ]
    command = [sys.executable, "-m", "flyweight", *words]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    second = folder / "trials" / "0001" / "events.jsonl"
    while not second.exists() or '"step"' not in second.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = second.read_text().count("run_started")
    subprocess.run(command, check=True, capture_output=True)
    trials = study(texts, shards, folder, trials=4, confirm=0, prune="none").load().get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4
    assert second.read_text().count("run_started") > before
    assert '"kind": "step"' in second.read_text()


def test_another_study_is_refused_with_the_difference(texts: Path, shards: Path, tmp_path: Path):
    folder = tmp_path / "study"
    study(texts, shards, folder)
    with pytest.raises(UserError, match=r"recipe\.model\.hidden_size: 32 -> 64"):
        study(texts, shards, folder, proxy={"hidden_size": 64, "tokens": 24 * 4 * 32, "batch_size": 4})
    with pytest.raises(UserError, match=r"search\.sampler: tpe -> random"):
        study(texts, shards, folder, sampler="random")


def test_values_that_the_model_cannot_take_are_refused_beforehand(texts: Path, shards: Path, tmp_path: Path):
    for space, message in (
        ({"parametrization.scale_emb": {"low": -1, "high": 2}}, r"scale_emb cannot be -1"),
        ({"parametrization.scale": {"low": 1, "high": 2}}, "no such key"),
        ({"model.qk_norm": {"low": 0, "high": 1}}, "nothing that a knob can turn"),
    ):
        with pytest.raises(UserError, match=message):
            study(texts, shards, tmp_path / "study", space=space)
    with pytest.raises(UserError, match="a width of 24 leaves"):
        study(texts, shards, tmp_path / "study", proxy={"hidden_size": 24, "tokens": 24 * 4 * 32})
