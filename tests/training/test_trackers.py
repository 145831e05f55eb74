"""Trackers are told what the events say, go on where a run goes on, and are refused by name where they are missing."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sqlite3
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.live import Live
from test_run import STEP, changed

from flyweight.base import UserError
from flyweight.events import EventWriter, StepDone, Validated, read_events
from flyweight.recipe import recipe_from_dict
from flyweight.training.folder import write_recipe
from flyweight.training.sinks import Sinks, standard_sinks, trackers
from flyweight.training.sinks.scalars import scalars

STEP_DONE = StepDone(
    step=3, clock=384, loss=4.5, z_loss=0.1, grad_norm=0.75, learning_rate=3e-3, weight_decay=0.1,
    z_loss_coefficient=1e-4, batch_size=4, sequence_length=32, seconds=2.0, tokens_per_second=64.0,
    share_of_peak=None, realised={"one": 3, "two": 1}, data_seconds=0.5, joules=12.8,
)  # fmt: skip


def test_what_was_not_measured_is_not_told():
    values = scalars(STEP_DONE)
    assert values["train/loss"] == 4.5
    assert values["speed/data_wait_share"] == 0.25
    assert values["speed/joules_per_token"] == pytest.approx(0.1)
    assert values["mixture/one"] == 0.75
    assert "speed/share_of_peak" not in values
    assert "step" not in values  # Trackio keeps that name for itself
    validated = Validated(0, 0, {"one": 7.1}, {"one": 5.0}, False, 0.1)
    assert scalars(validated) == {"bits_per_byte/one": 7.1, "held_out_loss/one": 5.0}


def test_recipes_from_before_the_key_mean_what_they_meant(recipe):
    def loaded(**execution) -> object:
        data = recipe.to_dict()
        data["execution"].pop("trackers")
        data["execution"] |= execution
        return recipe_from_dict(data).execution.trackers

    assert loaded() == loaded(tensorboard=True) == "auto"
    assert loaded(tensorboard=False) == ()
    assert loaded(trackers=["wandb", "tensorboard"]) == ("wandb", "tensorboard")
    for wrong in ({"tensorboard": True, "trackers": []}, {"trackers": ["mlflow"]}, {"trackers": "wandb"}):
        with pytest.raises(UserError, match="trackers"):
            loaded(**wrong)


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_tracker_that_is_named_and_missing_is_refused(recipe, tmp_path, monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=f"names '{name}', which is not installed: pip install"):
        standard_sinks(changed(recipe, execution={"trackers": [name]}), tmp_path, 0)


def test_nobodys_folders_are_told(recipe):
    sets = {"mine": {"path": "/home/somebody/secret/answers.jsonl"}}
    told = trackers.public_configuration(changed(recipe, corpus={"decontaminate": sets}))
    assert told["sources"]["one"]["path"] == "one.jsonl"
    assert told["corpus"]["decontaminate"]["mine"]["path"] == "answers.jsonl"
    text = json.dumps(told)
    assert "somebody" not in text
    assert str(Path(recipe.sources["one"].path).parent) not in text


class Tracker(ModuleType):
    """In place of a tracker's package: what its runs are begun with, and which of them were ended."""

    def __init__(self, name: str, monkeypatch, broken: bool = False) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        self.broken, self.begun, self.ended = broken, [], 0
        monkeypatch.setitem(sys.modules, name, self)
        for variable in ("WANDB_MODE", "WANDB_API_KEY"):
            monkeypatch.delenv(variable, raising=False)

    def init(self, **options):
        if self.broken:
            raise RuntimeError("no network")
        self.begun.append(options)
        return SimpleNamespace(finish=self._end, define_metric=lambda *_, **__: None, log=self._log)

    def Settings(self, **_):
        return None

    def _end(self) -> None:
        self.ended += 1

    def _log(self, *_, **__) -> None:
        raise RuntimeError("the disk is full")


