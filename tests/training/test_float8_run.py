"""Runs in FP8: as good as in bfloat16, the same bits through a stop, and which layers are chosen and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_run import STEP, assert_same_bits, changed, child, losses, run

from flyweight.base import UserError
from flyweight.events import read_events
from flyweight.inference import list_checkpoints, load_decoder
from flyweight.recipe import Recipe
from flyweight.training import plan as plan_module
from flyweight.training.plan import resolve_plan
from flyweight.training.precision import Float8Linear, choice, choose_float8, convert_to_float8, trial

ALL = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")


def with_fp8(recipe: Recipe, scaling: str = "delayed", layers: str = "all", **execution) -> Recipe:
    fp8 = {"scaling": scaling, "layers": layers}
    return changed(recipe, execution={"precision": "bfloat16", "fp8": fp8, **execution})


def notices(folder: Path) -> list[str]:
    return [event["message"] for event in read_events(folder) if event["kind"] == "notice"]


def chosen(recipe: Recipe, device: str = "cpu", precision: str = "bfloat16", rows: int = 64):
    return choose_float8(
        recipe, torch.device(device), precision, rows=rows, passes=2, compiled=False
    )  # fmt: skip


@pytest.fixture(scope="module")
def delayed(recipe, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("delayed") / "run"
    run(with_fp8(recipe, checkpoint_every=3 * STEP), corpus, folder)
    return folder


def test_the_loss_is_that_of_bfloat16(recipe, corpus, delayed, tmp_path):
    """Within 0.02 nats in each of the first ten steps, and within 0.15 in the ten after them.

    At this learning rate rounding grows from step to step: over four seeds bfloat16 itself was up to 0.003 from
    float32 in the first ten steps and up to 0.21 in all; FP8 was up to 0.009 and 0.09 from bfloat16. The narrow
    bound is the one that tells: lost gradients of the weights are off by 0.29 there, lost gradients of the
    inputs by 0.07, inputs' gradients times 4 by 0.88, and outputs times 1.25 by 0.024.
    """
    run(changed(recipe, execution={"precision": "bfloat16"}), corpus, tmp_path / "bfloat16")
    run(with_fp8(recipe, "dynamic"), corpus, tmp_path / "dynamic")
    expected = losses(tmp_path / "bfloat16")
    for folder in (delayed, tmp_path / "dynamic"):
        found = losses(folder)
        differences = [found[clock] - loss for clock, loss in expected.items()]
        assert any(differences)
        assert max(map(abs, differences[:10])) < 0.02, differences
        assert max(map(abs, differences)) < 0.15, differences
    assert not list((tmp_path / "dynamic").rglob("float8.safetensors"))


@pytest.mark.parametrize("how", ["stopped", pytest.param("killed", marks=pytest.mark.slow)])
def test_stopped_or_killed_and_continued_ends_with_the_same_bits(recipe, corpus, delayed, tmp_path, how):
    wanted, folder = with_fp8(recipe, checkpoint_every=3 * STEP), tmp_path / "run"
    if how == "stopped":
        run(wanted, corpus, folder, stop_after=7 * STEP)
    else:
        assert child(wanted, corpus, folder, "SIGKILL", "step:8").returncode == -9
    run(wanted, corpus, folder)
    assert_same_bits(delayed, folder)
    one, two = (load_file(list_checkpoints(f)[-1][1] / "float8.safetensors") for f in (delayed, folder))
    assert len(one) == 2 * 2 * len(ALL)
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_without_its_history_a_run_would_go_on_otherwise(recipe, corpus, delayed, tmp_path):
    """So that the test above tests something."""
    folder = tmp_path / "run"
    run(with_fp8(recipe), corpus, folder, stop_after=7 * STEP)
    (list_checkpoints(folder)[-1][1] / "float8.safetensors").unlink()
    run(with_fp8(recipe), corpus, folder)
    assert losses(folder)[20 * STEP] != losses(delayed)[20 * STEP]


def test_a_checkpoint_holds_ordinary_float32_weights(delayed, recipe):
    decoder, _ = load_decoder(list_checkpoints(delayed)[-1][1])
    assert {value.dtype for value in decoder.state_dict().values()} == {torch.float32}
    before = list(decoder.state_dict())
    float8 = convert_to_float8(decoder, "delayed", ALL)
    assert list(decoder.state_dict()) == before
    assert sum(isinstance(module, Float8Linear) for module in decoder.modules()) == 2 * len(ALL)
    assert list(float8.layers)[:2] == ["layers.0.self_attn.qkv_proj", "layers.0.self_attn.o_proj"]


def test_the_plan_and_the_record_say_which_layers(delayed):
    plan = json.loads((delayed / "plan.json").read_text())["plan"]
    assert (plan["fp8_scaling"], plan["fp8_layers"], plan["precision"]) == ("delayed", [*ALL], "bfloat16")
    assert f"FP8 with delayed scaling: {', '.join(ALL)}; the other layers compute in bfloat16." in notices(
        delayed
    )


def test_the_choice_is_frozen_until_the_recipe_asks_for_another(recipe, corpus, tmp_path, monkeypatch):
    gains = iter([1.5, 0.5, 1.2, 1.01])

    def gain(self, shape):
        return trial.Gain(next(gains), 1.0, shape)

    monkeypatch.setattr(trial.Trial, "gain", gain)
    monkeypatch.setattr(choice, "set", lambda values: list(dict.fromkeys(values)), raising=False)
    auto = with_fp8(recipe, layers="auto")
    run(auto, corpus, tmp_path / "run", stop_after=2 * STEP)
    plan = tmp_path / "run" / "plan.json"
    layers = json.loads(plan.read_text())["plan"]["fp8_layers"]
    assert layers == ["self_attn.qkv_proj", "mlp.gate_up_proj"]
    run(auto, corpus, tmp_path / "run", stop_after=3 * STEP)  # a new trial would find no more gains
    assert json.loads(plan.read_text())["plan"]["fp8_layers"] == layers
    run(with_fp8(recipe, "off"), corpus, tmp_path / "run", stop_after=4 * STEP)
    assert json.loads(plan.read_text())["plan"]["fp8_layers"] == []
    run(with_fp8(recipe), corpus, tmp_path / "run", stop_after=5 * STEP)
    assert json.loads(plan.read_text())["plan"]["fp8_layers"] == [*ALL]
    assert any(notice.startswith("execution.fp8: {'scaling': 'off'") for notice in notices(tmp_path / "run"))


def test_a_run_from_before_fp8_goes_on(recipe, corpus, tmp_path):
    run(recipe, corpus, tmp_path / "run", stop_after=STEP)
    file = tmp_path / "run" / "plan.json"
    stored = json.loads(file.read_text())
    for section, keys in (("execution", ["fp8"]), ("plan", ["fp8_scaling", "fp8_layers"])):
        for key in keys:
            del stored[section][key]
    file.write_text(json.dumps(stored))
    run(recipe, corpus, tmp_path / "run", stop_after=2 * STEP)
    assert not any("fp8" in notice for notice in notices(tmp_path / "run"))


def test_auto_tries_the_layers_and_says_what_it_found(recipe):
    """On a CPU FP8 products are bfloat16's at best, so that none gains by its casts."""
    found = chosen(with_fp8(recipe, layers="auto"))
    assert (found.scaling, found.layers) == ("off", ())
    assert len(found.notes) == len(ALL) + 1
    for kind, note in zip(ALL, found.notes, strict=False):
        assert note.startswith(f"FP8: {kind} (64 x ")
        assert " ms in FP8, " in note
    assert found.notes[-1] == "FP8: no layer; the other layers compute in bfloat16."


