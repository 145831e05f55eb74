"""Runs: the same bits twice, the same bits through kills, and every way to go on."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_setup import CHANGES_ON_THE_WAY, STEP, make_recipe

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus
from flyweight.events import read_events
from flyweight.inference import list_checkpoints
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.training import train
from flyweight.training.folder import write_recipe


def changed(recipe: Recipe, **sections) -> Recipe:
    data = recipe.to_dict()
    for name, values in sections.items():
        data[name] = {**data[name], **values}
    return recipe_from_dict(data)


def run(recipe: Recipe, corpus: OpenCorpus, folder: Path, **options):
    return train(recipe, corpus, folder, sinks=[], **options)


def losses(folder: Path) -> dict[int, float]:
    return {event["clock"]: event["loss"] for event in read_events(folder) if event["kind"] == "step"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(folder)[-1][1] / "model.safetensors")


def assert_same_bits(one: Path, two: Path) -> None:
    assert losses(one) == losses(two)
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def eventful(recipe) -> Recipe:
    """Batch, sequence length and optimizer change on the way; checkpoints every three steps or so."""
    return changed(
        recipe,
        training=CHANGES_ON_THE_WAY,
        execution={"checkpoint_every": 3 * STEP},
        evaluation={"every": 7 * STEP},
    )


@pytest.fixture(scope="module")
def reference(eventful, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    assert run(eventful, corpus, folder).finished
    return folder


def test_training_learns(reference):
    curve = losses(reference)
    validations = [event for event in read_events(reference) if event["kind"] == "validated"]
    assert curve[max(curve)] < curve[min(curve)] - 1
    assert validations[-1]["full"]
    for source in ("one", "two"):
        assert validations[-1]["bits_per_byte"][source] < validations[0]["bits_per_byte"][source] - 1


def test_a_run_says_at_its_start_what_its_exports_load_as(reference):
    notes = [event["message"] for event in read_events(reference) if event["kind"] == "notice"]
    assert (
        "an export of this model loads as its own modeling code (trust_remote_code=True); llama.cpp has no counterpart"
        in notes
    )


def test_two_uninterrupted_runs_agree_bit_for_bit(eventful, corpus, reference, tmp_path):
    run(eventful, corpus, tmp_path / "twin")
    assert_same_bits(reference, tmp_path / "twin")


def child(recipe: Recipe, corpus: OpenCorpus, folder: Path, number: str, moment: str, *origin: str):
    file = folder.parent / "recipe.yaml"
    write_recipe(file, recipe)
    command = [sys.executable, str(Path(__file__).parent / "child.py"), str(file), str(corpus.folder)]
    return subprocess.run(
        [*command, str(folder), number, moment, *origin], capture_output=True, text=True, timeout=240
    )


@pytest.mark.parametrize("what", ["step", "save"])
def test_killed_and_continued_ends_with_the_same_bits(eventful, corpus, reference, tmp_path, what):
    moment = f"{what}:{random.randint(1, 12) if what == 'step' else random.randint(1, 4)}"
    folder = tmp_path / "killed"
    killed = child(eventful, corpus, folder, "SIGKILL", moment)
    assert killed.returncode == -9, (moment, killed.stderr)
    continued = child(eventful, corpus, folder, "SIGKILL", "never")
    assert continued.stdout.startswith("finished"), (moment, continued.stderr)
    assert_same_bits(reference, folder)
    assert not list((folder / "checkpoints").glob(".*"))  # nothing half-written is left


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_exits_cleanly(eventful, corpus, reference, tmp_path, number):
    folder = tmp_path / "stopped"
    stopped = child(eventful, corpus, folder, number, "step:5")
    assert (stopped.returncode, stopped.stdout.split()) == (0, ["interrupted", str(5 * STEP)])
    assert list_checkpoints(folder)[-1][0] == 5 * STEP
    run(eventful, corpus, folder)
    assert_same_bits(reference, folder)


def test_other_execution_keys_go_on_with_the_same_run(eventful, corpus, reference, tmp_path):
    run(eventful, corpus, tmp_path / "run", stop_after=6 * STEP)
    other = changed(eventful, execution={"micro_batch": 1, "log_every": 4, "keep_checkpoints": 5})
    assert run(other, corpus, tmp_path / "run").finished
    assert losses(tmp_path / "run")[STEP * 6] == losses(reference)[STEP * 6]
    ended, expected = (
        [event for event in read_events(folder) if event["kind"] == "validated"][-1]["loss"]
        for folder in (tmp_path / "run", reference)
    )
    assert ended == pytest.approx(expected, abs=2e-3)
    notices = [event["message"] for event in read_events(tmp_path / "run") if event["kind"] == "notice"]
    assert "execution.micro_batch: 2 -> 1" in notices


def test_the_micro_batch_does_not_change_the_loss(recipe, corpus, tmp_path):
    curves = []
    for size in (1, 3, 4):
        run(
            changed(recipe, execution={"micro_batch": size}),
            corpus,
            tmp_path / str(size),
            stop_after=3 * STEP,
        )
        curves.append(losses(tmp_path / str(size)))
    for clock, loss in curves[0].items():
        assert curves[1][clock] == pytest.approx(loss, abs=1e-5)
        assert curves[2][clock] == pytest.approx(loss, abs=1e-5)


def test_another_recipe_is_refused_and_the_keys_are_named(recipe, corpus, tmp_path):
    run(recipe, corpus, tmp_path / "run", stop_after=STEP)
    other = changed(recipe, training={"weight_decay": 0.3}, model={"rope_theta": 5000.0})
    with pytest.raises(UserError, match=r"model\.rope_theta: 10000\.0 -> 5000\.0; training\.weight_decay"):
        run(other, corpus, tmp_path / "run")
    assert run(recipe, corpus, tmp_path / "run").finished  # nothing was lost


def test_a_new_run_starts_from_another_at_a_clock(recipe, corpus, tmp_path):
    saving = changed(recipe, execution={"checkpoint_every": 2 * STEP, "keep_checkpoints": 9})
    run(saving, corpus, tmp_path / "old")
    other = changed(recipe, training={"weight_decay": 0.3})
    begin = 6 * STEP
    run(other, corpus, tmp_path / "new", start_from=f"{tmp_path / 'old'}@{begin + 5}")
    assert min(losses(tmp_path / "new")) == begin + STEP
    # The first loss is that of the old run's weights on the same batch.
    assert losses(tmp_path / "new")[begin + STEP] == losses(tmp_path / "old")[begin + STEP]
    assert losses(tmp_path / "new")[begin + 5 * STEP] != losses(tmp_path / "old")[begin + 5 * STEP]


def test_a_start_from_another_model_or_off_the_grid_is_refused(recipe, corpus, tmp_path):
    run(recipe, corpus, tmp_path / "old", stop_after=3 * STEP)
    with pytest.raises(UserError, match=r"model\.num_hidden_layers differ"):
        run(
            changed(recipe, model={"num_hidden_layers": 1}), corpus, tmp_path / "a",
            start_from=str(tmp_path / "old"),
        )  # fmt: skip
    with pytest.raises(UserError, match="no step of this recipe starts at 384 tokens"):
        run(
            changed(recipe, training={"batch_size": 5}),
            corpus,
            tmp_path / "b",
            start_from=str(tmp_path / "old"),
        )


def test_the_newest_checkpoints_and_all_milestones_are_kept(recipe, corpus, tmp_path):
    keeping = changed(
        recipe,
        execution={"checkpoint_every": STEP, "keep_checkpoints": 2, "milestones": [3 * STEP, 8 * STEP - 1]},
    )
    run(keeping, corpus, tmp_path / "run")
    kept = [clock // STEP for clock, _ in list_checkpoints(tmp_path / "run")]
    assert kept == [3, 8, 19, 20]


def test_a_checkpoint_of_a_newer_format_is_refused_by_name(recipe, corpus, tmp_path):
    run(recipe, corpus, tmp_path / "run", stop_after=STEP)
    file = list_checkpoints(tmp_path / "run")[-1][1] / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    with pytest.raises(UserError, match="format 99, this Flyweight reads up to 1"):
        run(recipe, corpus, tmp_path / "run")


def test_a_full_disk_while_saving_loses_nothing(recipe, corpus, tmp_path, monkeypatch):
    """safetensors reports a full disk in its own error type; the file system's own is an OSError."""
    from safetensors import SafetensorError

    from flyweight.training import checkpoint

    saving = changed(recipe, execution={"checkpoint_every": 2 * STEP})
    original, calls = checkpoint.save_file, []

    def full(tensors, path):
        calls.append(path)
        if len(calls) > 2:
            Path(path).write_bytes(b"torn")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        original(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match=r"the disk is full.*everything saved before is intact"):
        run(saving, corpus, tmp_path / "run")
    monkeypatch.undo()
    assert [clock for clock, _ in list_checkpoints(tmp_path / "run")] == [2 * STEP]
    assert not list((tmp_path / "run" / "checkpoints").glob(".*"))
    assert run(saving, corpus, tmp_path / "run").finished
    run(saving, corpus, tmp_path / "whole")
    assert_same_bits(tmp_path / "whole", tmp_path / "run")


