"""What may happen to one process of several: it is killed, it is told to stop, it finds no data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import parallel_children
import pytest
from parallel_setup import free_port, of_survivors, together
from test_parallel import STEP, assert_same_course, changed, losses

from flyweight.events import read_events
from flyweight.inference import list_checkpoints
from flyweight.training import train
from flyweight.training.folder import write_recipe


@pytest.fixture(scope="module")
def saving(recipe):
    return changed(
        recipe,
        training={"tokens": 8 * STEP},
        execution={"checkpoint_every": 2 * STEP, "parallel": "ddp", "keep_checkpoints": 9},
    )


@pytest.fixture(scope="module")
def alone(saving, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(saving, corpus, folder, sinks=[])
    return folder


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_run_in_one_sentence_and_it_goes_on(saving, corpus, alone, tmp_path, victim):
    arguments = (saving.to_dict(), str(corpus.folder), str(tmp_path / "run"), "SIGKILL", victim, 6)
    found = of_survivors(2, 1, parallel_children.train_with_fault, *arguments)
    told, _ = found[1 - victim]
    assert told.startswith("UserError: ")
    assert "another of the run's 2 processes has ended" in told
    assert "goes on from there" in told
    # The one at 4 steps was on its way when the signal came, a step later.
    assert list_checkpoints(tmp_path / "run")[-1][0] in (2 * STEP, 4 * STEP)
    assert train(saving, corpus, tmp_path / "run", sinks=[]).finished
    assert_same_course(alone, tmp_path / "run")


@pytest.mark.slow
def test_two_survivors_of_three_tell_it_once(saving, corpus, tmp_path):
    arguments = (saving.to_dict(), str(corpus.folder), str(tmp_path / "run"), "SIGKILL", 2, 4)
    found = of_survivors(3, 2, parallel_children.train_with_fault, *arguments)
    assert sorted(told.partition(":")[0] for told, _ in found.values()) == ["ToldByAnother", "UserError"]


def test_a_signal_to_one_rank_stops_all_of_them_at_the_same_step(saving, corpus, alone, tmp_path):
    arguments = (saving.to_dict(), str(corpus.folder), str(tmp_path / "run"), "SIGTERM", 1, 3)
    first, second = together(2, parallel_children.train_with_fault, *arguments)
    assert first == second
    how, clock = first
    assert (how, clock in (2 * STEP, 3 * STEP)) == ("stopped", True)  # batches are read a step ahead
    assert list_checkpoints(tmp_path / "run")[-1][0] == clock
    train(saving, corpus, tmp_path / "run", sinks=[])
    assert_same_course(alone, tmp_path / "run")


@pytest.mark.slow
def test_a_shard_that_one_rank_cannot_read_ends_all_of_them_with_what_was_learned_saved(
    saving, corpus, tmp_path
):
    arguments = (saving.to_dict(), str(corpus.folder), str(tmp_path / "run"), "shard", 1, 4)
    (told, _), (other, _) = together(2, parallel_children.train_with_fault, *arguments)
    assert told == "UserError: shard: cannot be read."
    assert other == "ToldByAnother: shard: cannot be read."
    assert list_checkpoints(tmp_path / "run")[-1][0] == 3 * STEP


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_all_ranks_skip_and_go_back_together(saving, corpus, tmp_path, parallel):
    """Some batches of some ranks are no numbers: all of them decide alike, and the run finishes."""
    faulty = changed(
        saving,
        training={"tokens": 30 * STEP, "guard": {"rollback_after": 1, "most_rollbacks": 20}},
        execution={"parallel": parallel, "micro_batch": 2},
    )
    arguments = (faulty.to_dict(), str(corpus.folder), str(tmp_path / "run"), "poison", 0, 0)
    found = together(2, parallel_children.train_with_fault, *arguments)
    assert found == [("finished", 30 * STEP)] * 2
    kinds = [event["kind"] for event in read_events(tmp_path / "run")]
    assert "step_skipped" in kinds
    assert "rolled_back" in kinds


@pytest.mark.slow
def test_torchrun_trains_from_the_command_line_and_only_one_process_speaks(saving, tmp_path):
    write_recipe(tmp_path / "recipe.yaml", saving)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(free_port()),
        "-m", "--", "flyweight", "train", "recipe.yaml", "--run", "run", "--corpus", "corpus",
    ]  # fmt: skip
    environ = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environ)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert sum(line.startswith("finished: ") for line in lines) == 1
    assert sum(line.startswith("one: ") for line in lines) == 1
    assert max(losses(tmp_path / "run")) == 8 * STEP
    again = subprocess.run(
        [*command, "training.weight_decay=0.3"], capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environ
    )  # fmt: skip
    assert again.returncode != 0
    assert again.stderr.count("flyweight: run: this folder holds a run of another recipe") == 1