@pytest.mark.parametrize(
    ("variables", "joins"),
    [
        ({}, False),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "k"}, False),
        ({"WANDB_API_KEY": "k"}, True),
        ({"WANDB_MODE": "online"}, True),
    ],
)
def test_wandb_goes_on_in_one_run_where_it_can_and_else_in_one_group(
    recipe, tmp_path, monkeypatch, variables, joins
):
    wandb = Tracker("wandb", monkeypatch)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    for clock in (0, 6 * STEP, 9 * STEP):
        trackers.begin("wandb", recipe, tmp_path, clock).close()
    assert wandb.ended == 3
    assert len({options["group"] for options in wandb.begun}) == 1
    assert len({options["id"] for options in wandb.begun}) == (1 if joins else 3)
    assert [options["mode"] for options in wandb.begun] == [None if variables else "offline"] * 3
    trackers.begin("wandb", recipe, tmp_path, 0)  # from the start again: another run
    assert wandb.begun[-1]["group"] != wandb.begun[0]["group"]


def test_a_tracker_that_does_not_begin_leaves_none_of_the_others_open(recipe, tmp_path, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    live = []
    start = Live.start
    monkeypatch.setattr(Live, "start", lambda self, *args: (live.append(self), start(self, *args))[1])
    first = Tracker("trackio", monkeypatch)
    Tracker("wandb", monkeypatch, broken=True)
    monkeypatch.setattr(sys, "stdout", Terminal())
    with pytest.raises(UserError, match=r"wandb does not begin \(no network\)"):
        standard_sinks(changed(recipe, execution={"trackers": ["trackio", "wandb"]}), tmp_path, 0)
    assert (len(first.begun), first.ended) == (1, 1)
    assert not any(view.is_started for view in live)


def test_a_view_that_fails_is_closed_and_the_run_told(recipe, tmp_path, monkeypatch):
    tracker = Tracker("trackio", monkeypatch)
    with Sinks(EventWriter(tmp_path, "a"), [trackers.begin("trackio", recipe, tmp_path, 0)]) as sinks:
        sinks.emit(STEP_DONE)
        assert tracker.ended == 1
        sinks.emit(STEP_DONE)
    assert tracker.ended == 1
    assert [event["kind"] for event in read_events(tmp_path)] == ["step", "notice", "step"]


def two_attempts(recipe, corpus, folder: Path, tracker: str, **environment: str) -> None:
    """A run stopped and continued, each in a process of its own, as trackers live for a process."""
    file = folder.parent / "recipe.yaml"
    write_recipe(file, changed(recipe, execution={"trackers": [tracker]}))
    code = (
        "import sys; from pathlib import Path; from flyweight.corpus import open_corpus\n"
        "from flyweight.recipe import load_recipe; from flyweight.training import train\n"
        "recipe, corpus, run, stop = sys.argv[1:]\n"
        "train(load_recipe(recipe), open_corpus(Path(corpus)), Path(run), stop_after=int(stop) or None)"
    )
    quiet = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB", "TRACKIO"))}
    for stop in (6 * STEP, 9 * STEP):
        done = subprocess.run(
            [sys.executable, "-c", code, str(file), str(corpus.folder), str(folder), str(stop)],
            env={**quiet, **environment}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "off from here" not in done.stdout, done.stdout
        assert "token=" not in done.stdout + done.stderr  # what opens a dashboard to others stays out of logs


@pytest.mark.slow
def test_trackio_holds_one_run_over_tokens(recipe, corpus, tmp_path):
    pytest.importorskip("trackio")
    two_attempts(recipe, corpus, tmp_path / "my-run", "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    rows = []
    for file in (tmp_path / "trackio").glob("*.db"):
        with sqlite3.connect(file) as database:
            rows += database.execute("select run_name, step, metrics from metrics").fetchall()
    assert {name.rsplit("-", 1)[0] for name, _, _ in rows} == {"my-run"}
    assert len({name for name, _, _ in rows}) == 1
    steps = [step for _, step, metrics in rows if "train/loss" in json.loads(metrics)]
    assert sorted(steps) == [STEP * n for n in range(1, 10)]


@pytest.mark.slow
def test_wandb_keeps_a_run_for_each_attempt_in_files_of_the_run(recipe, corpus, tmp_path):
    pytest.importorskip("wandb")
    two_attempts(recipe, corpus, tmp_path / "my-run", "wandb", HOME=str(tmp_path))
    offline = sorted((tmp_path / "my-run" / "wandb").glob("offline-run-*"))
    assert len(offline) == 2  # one for each attempt
    # `wandb sync` would let the second of one id replace the first.
    assert len({folder.name.rsplit("-", 1)[1] for folder in offline}) == 2
    assert all(list(folder.glob("*.wandb")) for folder in offline)