def test_sizes_that_fp8_cannot_take_stay_in_bfloat16(recipe):
    odd = with_fp8(changed(recipe, model={"intermediate_size": 72}))
    found = chosen(odd)
    assert found.layers == tuple(kind for kind in ALL if kind != "mlp.down_proj")
    assert (
        "FP8: mlp.down_proj (72 to 32) stays in bfloat16, since FP8 products need sizes divisible by 16."
        in found.notes
    )
    with pytest.raises(UserError, match=r"no layer's sizes are divisible by 16.*scaling=off"):
        chosen(changed(odd, model={"hidden_size": 40}))


def test_a_crawl_is_given_up_at_a_small_size(monkeypatch):
    tried = []

    def measure(self, shape, rounds):
        tried.append(tuple(shape))
        slow = len(tried) == 2
        return trial.Gain(0.001, 0.02 if slow else 0.005, shape)  # five times as long is no crawl in 5 ms

    monkeypatch.setattr(trial.Trial, "measure", measure)
    shape = trial.LayerShape(4096, 768, 256)
    gain = trial.Trial(torch.device("cpu"), True, 1, compiled=True).gain(shape)
    assert tried == [(64, 64, 64), (512, 512, 256)]
    assert "(4,096 x 768 to 256, tried at 512 x 512 to 256 and given up there)" in gain.sentence("x", shape)


def test_where_fp8_cannot_be_auto_says_so_and_all_is_refused(recipe, monkeypatch):
    monkeypatch.setattr(choice, "why_not_float8", lambda device: "this device has no FP8")
    assert chosen(with_fp8(recipe, layers="auto")).notes == ("FP8: no layer, since this device has no FP8.",)
    with pytest.raises(UserError, match=r"layers is `all`, but this device has no FP8; set execution\.fp8"):
        resolve_plan(with_fp8(recipe))
    monkeypatch.undo()
    note = chosen(with_fp8(recipe, layers="auto"), precision="float32").notes
    assert note == ("FP8: no layer, since this cpu device computes float32 faster than bfloat16.",)


def test_on_a_cpu_blocks_with_fp8_layers_are_not_compiled(recipe, monkeypatch):
    monkeypatch.setattr(plan_module, "choose_compile", lambda *_: (True, "compiled"))
    assert resolve_plan(changed(recipe, execution={"precision": "bfloat16"})).compiled
    plan = resolve_plan(with_fp8(recipe))
    assert not plan.compiled
    assert "not compiled: blocks with FP8 layers are not on CPUs" in plan.reasons
    with pytest.raises(UserError, match=r"compile is `on`.*on a CPU they cannot be compiled"):
        resolve_plan(with_fp8(recipe, compile="on"))


def test_rows_that_are_no_multiple_of_16_are_filled_up(recipe, corpus, tmp_path):
    odd = changed(with_fp8(recipe), training={"sequence_length": 30, "batch_size": 3, "tokens": 5 * 90})
    assert run(odd, corpus, tmp_path / "run").finished