def test_a_run_that_cannot_go_on_ends_in_one_sentence_and_keeps_a_good_checkpoint(recipe, corpus, tmp_path):
    """The rate is absurd from step 5 on: the checkpoint after that step is finite, and no step leads on from it."""
    wild = changed(
        recipe,
        training={"learning_rate": [{"at": 0, "value": 1e-3}, {"at": 5 * STEP, "value": 1e30}]},
        execution={"checkpoint_every": STEP, "log_every": 10},
    )
    with pytest.raises(UserError, match=r"went back 3 times without getting past .* lower learning rate"):
        run(wild, corpus, tmp_path / "run")
    assert list_checkpoints(tmp_path / "run")[0][0] == 5 * STEP
    assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())


def test_the_record_is_the_same_through_a_kill_with_rare_log_lines(eventful, corpus, tmp_path):
    rare = changed(eventful, execution={"log_every": 10, "checkpoint_every": 4 * STEP})
    run(rare, corpus, tmp_path / "whole")
    assert child(rare, corpus, tmp_path / "killed", "SIGKILL", "checkpoint_saved:5").returncode == -9
    run(rare, corpus, tmp_path / "killed")
    assert_same_bits(tmp_path / "whole", tmp_path / "killed")


def test_a_start_that_fails_leaves_nothing_and_an_origin_is_remembered(recipe, corpus, tmp_path):
    run(recipe, corpus, tmp_path / "old", stop_after=6 * STEP)
    other = changed(recipe, training={"weight_decay": 0.3})
    with pytest.raises(UserError, match="no such folder"):
        run(other, corpus, tmp_path / "new", start_from=str(tmp_path / "nowhere"))
    run(recipe, corpus, tmp_path / "new", stop_after=STEP)  # the folder took no recipe
    with pytest.raises(UserError, match="did not start from"):
        run(recipe, corpus, tmp_path / "new", start_from=str(tmp_path / "old"))
    begun = child(other, corpus, tmp_path / "third", "SIGKILL", "step:2", str(tmp_path / "old"))
    assert begun.returncode == -9
    run(other, corpus, tmp_path / "third")  # without --from: it is in the folder
    assert min(losses(tmp_path / "third")) == 7 * STEP


