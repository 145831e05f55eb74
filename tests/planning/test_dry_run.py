"""Dry runs: every stage is really run, what is said follows from it, and nothing is left behind."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flyweight.base import UserError
from flyweight.corpus import prepare
from flyweight.curriculum import Schedule
from flyweight.planning import dry_run, render_dry_run
from flyweight.planning.trial import stages
from flyweight.recipe import load_recipe, packaged_recipes, recipe_from_dict
from flyweight.training.loop import Trainer


@pytest.fixture
def staged(tiny):
    """Batch, length, optimizer and mixture change; two knots fall together, one comes after the end."""
    tiny["training"] |= {
        "tokens": 4_000,
        "batch_size": [{"at": 0, "value": 4}, {"at": 1_000, "value": 6}],
        "sequence_length": [{"at": 0, "value": 16}, {"at": 2_000, "value": 24}],
        "optimizer": [
            {"at": 0, "kind": "adamw"},
            {"at": 2_000, "kind": "muon"},
            {"at": 3_000, "kind": "adamw"},
        ],
    }
    tiny["execution"] |= {"device": "cpu", "threads": 1, "micro_batch": 2, "checkpoint_every": 1_000}
    return recipe_from_dict(tiny)


def test_stages_are_all_steps_of_the_run_and_change_where_something_changes(staged):
    schedule = Schedule.of(staged.training)
    parts = stages(staged, schedule)
    assert sum(part.steps for part in parts) == schedule.steps
    assert sum(part.tokens for part in parts) == schedule.tokens
    found = [(p.step.batch_size, p.step.sequence_length, p.optimizer) for p in parts]
    assert found == [
        (4, 16, "adamw"), (4, 16, "adamw"), (6, 16, "adamw"), (6, 24, "muon"), (6, 24, "adamw"),
    ]  # fmt: skip
    assert [part.step.clock >= 300 for part in parts] == [False, True, True, True, True]  # the mixture's knot


def test_a_dry_run_runs_every_stage_and_says_what_follows(staged, tmp_path, monkeypatch):
    run: list[tuple[int, int, int, str]] = []
    original = Trainer.gradients

    def watched(self, batch, step, targets):
        run.append((step.step, *batch.tokens.shape, self.optimizer.kind))
        return original(self, batch, step, targets)

    monkeypatch.setattr(Trainer, "gradients", watched)
    result = dry_run(staged, tmp_path / "none", tmp_path)
    parts = stages(staged, Schedule.of(staged.training))
    expected = [(p.step.step, 2, p.step.sequence_length + 1, p.optimizer) for p in parts]
    assert list(dict.fromkeys(run)) == expected
    assert result.random_tokens
    assert all(0 < trial.pass_seconds < 60 and trial.loss < 20 for trial in result.stages)
    assert result.training_seconds == pytest.approx(
        sum(t.steps * (t.passes * t.pass_seconds + t.update_seconds) for t in result.stages)
        + result.saves * result.save_seconds
    )
    assert result.saves == 4
    assert result.checkpoint_bytes == pytest.approx(result.plan.disk.checkpoint_bytes, rel=0.9)
    assert result.export_bytes >= result.plan.disk.export
    assert list(tmp_path.iterdir()) == []  # nothing is left
    output = io.StringIO()
    Console(file=output, width=90).print(render_dry_run(result))
    text = output.getvalue()
    for words in ("drawn at random", "6 x 24", "muon", "measured", "planned", "LlamaForCausalLM"):
        assert words in text


def test_a_source_that_is_too_short_is_one_sentence(staged, tmp_path):
    values = staged.to_dict()
    lines = ["{" + f'"text": "{"few words " * 100}{number}"' + "}\n" for number in range(40)]
    (tmp_path / "texts.jsonl").write_text("".join(lines))
    values["sources"] = {
        name: {"kind": "files", "path": str(tmp_path / "texts.jsonl")} for name in ("a", "b")
    }
    values["corpus"]["held_out"] = 0.2
    values["corpus"]["exact_duplicates"] = False
    values["model"]["max_position_embeddings"] = 100_000
    values["training"]["tokens"] = 10_000_000
    values["tokenizer"]["vocab_size"] = values["model"]["vocab_size"] = 258
    prepare(recipe_from_dict(values), tmp_path / "corpus")
    values["training"]["sequence_length"] = 90_000
    with pytest.raises(UserError, match="less than one sequence of 90,000"):
        dry_run(recipe_from_dict(values), tmp_path / "corpus", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"texts.jsonl", "corpus"}


def test_a_place_that_does_not_exist_is_one_sentence(staged, tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        dry_run(staged, tmp_path / "none", tmp_path / "nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_recipes())
def test_every_recipe_runs_every_stage_of_its_own(name, tmp_path):
    small = load_recipe(name).scaled("2M", factor=16)
    values = small.to_dict()
    # float32 is the precision that every CPU has; layers in FP8 stand beside bfloat16.
    precision = "float32" if small.execution.fp8.scaling == "off" else "bfloat16"
    values["execution"] |= {"device": "cpu", "threads": 1, "precision": precision, "micro_batch": 1}
    recipe = recipe_from_dict(values)
    result = dry_run(recipe, tmp_path / "none", tmp_path)
    schedule = Schedule.of(recipe.training)
    kinds = {knot.kind for knot in recipe.training.optimizer}
    shapes = {(segment.batch_size, segment.sequence_length) for segment in schedule.segments}
    assert {trial.optimizer for trial in result.stages} == kinds
    assert {(trial.batch_size, trial.sequence_length) for trial in result.stages} == shapes
    assert sum(trial.steps for trial in result.stages) == schedule.steps
    wanted = {float(knot.value) for knot in load_recipe(name).training.batch_size.knots}
    assert len(schedule.segments) >= len(wanted)  # no stage was scaled away
