"""Runs of several processes: the same batches, the same losses, whatever their number."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import parallel_children
import pytest
import torch
from parallel_setup import together

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus
from flyweight.curriculum import Order, read_batch
from flyweight.events import read_events
from flyweight.inference import list_checkpoints, load_decoder
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training import train
from flyweight.training.parallel import choose_parallel

STEP = 4 * 32


def changed(recipe: Recipe, **sections: Any) -> Recipe:
    data = recipe.to_dict()
    for name, values in sections.items():
        data[name] = {**data[name], **values}
    return recipe_from_dict(data)


def losses(folder: Path) -> dict[int, float]:
    return {event["clock"]: event["loss"] for event in read_events(folder) if event["kind"] == "step"}


def norms(folder: Path) -> list[float]:
    return [event["grad_norm"] for event in read_events(folder) if event["kind"] == "step"]


def run_on(size: int, recipe: Recipe, corpus: OpenCorpus, folder: Path, **options: Any) -> list[Any]:
    arguments = (recipe.to_dict(), str(corpus.folder), str(folder), options)
    return together(size, parallel_children.train_here, *arguments)


@pytest.fixture(scope="module")
def growing(recipe: Recipe) -> Recipe:
    """4 sequences, then 7, which no 2 or 3 processes share evenly."""
    return changed(
        recipe,
        training={"batch_size": [{"at": 0, "value": 4}, {"at": 4 * STEP, "value": 7}], "tokens": 8 * STEP},
        execution={"micro_batch": 1},
    )


@pytest.fixture(scope="module")
def alone(growing: Recipe, corpus: OpenCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    train(growing, corpus, folder, sinks=[])
    return folder


def assert_same_course(one: Path, other: Path) -> None:
    assert losses(one).keys() == losses(other).keys()
    assert list(losses(other).values()) == pytest.approx(list(losses(one).values()), abs=2e-5)
    assert norms(other) == pytest.approx(norms(one), rel=2e-4)


def batches(recipe: Recipe, corpus: OpenCorpus) -> list[list[int]]:
    """The first tokens of every sequence, by step, as one process reads them."""
    order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
    steps = map(order.schedule.step, range(order.schedule.steps))
    return [
        read_batch(order.step_sequences(step), corpus.train).tokens[:, :4].flatten().tolist()
        for step in steps
    ]


def check_course(
    size: int, parallel: str, recipe: Recipe, corpus: OpenCorpus, alone: Path, folder: Path
) -> None:
    found = run_on(size, changed(recipe, execution={"parallel": parallel}), corpus, folder)
    together = [
        [token for part in parts for token in part]
        for parts in zip(*(read for _, read in found), strict=True)
    ]
    assert together == batches(recipe, corpus)
    assert_same_course(alone, folder)


def test_two_processes_read_the_same_batches_and_have_the_same_losses(growing, corpus, alone, tmp_path):
    check_course(2, "ddp", growing, corpus, alone, tmp_path / "run")
    ours, theirs = (load_decoder(list_checkpoints(run)[-1][1])[0] for run in (tmp_path / "run", alone))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "parallel"), [(2, "fsdp"), (3, "ddp"), (3, "fsdp")])
def test_any_number_of_processes_takes_the_same_course(growing, corpus, alone, tmp_path, size, parallel):
    check_course(size, parallel, growing, corpus, alone, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_compiled_blocks_take_the_same_course(growing, corpus, alone, tmp_path, parallel):
    compiled = changed(growing, execution={"compile": "on", "activation_checkpointing": True})
    check_course(2, parallel, compiled, corpus, alone, tmp_path / "run")


@pytest.mark.parametrize(("gigabytes", "chosen"), [(80, "ddp"), (24, "fsdp")])
def test_auto_replicates_what_fits_into_half_of_a_gpu(monkeypatch, gigabytes, chosen):
    """1.3 billion parameters with gradients and moments are about 20 GB."""
    properties = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    recipe = load_recipe("xmodel-2.5-1.3b")
    assert choose_parallel(recipe, torch.device("cuda"), 8)[0] == chosen
    assert choose_parallel(recipe, torch.device("cuda"), 1) == ("none", None)
    assert choose_parallel(recipe, torch.device("cpu"), 8)[0] == "ddp"
    wanted = changed(recipe, execution={"parallel": "fsdp"})
    assert choose_parallel(wanted, torch.device("cpu"), 8)[0] == "fsdp"


def test_an_unknown_way_is_refused(recipe):
    with pytest.raises(UserError, match=r"execution\.parallel"):
        changed(recipe, execution={"parallel": "pipeline"})


def test_waiting_for_data_is_that_of_the_process_that_waited_longest(growing, corpus, tmp_path):
    short = changed(growing, training={"tokens": 6 * STEP}, execution={"log_every": 3})
    together(
        2, parallel_children.train_beside_a_slow_disk, short.to_dict(), str(corpus.folder), str(tmp_path)
    )
    events = read_events(tmp_path)
    lines = [event for event in events if event["kind"] == "step"]
    waited = sum(line["data_seconds"] for line in lines)
    assert 0.2 < waited <= 1.05 * sum(line["seconds"] for line in lines)
    assert events[-1]["data_seconds"] == pytest.approx(waited)


def test_fewer_sequences_than_processes_are_refused(growing, corpus, tmp_path):
    small = changed(growing, training={"batch_size": 1})
    arguments = (small.to_dict(), str(corpus.folder), str(tmp_path / "run"))
    (kind, text), (other, _) = together(2, parallel_children.refused, *arguments)
    assert kind == "UserError"
    assert "fewer than the 2 processes" in text
    assert "start at most 1" in text
    assert other
