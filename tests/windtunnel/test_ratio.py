"""Branches of the decay differ in the shares that are searched and in nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner
from windtunnel_setup import tunnel_recipe

pytest.importorskip("optuna")

from ruamel.yaml import YAML

from flyweight.base import UserError
from flyweight.cli import app
from flyweight.corpus import open_corpus, prepare
from flyweight.events import read_events
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training import train
from flyweight.windtunnel.ratio import (
    open_ratio_study,
    own_shares,
    response,
    shares_of,
    train_stable,
    with_shares,
)
from flyweight.windtunnel.search import search
from flyweight.windtunnel.trials import Goal, read_outcome

START = round(0.7 * 64 * 4 * 32)
RATIO = {"sources": ["sums", "talk"], "low": 0.1, "high": 0.8, "trials": 7}


def ratio_recipe(texts: Path, mixture: list | None = None, **ratio) -> Recipe:
    data = tunnel_recipe(texts, startup_trials=7, confirm=1, ratio={**RATIO, **ratio}).to_dict()
    for number, name in enumerate(("code", "sums", "talk")):
        data["sources"][name] = {"kind": "files", "path": str(texts / f"{name}.jsonl")}
        with (texts / f"{name}.jsonl").open("w") as file:
            for line in range(120):
                words = [f"{name}{(line * 7 + place * (number + 2)) % 23}" for place in range(30)]
                file.write(json.dumps({"text": " ".join(words)}) + "\n")
    data["training"]["mixture"] = mixture or [
        {"at": 0, "weights": {"text": 0.6, "code": 0.4, "sums": 0, "talk": 0}},
        {"at": START, "weights": {"text": 0.3, "code": 0.1, "sums": 0.2, "talk": 0.4}},
    ]
    return recipe_from_dict(data, "test")


@pytest.fixture(scope="module")
def mixed(texts: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "corpus"
    prepare(ratio_recipe(texts), folder)
    return folder


def weights_at(recipe: Recipe, clock: int) -> dict[str, float]:
    return {name: line.at(clock) for name, line in recipe.training.mixture_timelines().items()}


def test_shares_change_in_the_decay_alone_and_the_rest_keeps_its_proportions(texts: Path):
    recipe = ratio_recipe(texts)
    assert own_shares(recipe, ("sums", "talk")) == {"sums": 0.2, "talk": 0.4}
    other = with_shares(recipe, {"sums": 0.5, "talk": 0.1})
    assert weights_at(other, START - 1) == weights_at(recipe, START - 1)
    for clock in (START, recipe.training.tokens):
        assert weights_at(other, clock) == pytest.approx({"text": 0.3, "code": 0.1, "sums": 0.5, "talk": 0.1})
    everything = with_shares(recipe, {"sums": 0.7, "talk": 0.1 + 0.2})  # a bit more than 1 in floating point
    assert weights_at(everything, START)["text"] == 0
    same = with_shares(recipe, own_shares(recipe, ("sums", "talk")))
    assert weights_at(same, START) == pytest.approx(weights_at(recipe, START))
    alone = [
        {"at": 0, "weights": {"text": 0.6, "code": 0.4, "sums": 0, "talk": 0}},
        {"at": START, "weights": {"text": 0, "code": 0, "sums": 0.5, "talk": 0.5}},
    ]  # nothing of the rest is left in the decay: its proportions are those before
    there = weights_at(with_shares(ratio_recipe(texts, alone), {"sums": 0.25, "talk": 0.25}), START)
    assert there == pytest.approx({"text": 0.3, "code": 0.2, "sums": 0.25, "talk": 0.25})


def test_the_split_is_drawn_evenly():
    random = np.random.default_rng(0)
    drawn = [
        shares_of({"share": 0.5, **{f"part.{name}": random.uniform(1e-3, 1 - 1e-3) for name in "abc"}}, "abc")
        for _ in range(4000)
    ]
    parts = np.array([[one[name] for name in "abc"] for one in drawn])
    assert parts.sum(axis=1) == pytest.approx(0.5)
    assert parts.mean(axis=0) == pytest.approx(np.full(3, 0.5 / 3), abs=0.01)
    assert (parts[:, 0] < 0.05).mean() == pytest.approx(
        1 - 0.9**2, abs=0.03
    )  # P(part < 1/10 of a simplex of three)
    assert shares_of({"share": 0.3}, ["only"]) == {"only": 0.3}


def test_what_cannot_be_searched_is_refused(texts: Path, mixed: Path, tmp_path: Path):
    corpus = open_corpus(mixed)
    with pytest.raises(UserError, match=r"no `tunnel\.ratio`"):
        open_ratio_study(tunnel_recipe(texts), corpus, tmp_path)
    with pytest.raises(UserError, match="names 'sum'; the sources are"):
        open_ratio_study(ratio_recipe(texts, sources=["sum"]), corpus, tmp_path)
    with pytest.raises(UserError, match="names all sources"):
        open_ratio_study(ratio_recipe(texts, sources=["sums", "talk", "text", "code"]), corpus, tmp_path)
    moving = [
        {"at": 0, "weights": {"text": 0.6, "code": 0.4, "sums": 0, "talk": 0}},
        {
            "at": START + 500,
            "weights": {"text": 0.3, "code": 0.1, "sums": 0.2, "talk": 0.4},
            "shape": "linear",
        },
    ]
    for arrives in (START + 500, START):
        moving[1]["at"] = arrives
        with pytest.raises(UserError, match="the mixture is moving when the decay begins"):
            with_shares(ratio_recipe(texts, moving), {"sums": 0.2, "talk": 0.2})
    for wrong in ({"low": 0.9, "high": 0.8}, {"sources": ["sums", "sums"]}, {"weights": {"sums": -1}}):
        with pytest.raises(UserError, match=r"tunnel\.ratio"):
            ratio_recipe(texts, **wrong)


@pytest.mark.slow
def test_a_search_from_one_stable_run(texts: Path, mixed: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Path("wing.yaml").open("w") as out:
        YAML(typ="safe", pure=True).dump(ratio_recipe(texts).to_dict(), out)
    words = ["tunnel", "ratio", "wing.yaml", "--corpus", str(mixed), "--workers", "1"]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    folder = Path("studies/wing-ratio")
    result = json.loads((folder / "result.json").read_text())
    assert result["own"]["shares"] == {"sums": 0.2, "talk": 0.4}
    assert len(result["response"]["branches"]) == 7
    assert (folder / "response.png").stat().st_size > 10_000
    (best,) = result["candidates"]
    stable = [read_events(folder / name) for name in ("stable", "stable-seed-1")]
    first, other = (next(event["loss"] for event in events if event["kind"] == "step") for events in stable)
    assert first != other  # another order and another initialisation
    branch = next(iter(read_events(folder / "confirmations" / f"{best['number']:04d}-seed-1")))
    assert branch["resumed_from"] is not None
    assert 0.1 <= sum(best["shares"].values()) <= 0.8
    trial = load_recipe(str(folder / "trials" / f"{best['number']:04d}" / "recipe.yaml"))
    assert weights_at(trial, trial.training.tokens)["sums"] == pytest.approx(best["shares"]["sums"])
    assert "by the fit over 7 branches" in " ".join(run.output.split())
    again = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(again.stdout) == result  # read, not run

    flown = CliRunner().invoke(app, ["tunnel", "fly", "wing.yaml", str(folder), "flown.yaml"])
    assert flown.exit_code == 0, flown.output
    target = load_recipe("flown.yaml")
    assert weights_at(target, START)["talk"] == pytest.approx(best["shares"]["talk"])
    assert f"by study wing-ratio, trial {best['number']}" in Path("flown.yaml").read_text()
    assert "; was 0.4" in Path("flown.yaml").read_text()


def test_the_goal_weighs_errors_beside_bits_per_byte():
    bits, errors = {"a": 2.0, "b": 1.0}, {"piqa": 0.4}
    assert Goal().value(bits, {}) == Goal().of_bits(bits) == pytest.approx(1.5)
    assert Goal({"a": 3.0, "b": 1.0}).of_bits(bits) == pytest.approx(1.75)
    assert Goal({}, {"piqa": 0.5}).value(bits, errors) == pytest.approx((2 + 1 + 0.2) / 2.5)
    assert Goal({"a": 1.0}, {"piqa": 1.0}).value(bits, errors) == pytest.approx(1.2)
    assert Goal({"a": 1.0}, {"piqa": 1.0}).all_weights(bits) == {"a": 1.0, "piqa": 1.0}


def test_tasks_that_cannot_judge_are_refused_before_anything_runs(texts: Path, mixed: Path, tmp_path: Path):
    corpus = open_corpus(mixed)
    for wrong, message in (
        ({"tasks": {"arithmark-gem": 1.0}}, "there is no task 'arithmark-gem'"),
        ({"tasks": {"piqa": 1.0}, "data": str(texts)}, "piqa: there is no folder"),
        ({"tasks": {"piqa": 1.0}, "data": "nowhere"}, "nowhere is not a folder"),
    ):
        with pytest.raises(UserError, match=message):
            open_ratio_study(ratio_recipe(texts, **wrong), corpus, tmp_path / "study")
    assert not (tmp_path / "study").exists()
    with pytest.raises(UserError, match=r"tunnel\.ratio"):
        ratio_recipe(texts, tasks={"arithmark-gen": -1})


@pytest.mark.slow
def test_branches_are_judged_by_tasks_as_well(texts: Path, mixed: Path, tmp_path: Path):
    recipe = ratio_recipe(texts, tasks={"arithmark-gen": 0.5}, items=20)
    study = open_ratio_study(recipe, open_corpus(mixed), tmp_path / "study")
    train_stable(study, mixed)
    (candidate,) = search(study, mixed)
    trials = study.load().get_trials(deepcopy=False)
    for trial in trials:
        outcome = read_outcome(study.trial_folder(trial.number))
        assert outcome is not None
        assert 0 <= outcome.errors["arithmark-gen"] <= 1
        expected = (sum(outcome.bits_per_byte.values()) + 0.5 * outcome.errors["arithmark-gen"]) / 4.5
        assert trial.value == outcome.objective == pytest.approx(expected)
    assert candidate.mean >= min(trial.value for trial in trials)
    found = response(study, trials)
    assert found is not None
    assert found.losses[-1] == "arithmark-gen"
    assert found.weights.tolist() == pytest.approx([*[1 / 4.5] * 4, 0.5 / 4.5])
    with pytest.raises(UserError, match=r"this study was made otherwise .*ratio\.tasks"):
        open_ratio_study(ratio_recipe(texts), open_corpus(mixed), tmp_path / "study")


@pytest.mark.slow
def test_branches_from_a_run_of_ones_own(texts: Path, mixed: Path, tmp_path: Path):
    recipe = ratio_recipe(texts, trials=2)
    train(recipe, open_corpus(mixed), tmp_path / "run", stop_after=START - 500, sinks=[])
    study = open_ratio_study(
        recipe, open_corpus(mixed), tmp_path / "study", start_from=f"{tmp_path / 'run'}@{START}"
    )
    assert study.stable == ()
    assert study.start(1) == study.start(0)
    assert study.proxy.model == recipe.model
    assert study.begin == -(-(START - 500) // 128) * 128
    with pytest.raises(UserError, match="after the decay began"):
        open_ratio_study(
            recipe.model_copy(update={"training": recipe.scaled(4096).training}), open_corpus(mixed),
            tmp_path / "other", start_from=str(tmp_path / "run"),
        )  # fmt: skip
    (candidate,) = search(study, mixed)
    assert len(candidate.objectives) == 2
    first = next(iter(read_events(tmp_path / "study" / "trials" / "0000")))
    assert first["resumed_from"] == -(-(START - 500) // 128) * 128
