"""Checkpoints that several processes write: the same files, read by any number of them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from parallel_setup import together
from safetensors.torch import load_file
from test_parallel import STEP, assert_same_course, changed, losses, run_on
from torch.distributed.tensor import Shard, distribute_tensor

from flyweight.base import UserError
from flyweight.events import read_events
from flyweight.inference import list_checkpoints, load_model
from flyweight.training import train
from flyweight.training.parallel import Ranks, storage
from flyweight.training.parallel.storage import in_host_memory, shared_out
from flyweight.training.saving import write_together

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
def test_a_run_goes_on_with_any_number_of_processes(switching, corpus, alone, tmp_path, parallel, sizes):
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


TENSORS = {
    "model.safetensors": {"a": (7, 3), "b": (5,), "c": (1, 4)},
    "optimizer.safetensors": {"step": (), "whole": (6, 2)},
}
WHOLE = ("step", "whole")


def values(file: str, name: str, shape: tuple[int, ...]) -> torch.Tensor:
    torch.manual_seed(len(file) + ord(name[0]))
    return torch.randn(shape)


def write(ranks: Ranks, folder: str, broken: bool) -> str:
    mesh = ranks.mesh("cpu")
    files = {
        file: {
            name: values(file, name, shape)
            if name in WHOLE
            else distribute_tensor(values(file, name, shape), mesh, [Shard(0)])
            for name, shape in tensors.items()
        }
        for file, tensors in TENSORS.items()
    }
    owners = shared_out(files, ranks.world_size)
    assert sorted(name for _, name in owners) == sorted(WHOLE)
    mine = {
        file: {
            name: in_host_memory(value, mesh, copy=True)
            for name, value in tensors.items()
            if owners.get((file, name), ranks.rank) == ranks.rank
        }
        for file, tensors in files.items()
    }

    def add_rest(path: Path) -> None:
        (path / "rest").write_text("here")

    if broken and not ranks.main:

        def no_room(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        storage._offset = no_room
    try:
        write_together(Path(folder) / "made", mine, ranks, add_rest)
    except UserError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_rows_of_all_ranks_make_ordinary_files(tmp_path, size):
    assert together(size, write, str(tmp_path), False) == [""] * size
    assert sorted(file.name for file in (tmp_path / "made").iterdir()) == [*sorted(TENSORS), "rest"]
    for file, tensors in TENSORS.items():
        found = load_file(tmp_path / "made" / file)
        assert found.keys() == tensors.keys()
        for name, shape in tensors.items():
            assert torch.equal(found[name], values(file, name, shape))


def test_a_disk_that_is_full_for_one_rank_is_told_once_and_leaves_nothing(tmp_path):
    main, other = together(2, write, str(tmp_path), True)
    assert main.startswith("UserError: ")
    assert "the disk is full" in main
    assert other == main.replace("UserError", "ToldByAnother")
    assert list(tmp_path.iterdir()) == []


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
