"""Tasks that a run measures on its way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_setup import STEP

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus
from flyweight.evaluation import Settings, evaluate, parse_tasks
from flyweight.events import read_events
from flyweight.inference import list_checkpoints, load_model
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.training import benchmarks, train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "benchmarks" / "piqa" / "validation.jsonl"
    file.parent.mkdir(parents=True)
    records = [
        {"goal": f"a small model {n}", "sol1": "learns from text", "sol2": f"reads {n}", "label": n % 2}
        for n in range(9)
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path / "benchmarks"


def with_benchmarks(recipe: Recipe, **wanted: object) -> Recipe:
    values = recipe.to_dict()
    values["evaluation"] = {**values["evaluation"], "benchmarks": wanted}
    return recipe_from_dict(values)


def scores(run: Path) -> list[tuple[int, dict[str, float]]]:
    return [(event["clock"], event["scores"]) for event in read_events(run) if event["kind"] == "evaluated"]


def test_scores_come_every_so_many_tokens_and_at_the_end(
    recipe: Recipe, corpus: OpenCorpus, data: Path, tmp_path: Path
):
    wanted = with_benchmarks(recipe, tasks=["piqa"], items=6, every=8 * STEP, data=str(data))
    result = train(wanted, corpus, tmp_path / "run", sinks=[])
    assert [clock for clock, _ in scores(tmp_path / "run")] == [8 * STEP, 16 * STEP, 20 * STEP]
    event = [event for event in read_events(tmp_path / "run") if event["kind"] == "evaluated"][-1]
    assert (event["metrics"], event["items"], event["chance"]) == (
        {"piqa": "acc_norm"},
        {"piqa": 6},
        {"piqa": 0.5},
    )
    # The last ones are what the command says of the checkpoint.
    model = load_model(result.checkpoint, "cpu")
    found = evaluate(model, parse_tasks("piqa"), Settings(data=data, limit=6))
    assert found["tasks"]["piqa"]["metrics"]["acc_norm"]["value"] == event["scores"]["piqa"]
    # Training goes on as if nothing had been measured.
    train(recipe, corpus, tmp_path / "plain", sinks=[])
    one, two = (
        load_file(list_checkpoints(tmp_path / name)[-1][1] / "model.safetensors") for name in ("run", "plain")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_that_was_stopped_measures_nothing_twice(
    recipe: Recipe, corpus: OpenCorpus, data: Path, tmp_path: Path
):
    wanted = with_benchmarks(recipe, tasks=["piqa"], items=2, every=8 * STEP, data=str(data))
    train(wanted, corpus, tmp_path / "run", sinks=[], stop_after=8 * STEP)
    train(wanted, corpus, tmp_path / "run", sinks=[])
    train(wanted, corpus, tmp_path / "run", sinks=[])  # finished already
    assert [clock for clock, _ in scores(tmp_path / "run")] == [8 * STEP, 16 * STEP, 20 * STEP]


def test_what_cannot_be_measured_is_told_before_training(
    recipe: Recipe, corpus: OpenCorpus, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for keys, message in (
        ({"tasks": ["sciq"], "data": str(data)}, "sciq: there is no folder"),
        ({"tasks": ["piqa"], "data": str(data / "nothing")}, "is not a folder with the files of benchmarks"),
    ):
        with pytest.raises(UserError, match=message):
            train(with_benchmarks(recipe, **keys), corpus, tmp_path / "run", sinks=[])
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"pip install 'flyweight\[eval\]'"):
        train(with_benchmarks(recipe, tasks=["piqa"], data=str(data)), corpus, tmp_path / "run", sinks=[])
    assert not (tmp_path / "run" / "events.jsonl").exists()


def test_a_task_that_breaks_does_not_end_the_run(
    recipe: Recipe, corpus: OpenCorpus, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("in a task")

    monkeypatch.setattr(benchmarks, "evaluate", broken)
    wanted = with_benchmarks(recipe, tasks=["piqa"], items=2, data=str(data))
    assert train(wanted, corpus, tmp_path / "run", sinks=[]).finished
    notes = [event["message"] for event in read_events(tmp_path / "run") if event["kind"] == "notice"]
    assert "tasks were not measured: ZeroDivisionError: in a task" in notes
