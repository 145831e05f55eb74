"""Muon in the loop: the switch to it, the switch back, and runs that go on with what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flyweight.base import read_json
from flyweight.corpus import OpenCorpus
from flyweight.events import read_events
from flyweight.inference import list_checkpoints
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.training import plan as plan_module
from flyweight.training import train

STEP = 4 * 32
TO_MUON, BACK = 6, 12


def changed(recipe: Recipe, **sections) -> Recipe:
    data = recipe.to_dict()
    for name, values in sections.items():
        data[name] = {**data[name], **values}
    return recipe_from_dict(data)


@pytest.fixture(scope="module")
def switching(recipe) -> Recipe:
    """AdamW, Muon and AdamW again, in two steps of warm-up and a decay; a checkpoint after every step."""
    return changed(
        recipe,
        training={
            "optimizer": [
                {"at": 0, "kind": "adamw"},
                {"at": TO_MUON * STEP, "kind": "muon"},
                {"at": BACK * STEP, "kind": "adamw"},
            ],
            "muon": {"fused_projections": "split"},
        },
        execution={"checkpoint_every": STEP, "keep_checkpoints": 99},
    )


@pytest.fixture(scope="module")
def whole(switching, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("switching") / "run"
    assert train(switching, corpus, folder, sinks=[]).finished
    return folder


def checkpoint(run: Path, step: int) -> Path:
    return dict(list_checkpoints(run))[step * STEP]


def optimizer_state(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(checkpoint(run, step) / "optimizer.safetensors")


def keys(state: dict[str, torch.Tensor]) -> set[str]:
    return {name.rsplit("/", 1)[0] for name in state}


def adamw_steps(state: dict[str, torch.Tensor]) -> set[float]:
    return {float(value) for name, value in state.items() if name.startswith("adamw/step/")}


def assert_same_end(one: Path, two: Path) -> None:
    a, b = (load_file(list_checkpoints(run)[-1][1] / "model.safetensors") for run in (one, two))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_state_is_fresh_after_the_switch_and_after_the_switch_back(whole):
    adamw = {"adamw/step", "adamw/exp_avg", "adamw/exp_avg_sq"}
    before = optimizer_state(whole, TO_MUON)
    assert keys(before) == adamw
    assert adamw_steps(before) == {TO_MUON}
    first = optimizer_state(whole, TO_MUON + 1)
    assert keys(first) == adamw | {"muon/momentum_sum"}
    assert adamw_steps(first) == {1}
    matrices = [name for name in first if name.startswith("muon/")]
    assert all(
        name.split(".")[-2] in {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"} for name in matrices
    )
    # After one step the momentum is that step's gradient and nothing else: clipped, with all others, to 1.
    others = [value / 0.1 for name, value in first.items() if name.startswith("adamw/exp_avg/")]
    gradient = torch.cat([value.flatten() for value in [*others, *(first[name] for name in matrices)]])
    assert float(gradient.norm()) <= 1.001
    back = optimizer_state(whole, BACK + 2)
    assert keys(back) == adamw
    assert adamw_steps(back) == {2}


def test_learning_rates_do_not_change_with_the_optimizer(switching, whole, corpus, tmp_path):
    plain = changed(switching, training={"optimizer": [{"at": 0, "kind": "adamw"}]})
    train(plain, corpus, tmp_path / "plain", sinks=[])
    rates = [
        {event["clock"]: event["learning_rate"] for event in read_events(run) if event["kind"] == "step"}
        for run in (whole, tmp_path / "plain")
    ]
    assert rates[0] == rates[1]
    one, two = (
        load_file(checkpoint(run, TO_MUON) / "model.safetensors") for run in (whole, tmp_path / "plain")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(
        *(load_file(checkpoint(run, TO_MUON + 1) / "model.safetensors")["layers.0.mlp.down_proj.weight"]
          for run in (whole, tmp_path / "plain"))
    )  # fmt: skip


@pytest.mark.parametrize("step", [TO_MUON, BACK])
def test_what_the_optimizer_before_the_switch_knew_is_of_no_account(switching, whole, corpus, tmp_path, step):
    """A run that stops at the switch goes on to the same bits, though the old state is spoilt meanwhile."""
    folder = tmp_path / "run"
    train(switching, corpus, folder, sinks=[], stop_after=step * STEP)
    file = checkpoint(folder, step) / "optimizer.safetensors"
    save_file({name: torch.full_like(value, 7.0) for name, value in load_file(file).items()}, file)
    plan = read_json(whole / "plan.json", "plan")
    (folder / "plan.json").write_text((whole / "plan.json").read_text())
    assert plan["plan"]["muon"]
    train(switching, corpus, folder, sinks=[])
    assert_same_end(whole, folder)


def test_a_run_goes_on_with_the_methods_it_started_with(switching, corpus, tmp_path, monkeypatch):
    """The last bits depend on them, so they are measured once; a continued run ends with the same bits."""
    one, two = tmp_path / "one", tmp_path / "two"
    measured = plan_module.measured_methods
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return measured(*arguments)

    monkeypatch.setattr(plan_module, "measured_methods", counted)
    train(switching, corpus, one, sinks=[], stop_after=(TO_MUON + 3) * STEP)
    first = read_json(one / "plan.json", "plan")
    two.mkdir()
    (two / "plan.json").write_text((one / "plan.json").read_text())
    train(switching, corpus, one, sinks=[])
    train(switching, corpus, two, sinks=[])
    assert len(calls) == 1
    assert read_json(one / "plan.json", "plan") == first
    # Of two layers: query 32 rows, key and value 16 each, output, gate and up 64 each, down; 32 columns or 64.
    assert set(first["plan"]["muon"]) == {"32x32", "16x32", "64x32", "32x64"}
    assert_same_end(one, two)


@pytest.mark.parametrize("methods", ["stacked", "one by one"])
def test_stopped_in_the_middle_of_muon_ends_with_the_same_bits(
    switching, corpus, tmp_path, monkeypatch, methods
):
    from flyweight.training.optimizers import Method

    stack, form = (4, "gram") if methods == "stacked" else (1, "fused")
    monkeypatch.setattr(
        plan_module, "measured_methods", lambda shapes, *_: {shape: Method(stack, form) for shape in shapes}
    )
    train(switching, corpus, tmp_path / "whole", sinks=[])
    for stop in (TO_MUON + 2, TO_MUON + 5, None):
        train(switching, corpus, tmp_path / "cut", sinks=[], stop_after=stop and stop * STEP)
    assert_same_end(tmp_path / "whole", tmp_path / "cut")


def test_a_deterministic_run_takes_the_usual_methods_without_a_trial(
    switching, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(plan_module, "measured_methods", None)
    strict = changed(switching, execution={"deterministic": True})
    try:
        train(strict, corpus, tmp_path / "run", sinks=[], stop_after=(TO_MUON + 1) * STEP)
    finally:
        torch.use_deterministic_algorithms(False)
    muon = read_json(tmp_path / "run" / "plan.json", "plan")["plan"]["muon"]
    assert muon["16x32"] == {"stack": 4, "form": "gram", "half": False}


def test_a_recipe_without_muon_measures_nothing(recipe, corpus: OpenCorpus, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_module, "measured_methods", None)
    train(recipe, corpus, tmp_path / "run", sinks=[], stop_after=STEP)
    assert read_json(tmp_path / "run" / "plan.json", "plan")["plan"]["muon"] == {}