def test_a_start_at_the_end_of_the_recipe_is_refused(recipe, corpus, tmp_path):
    run(recipe, corpus, tmp_path / "old")
    other = changed(recipe, training={"weight_decay": 0.3})
    with pytest.raises(UserError, match="name an earlier one with RUN@TOKENS"):
        run(other, corpus, tmp_path / "new", start_from=str(tmp_path / "old"))


def test_two_processes_do_not_share_a_folder(recipe, corpus, tmp_path):
    from flyweight.training.folder import locked_run

    with locked_run(tmp_path / "run"), pytest.raises(UserError, match="another process is training"):
        run(recipe, corpus, tmp_path / "run")


def test_a_view_that_fails_is_dropped_and_the_run_goes_on(recipe, corpus, tmp_path):
    class Broken:
        def handle(self, event):
            raise BrokenPipeError("nobody listens")

        def close(self):
            pass

    assert train(recipe, corpus, tmp_path / "run", sinks=[Broken()]).finished
    notices = [event["message"] for event in read_events(tmp_path / "run") if event["kind"] == "notice"]
    assert notices.count("Broken failed and is off from here: nobody listens") == 1


def test_an_old_checkpoint_that_was_thinned_out_does_not_stop_the_run(recipe, corpus, tmp_path):
    saving = changed(recipe, execution={"checkpoint_every": 2 * STEP})
    run(saving, corpus, tmp_path / "run", stop_after=4 * STEP)
    (list_checkpoints(tmp_path / "run")[0][1] / "model.safetensors").unlink()
    assert run(saving, corpus, tmp_path / "run").finished


def test_the_same_kind_of_optimizer_begun_anew_is_fresh_with_and_without_a_stop(recipe, corpus, tmp_path):
    anew = changed(
        recipe, training={"optimizer": [{"at": 0, "kind": "adamw"}, {"at": 6 * STEP, "kind": "adamw"}]}
    )
    run(anew, corpus, tmp_path / "whole")
    run(anew, corpus, tmp_path / "stopped", stop_after=6 * STEP)
    run(anew, corpus, tmp_path / "stopped")
    assert_same_bits(tmp_path / "whole", tmp_path / "stopped")
    run(recipe, corpus, tmp_path / "kept")
    assert losses(tmp_path / "kept")[9 * STEP] != losses(tmp_path / "whole")[9 * STEP]


def test_a_folder_that_holds_something_else_is_refused(recipe, corpus, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("hello")
    with pytest.raises(UserError, match="not empty and holds no run"):
        run(recipe, corpus, tmp_path / "letters")


def test_other_shards_are_refused(recipe, corpus, texts, tmp_path):
    from flyweight.corpus import prepare

    run(recipe, corpus, tmp_path / "run", stop_after=STEP)
    for name in ("one", "two"):
        lines = (texts / f"{name}.jsonl").read_text().splitlines()
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines[:-9]))
    other = prepare(make_recipe(tmp_path), tmp_path / "corpus")
    with pytest.raises(UserError, match="other token shards"):
        run(recipe, other, tmp_path / "run")


def test_share_of_the_realised_mixture_is_reported(reference, eventful):
    last = [event for event in read_events(reference) if event["kind"] == "step"][-1]
    total = sum(last["realised"].values())
    assert 0.4 < last["realised"]["one"] / total < 0.7
