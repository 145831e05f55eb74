"""Checkpoints that several processes write: the same files, read by any number of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_parallel import STEP, assert_same_course, changed, losses, run_on

from flyweight.events import read_events
from flyweight.inference import list_checkpoints, load_model
from flyweight.training import train

HALF = 4


@pytest.fixture(scope="module")
def switching(recipe):
    """AdamW, then Muon before the half and after it: both kinds of state lie in the checkpoint there."""
    return changed(
        recipe,
        training={
            "optimizer": [{"at": 0, "kind": "adamw"}, {"at": 2 * STEP, "kind": "muon"}],
            "tokens": 2 * HALF * STEP,
        },
        execution={"checkpoint_every": HALF * STEP, "keep_checkpoints": 9},
    )


@pytest.fixture(scope="module")
def alone(switching, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(switching, corpus, folder, sinks=[])
    return folder


def assert_same_tensors(one: Path, other: Path, **tolerance: float) -> None:
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        torch.testing.assert_close(a[name], b[name], **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallel", "sizes"), [("fsdp", (2, 1)), ("fsdp", (2, 3)), ("fsdp", (1, 2)), ("ddp", (3, 2))]
)
def test_a_run_goes_on_with_any_number_of_processes(
    switching, corpus, alone, tmp_path, parallel, sizes
):
    spread = changed(switching, execution={"parallel": parallel})
    for size, options in zip(sizes, ({"stop_after": HALF * STEP}, {}), strict=True):
        run_on(size, spread, corpus, tmp_path / "run", **options)
        if options:
            half = list_checkpoints(tmp_path / "run")[-1]
            reference = dict(list_checkpoints(alone))[half[0]]
            assert {file.name for file in half[1].iterdir()} == {file.name for file in reference.iterdir()}
            for name in ("model.safetensors", "optimizer.safetensors"):
                assert_same_tensors(half[1] / name, reference / name, rtol=2e-3, atol=2e-4)
            load_model(half[1], "cpu")
    assert_same_course(alone, tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_a_checkpoint_of_two_processes_is_that_of_one(switching, corpus, tmp_path):
    """What is written does not depend on who wrote it: FSDP's rows land where save_file would have put them."""
    run_on(
        2, changed(switching, execution={"parallel": "fsdp"}), corpus, tmp_path / "run", stop_after=HALF * STEP
    )
    newest = list_checkpoints(tmp_path / "run")[-1][1]
    weights = load_file(newest / "model.safetensors")
    header = (newest / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert json.loads(header[8 : 8 + length]).keys() == weights.keys()
    run = tmp_path / "again"
    (tmp_path / "run").rename(run)
    begun = train(switching, corpus, run, sinks=[], stop_after=HALF * STEP)
    assert begun.clock == HALF * STEP
    assert_same_tensors(newest.parents[2].parent / "again" / newest.relative_to(tmp_path / "run") / "model.safetensors", begun.checkpoint / "model.safetensors", rtol=0, atol=0)


def test_what_is_saved_in_the_background_is_what_was_there_when_it_began(recipe, corpus, tmp_path):
    """Training goes on while a checkpoint is written: the checkpoint must not see it."""
    saving = {"checkpoint_every": STEP, "keep_checkpoints": 99}
    for name, background in (("behind", True), ("waiting", False)):
        kept = changed(recipe, execution={**saving, "async_checkpoints": background})
        train(kept, corpus, tmp_path / name, sinks=[])
    behind, waiting = (list_checkpoints(tmp_path / name) for name in ("behind", "waiting"))
    assert [clock for clock, _ in behind] == [clock for clock, _ in waiting]
    for (_, one), (_, other) in zip(behind, waiting, strict=True):
        for file in ("model.safetensors", "optimizer.safetensors"):
            assert_same_tensors(one / file, other / file, rtol=0, atol=0)
        assert json.loads((one / "state.json").read_text()) == json.loads((other / "state.json").read_text())
    assert losses(tmp_path / "behind") == losses(tmp_path / "waiting")
    events = [event for event in read_events(tmp_path / "behind") if event["kind"] == "checkpoint_saved"]
    assert [event["clock"] for event in events] == [clock for clock, _ in behind]
    assert all(0 < event["held_seconds"] <= event["seconds"] for event in events)
