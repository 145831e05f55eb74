"""Faults, provoked for real: bad data, a full disk, a shard that vanishes, signals at bad moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import faulty_child
import pytest
from test_run import STEP, assert_same_bits, changed, losses, weights
from training_setup import CHANGES_ON_THE_WAY

from flyweight.base import UserError
from flyweight.corpus import open_corpus, prepare, shards
from flyweight.curriculum import Order, OrderState
from flyweight.events import read_events
from flyweight.inference import list_checkpoints, read_state
from flyweight.recipe import Recipe
from flyweight.training import loop, objective, train, validation
from flyweight.training.folder import write_recipe


class Killed(BaseException):
    """The attempt ends on the spot, without saving."""


class KillAt:
    """Ends the attempt at the n-th event of a kind."""

    def __init__(self, kind: str, count: int = 1):
        self.kind, self.left = kind, count

    def handle(self, event) -> None:
        self.left -= event.kind == self.kind
        if event.kind == self.kind and self.left == 0:
            raise Killed

    def close(self) -> None:
        pass


def of(folder: Path, kind: str) -> list[dict]:
    return [event for event in read_events(folder) if event["kind"] == kind]


@pytest.fixture
def bad_data(monkeypatch):
    original = objective.training_loss
    monkeypatch.setattr(objective, "training_loss", original)  # what is installed is taken away again
    return faulty_child.install


@pytest.fixture(scope="module")
def faulty(recipe) -> Recipe:
    """Batch, length and optimizer change on the way; two skips in a row and the run goes back."""
    return changed(
        recipe,
        training={
            **CHANGES_ON_THE_WAY,
            "guard": {"rollback_after": 2, "most_rollbacks": 9, "spike": "ignore"},
        },
        execution={"checkpoint_every": 3 * STEP, "keep_checkpoints": 9},
    )


@pytest.fixture(scope="module")
def poisoned(faulty, corpus, tmp_path_factory) -> Path:
    """A run through bad data, to its end."""
    folder = tmp_path_factory.mktemp("poisoned") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "training_loss", objective.training_loss)
        faulty_child.install("poison")
        assert train(faulty, corpus, folder, sinks=[]).finished
    return folder


def test_a_run_goes_on_through_bad_data_with_other_data(faulty, corpus, poisoned):
    assert of(poisoned, "rolled_back")
    assert of(poisoned, "step_skipped")
    assert all(value.isfinite().all() for value in weights(poisoned).values())
    curve = losses(poisoned)
    assert list(curve) == sorted(curve)
    assert curve[max(curve)] < curve[min(curve)] - 0.5
    clock, newest = list_checkpoints(poisoned)[-1]
    state = read_state(newest)
    order = Order(faulty, {name: stream.tokens for name, stream in corpus.train.items()})
    assert clock == order.schedule.tokens  # skipped steps do not advance the clock: none is missing
    order.restore(OrderState(**state["order"]))
    for place in (place for e in of(poisoned, "step_skipped") for place in range(e["first"], e["end"])):
        assert any(part.first <= place < part.end for part in order.journal.skipped)
    trained = [
        item for n in range(order.schedule.steps) for item in order.step_sequences(order.schedule.step(n))
    ]
    assert len({(i.source, i.length, i.epoch, i.window) for i in trained}) == len(trained)
    assert sum(of(poisoned, "step")[-1]["realised"].values()) == order.schedule.sequences


def test_what_was_trained_on_is_what_the_journal_says(faulty, corpus, poisoned, tmp_path, bad_data):
    """None of the batches that the finished run counts as trained on is a bad one."""
    state = read_state(list_checkpoints(poisoned)[-1][1])
    order = Order(faulty, {name: stream.tokens for name, stream in corpus.train.items()})
    order.restore(OrderState(**state["order"]))
    for number in range(order.schedule.steps):
        batch = loop.read_batch(order.step_sequences(order.schedule.step(number)), corpus.train)
        assert not any(faulty_child.is_bad(rows.tokens[:, 1:]) for rows in batch.split(2))


@pytest.mark.parametrize(
    ("kind", "count"), [("step_skipped", 1), ("rolled_back", 1), ("rolled_back", 2), ("checkpoint_saved", 2)]
)
def test_killed_after_a_fault_and_continued_ends_with_the_same_bits(
    faulty, corpus, poisoned, tmp_path, bad_data, kind, count
):
    bad_data("poison")
    with pytest.raises(Killed):
        train(faulty, corpus, tmp_path / "run", sinks=[KillAt(kind, count)])
    assert train(faulty, corpus, tmp_path / "run", sinks=[]).finished
    assert_same_bits(poisoned, tmp_path / "run")
    assert of(tmp_path / "run", "rolled_back")[-1]["first"] == of(poisoned, "rolled_back")[-1]["first"]


def test_a_skipped_step_leaves_weights_optimizer_and_clock_alone(recipe, corpus, tmp_path, bad_data):
    """One bad step and then the same data order: the run equals one whose journal held that stretch before."""
    one = changed(recipe, training={"guard": {"spike": "ignore"}}, execution={"checkpoint_every": STEP})
    bad_data("poison")
    with pytest.raises(Killed):
        train(one, corpus, tmp_path / "run", sinks=[KillAt("step_skipped")])
    skip = of(tmp_path / "run", "step_skipped")[0]
    newest = list_checkpoints(tmp_path / "run")[-1]
    assert newest[0] == skip["clock"] or skip["clock"] == 0
    before = weights(tmp_path / "run")
    with pytest.raises(Killed):
        train(one, corpus, tmp_path / "run", sinks=[KillAt("step_skipped")])
    assert of(tmp_path / "run", "step_skipped")[0]["first"] == skip["first"]
    after = weights(tmp_path / "run")
    assert all((before[name] == after[name]).all() for name in before)


def test_a_run_without_a_checkpoint_goes_back_to_its_beginning(recipe, corpus, tmp_path, bad_data):
    bare = changed(recipe, training={"guard": {"rollback_after": 1, "most_rollbacks": 9}})
    bad_data("poison", 30)
    assert train(bare, corpus, tmp_path / "run", sinks=[]).finished
    backs = of(tmp_path / "run", "rolled_back")
    assert backs
    assert {event["clock"] for event in backs} == {0}
    assert list(losses(tmp_path / "run")) == sorted(losses(tmp_path / "run"))


@pytest.mark.parametrize(
    ("action", "kind"), [("warn", "loss_spike"), ("skip", "step_skipped"), ("rollback", "rolled_back")]
)
def test_a_loss_spike_does_as_the_recipe_says(recipe, corpus, tmp_path, bad_data, action, kind):
    settings = {"spike": action, "spike_window": 8, "spike_threshold": 8, "most_rollbacks": 20}
    spiky = changed(recipe, training={"guard": settings}, execution={"checkpoint_every": 2 * STEP})
    bad_data("spike", 12)
    assert train(spiky, corpus, tmp_path / "run", sinks=[]).finished
    found = {event["kind"] for event in read_events(tmp_path / "run")}
    assert kind in found
    assert not found & ({"loss_spike", "step_skipped", "rolled_back"} - {kind, "step_skipped"})


# --- the machine fails ---


def child(fault: str, recipe: Recipe, corpus, folder: Path, number: str = "SIGKILL", moment: str = "never"):
    file = folder.parent / "recipe.yaml"
    write_recipe(file, recipe)
    script = str(Path(__file__).parent / "faulty_child.py")
    command = [sys.executable, script, fault, str(file), str(corpus.folder), str(folder), number, moment]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_killed_for_real_after_going_back_ends_with_the_same_bits(faulty, corpus, poisoned, tmp_path):
    killed = child("poison", faulty, corpus, tmp_path / "run", "SIGKILL", "rolled_back:0")
    assert killed.returncode == -9, killed.stderr
    assert child("poison", faulty, corpus, tmp_path / "run").stdout.startswith("finished")
    assert_same_bits(poisoned, tmp_path / "run")


def test_a_disk_that_takes_no_more_ends_the_run_in_one_sentence(recipe, corpus, tmp_path):
    """The operating system refuses to write on in the middle of a save: RLIMIT_FSIZE, EFBIG."""
    saving = changed(recipe, execution={"checkpoint_every": 4 * STEP})
    train(saving, corpus, tmp_path / "run", sinks=[], stop_after=4 * STEP)
    sizes = [file.stat().st_size for file in list_checkpoints(tmp_path / "run")[0][1].iterdir()]
    ended = child(f"limit:{max(sizes) - 10_000}", saving, corpus, tmp_path / "run")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "may not grow as large" in ended.stderr.splitlines()[-1]
    assert [clock for clock, _ in list_checkpoints(tmp_path / "run")] == [4 * STEP]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    assert train(saving, corpus, tmp_path / "run", sinks=[]).finished
    train(saving, corpus, tmp_path / "whole", sinks=[])
    assert_same_bits(tmp_path / "whole", tmp_path / "run")


def test_a_full_file_system_ends_the_run_in_one_sentence(recipe, corpus, tmp_path):
    """ENOSPC on a file system of 700 kB, where this machine lets us mount one."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        saving = changed(recipe, execution={"checkpoint_every": 2 * STEP, "keep_checkpoints": 99})
        with pytest.raises(UserError, match="the disk is full"):
            train(saving, corpus, small / "run", sinks=[])
        kept = list_checkpoints(small / "run")
        assert kept
        roomy = tmp_path / "run"
        subprocess.run(["cp", "-r", str(small / "run"), str(roomy)], check=True)
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert train(saving, corpus, roomy, sinks=[]).finished
    train(saving, corpus, tmp_path / "whole", sinks=[])
    assert_same_bits(tmp_path / "whole", roomy)


