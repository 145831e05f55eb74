"""The base of the rotary positions over tokens: in training, through a kill, in checkpoints, in exports."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from test_faults import KillAt, Killed
from test_run import STEP, assert_same_bits, changed, losses
from transformers import AutoModelForCausalLM

from flyweight.corpus import OpenCorpus
from flyweight.events import read_events
from flyweight.inference import list_checkpoints, load_decoder, load_tokenizer, read_state
from flyweight.model import decoder as decoder_module
from flyweight.planning import timeline_panels
from flyweight.recipe import Recipe
from flyweight.release.huggingface import write_folder
from flyweight.training import train

BASES = [
    {"at": 0, "value": 100.0},
    {"at": 8 * STEP, "value": 5000.0},
    {"at": 12 * STEP, "value": 5000.0},
    {"at": 16 * STEP, "value": 80_000.0, "shape": "linear"},
]


@pytest.fixture(scope="module")
def moving(recipe) -> Recipe:
    """A jump, then a ramp; a stock class, so that transformers reads the export by itself."""
    return changed(
        recipe,
        model={"exclusive_attention": False, "rope_theta": 77.0},
        training={"rope_theta": BASES},
        execution={"checkpoint_every": 4 * STEP, "keep_checkpoints": 9},
        evaluation={"every": 4 * STEP},
    )


@pytest.fixture(scope="module")
def reference(moving: Recipe, corpus: OpenCorpus, tmp_path_factory) -> tuple[Path, list[tuple[bool, float]]]:
    """A finished run, and the base of every forward pass: (in training, base)."""
    folder = tmp_path_factory.mktemp("moving") / "run"
    passes: list[tuple[bool, float]] = []
    tables = decoder_module.rotary_tables

    def spied(positions, head_dim, base):
        passes.append((torch.is_grad_enabled(), base))
        return tables(positions, head_dim, base)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "rotary_tables", spied)
        assert train(moving, corpus, folder, sinks=[]).finished
    return folder, passes


def test_the_base_of_each_step_is_read_at_its_beginning(moving, reference) -> None:
    folder, passes = reference
    timeline = moving.training.rope_theta
    assert timeline is not None
    expected = [timeline.at(step * STEP) for step in range(20)]
    assert expected[7:9] == [100.0, 5000.0]
    assert 5000 < expected[14] < 80_000
    trained = [base for in_training, base in passes if in_training]
    assert trained == [
        100.0,
        *itertools.chain.from_iterable((base, base) for base in expected),
    ]  # one to warm up
    steps = [event for event in read_events(folder) if event["kind"] == "step"]
    assert [event["rope_theta"] for event in steps] == expected


def test_what_is_measured_between_steps_is_with_the_base_that_was_trained(reference) -> None:
    """At 8 steps the next one moves the base: the weights have not seen it yet."""
    _, passes = reference
    groups = [next(iter(group)) for _, group in itertools.groupby(passes)]
    validations = [base for (in_training, base) in groups if not in_training]
    assert validations == [100.0, 100.0, 100.0, 5000.0, pytest.approx(61_250.0), 80_000.0]


def test_a_checkpoint_holds_the_base_of_its_last_step(moving, reference) -> None:
    folder, _ = reference
    found = {clock // STEP: read_state(path)["rope_theta"] for clock, path in list_checkpoints(folder)}
    timeline = moving.training.rope_theta
    assert timeline is not None
    assert found == {step: timeline.at((step - 1) * STEP) for step in (4, 8, 12, 16, 20)}
    assert found[8] == 100.0
    assert found[20] == 80_000.0


@pytest.mark.parametrize(("steps", "base"), [(8, 100.0), (20, 80_000.0)])
def test_export_and_decoder_agree_at_every_clock(reference, tmp_path, steps, base) -> None:
    folder, _ = reference
    checkpoint = dict(list_checkpoints(folder))[steps * STEP]
    decoder, recipe = load_decoder(checkpoint)
    assert recipe.model.rope_theta == 77.0
    assert decoder.config.rope_theta == decoder.rope_theta == base
    write_folder(tmp_path, decoder, recipe, load_tokenizer(checkpoint, recipe))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == base
    tokens = torch.randint(300, (2, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mine = decoder.logits(decoder(tokens))
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path)(tokens).logits
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)
        decoder.rope_theta = 77.0
        assert not torch.allclose(mine, decoder.logits(decoder(tokens)), atol=1e-3)


@pytest.mark.parametrize("step", [9, 15])
def test_killed_and_continued_across_the_change_ends_with_the_same_bits(
    moving, corpus, reference, tmp_path, step
) -> None:
    """Killed just past the knot and on the ramp: the run goes back to before either."""
    with pytest.raises(Killed):
        train(moving, corpus, tmp_path / "run", sinks=[KillAt("step", step)])
    assert train(moving, corpus, tmp_path / "run", sinks=[]).finished
    assert_same_bits(reference[0], tmp_path / "run")


def test_a_constant_timeline_is_the_models_base(recipe, corpus, tmp_path) -> None:
    own = changed(recipe, model={"rope_theta": 700.0})
    moved = changed(recipe, training={"rope_theta": 700.0})
    for name, shown in (("own", own), ("moved", moved)):
        train(shown, corpus, tmp_path / name, sinks=[], stop_after=3 * STEP)
    assert losses(tmp_path / "own") == losses(tmp_path / "moved")


def test_a_branch_takes_the_base_of_its_own_recipe(moving, corpus, reference, tmp_path) -> None:
    other = changed(moving, training={"rope_theta": 300.0})
    folder = tmp_path / "run"
    start = f"{reference[0]}@{8 * STEP}"
    train(other, corpus, folder, sinks=[], start_from=start, stop_after=9 * STEP)
    assert read_state(list_checkpoints(folder)[-1][1])["rope_theta"] == 300.0


def test_scaling_stretches_it_and_the_plot_shows_it(moving, recipe) -> None:
    half = moving.scaled(moving.training.tokens // 2).training.rope_theta
    assert half is not None
    assert [(knot.at, knot.value) for knot in half.knots] == [(k["at"] // 2, k["value"]) for k in BASES]
    panels = {panel.title: panel for panel in timeline_panels(moving)}
    assert list(panels["RoPE base"].series[0].y[[0, -1]]) == [100.0, 80_000.0]
    assert "RoPE base" not in {panel.title for panel in timeline_panels(recipe)}