@pytest.mark.parametrize("damage", ["vanished", "cut off"])
def test_a_shard_that_is_lost_in_mid_run_ends_it_in_one_sentence_and_loses_no_step(
    recipe, texts, tmp_path, damage
):
    own = open_corpus(prepare(recipe, tmp_path / "corpus").folder)
    file = next((tmp_path / "corpus").rglob("*one*/**/*.tokens"), None) or _training_shard(
        tmp_path / "corpus"
    )
    content = file.read_bytes()

    class Lose:
        def handle(self, event) -> None:
            if event.kind == "step" and event.step == 5:
                shards._recently_mapped.cache_clear()
                file.unlink() if damage == "vanished" else file.write_bytes(content[:100])

        def close(self) -> None:
            pass

    expected = "cannot be read" if damage == "vanished" else "truncated shard"
    with pytest.raises(UserError, match=expected):
        train(recipe, own, tmp_path / "run", sinks=[Lose()])
    # The batch of the step after may have been read ahead; nothing that was trained is lost.
    assert [clock for clock, _ in list_checkpoints(tmp_path / "run")] in ([5 * STEP], [6 * STEP])
    with pytest.raises(UserError, match=expected):  # and the next attempt says it at once
        open_corpus(tmp_path / "corpus")
    file.write_bytes(content)
    again = open_corpus(tmp_path / "corpus")
    assert train(recipe, again, tmp_path / "run", sinks=[]).finished
    train(recipe, again, tmp_path / "whole", sinks=[])
    assert_same_bits(tmp_path / "whole", tmp_path / "run")


def _training_shard(corpus: Path) -> Path:
    manifest = open_corpus(corpus).manifest
    return corpus / manifest.sources["one"].train.shards[0].tokens.name


def test_a_signal_breaks_off_a_validation_and_the_next_attempt_makes_up_for_it(
    recipe, corpus, tmp_path, monkeypatch
):
    measured = changed(recipe, evaluation={"every": 4 * STEP})
    original, calls = validation.bits_per_byte, []

    def slow(*args):
        calls.append(1)
        if len(calls) == 4:  # the second source of the second validation
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        return original(*args)

    monkeypatch.setattr(validation, "bits_per_byte", slow)
    begin = time.monotonic()
    result = train(measured, corpus, tmp_path / "run", sinks=[])
    assert time.monotonic() - begin < 50
    assert (result.finished, result.clock) == (False, 4 * STEP)
    assert train(measured, corpus, tmp_path / "run", sinks=[]).finished
    monkeypatch.undo()
    train(measured, corpus, tmp_path / "whole", sinks=[])
    clocks = [[e["clock"] for e in of(tmp_path / name, "validated")] for name in ("run", "whole")]
    assert clocks[0] == clocks[1]
