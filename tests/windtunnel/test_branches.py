"""A branch is the beginning of the longer run, then its decay; and what has no stable stage has no branches."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from windtunnel_setup import tunnel_recipe

from flyweight.base import UserError, write_json
from flyweight.corpus import open_corpus
from flyweight.curriculum import Schedule
from flyweight.events import read_events
from flyweight.recipe import Recipe, identity_hash, recipe_from_dict
from flyweight.training import train
from flyweight.windtunnel.branches import decay_start, decayed_early, stable_run, tokens_of_tree, tree
from flyweight.windtunnel.trials import OUTCOME_FILE, Outcome
from flyweight.windtunnel.workers import Job, run_jobs

STEP = 4 * 32


def changed(recipe: Recipe, **training) -> Recipe:
    data = recipe.to_dict()
    data["training"] |= training
    return recipe_from_dict(data, "test")


def test_the_decay_comes_early_and_everything_before_it_stays(texts: Path):
    recipe = changed(
        tunnel_recipe(texts),
        weight_decay=[{"at": 0, "value": 0.1}, {"at": 7000, "value": 0.0}],
        optimizer=[{"at": 0, "kind": "adamw"}, {"at": 5734, "kind": "muon"}],
    )
    old = recipe.training
    start = decay_start(recipe)
    assert start == round(0.7 * old.tokens) == 5734
    new = decayed_early(recipe, old.tokens // 2).training
    early = np.arange(0, 2867)
    late = np.arange(2868, new.tokens)
    assert (new.learning_rate.values(early) == old.learning_rate.values(early)).all()
    there = start + (late - 2867) * 2.0
    assert new.learning_rate.values(late) == pytest.approx(old.learning_rate.values(there), abs=2e-5)
    assert new.weight_decay.values(late)[-1] == 0
    assert new.weight_decay.knots[-1].at == 2867 + round((7000 - 5734) / 2)
    assert [(knot.at, knot.kind) for knot in new.optimizer] == [(0, "adamw"), (2867, "muon")]
    assert decayed_early(recipe, old.tokens).training == old


def test_a_run_that_changes_before_its_decay_is_refused(texts: Path):
    recipe = tunnel_recipe(texts)
    moving = changed(recipe, z_loss=[{"at": 0, "value": 1e-4}, {"at": 4000, "value": 0.0}])
    assert decayed_early(moving, 6000).training.z_loss.at(5000) == 0  # changed before the shorter run decays
    with pytest.raises(UserError, match=r"training\.z_loss changes between 2\.867K and 5\.734K"):
        decayed_early(moving, 4096)
    with pytest.raises(UserError, match="no stable stage"):
        decay_start(changed(recipe, learning_rate=1e-2))
    cosine = [{"at": 0, "value": 1e-2}, {"at": 8192, "value": 0, "shape": "cosine"}]
    with pytest.raises(UserError, match="no stable stage"):
        decay_start(changed(recipe, learning_rate=cosine))
    with pytest.raises(UserError, match="expected 1 to the recipe's own"):
        decayed_early(recipe, recipe.training.tokens + 1)


def test_the_stable_run_ends_with_its_last_branch(texts: Path, tmp_path: Path):
    recipe = tunnel_recipe(texts)
    one = tree(recipe, (4096, 8192), tmp_path, 2, lambda tokens: f"tokens-{tokens}" if tokens else "stable")
    assert one.stable.recipe.execution.milestones == (2867 // STEP * STEP, 5734 // STEP * STEP)
    assert Schedule.of(one.stable.recipe.training).tokens == 5734 // STEP * STEP
    assert one.branches[0].start_from == f"{tmp_path / 'stable'}@{2867 // STEP * STEP}"
    places = [2867 // STEP * STEP, 5734 // STEP * STEP]
    assert tokens_of_tree(one) == places[1] + (4096 - places[0]) + (8192 - places[1])
    with pytest.raises(UserError, match="within its first step"):
        stable_run(recipe, [STEP - 1], "stable", 1)


def test_knots_that_meet_at_the_new_decay(texts: Path):
    """What ends a ramp just where the shorter run begins to decay stays in its place, as far as a list can hold it."""
    start, half = 5734, 2867
    recipe = changed(
        tunnel_recipe(texts),
        weight_decay=[
            {"at": 0, "value": 0.2}, {"at": half, "value": 0.1, "shape": "linear"},
            {"at": start, "value": 0.1, "shape": "linear"}, {"at": 8192, "value": 0.0, "shape": "linear"},
        ],
        optimizer=[{"at": 0, "kind": "adamw"}, {"at": half, "kind": "muon"}, {"at": start, "kind": "adamw"}],
    )  # fmt: skip
    new = decayed_early(recipe, 4096).training
    assert new.weight_decay.at(half // 2) == pytest.approx(0.15, abs=1e-4)
    assert new.weight_decay.at(half) == pytest.approx(0.1)
    assert new.weight_decay.at(4096) == pytest.approx(0)
    assert [(knot.at, knot.kind) for knot in new.optimizer] == [
        (0, "adamw"),
        (half - 1, "muon"),
        (half, "adamw"),
    ]


def test_a_job_of_another_recipe_is_refused(texts: Path, shards: Path, tmp_path: Path):
    """A folder that is used again must not lend its outcomes to other values."""
    one = Job("seed-0", tunnel_recipe(texts))
    outcome = Outcome("complete", 8192, 2.0, {"text": 2.0}, {}, identity_hash(one.recipe), 1.0)
    write_json(tmp_path / "seed-0" / OUTCOME_FILE, asdict(outcome))
    assert run_jobs([one], shards, tmp_path)["seed-0"].objective == 2.0
    with pytest.raises(UserError, match="run with another recipe"):
        run_jobs([Job("seed-0", changed(one.recipe, z_loss=1e-4))], shards, tmp_path)


@pytest.mark.slow
def test_a_branch_is_the_run_that_it_stands_for(texts: Path, shards: Path, tmp_path: Path):
    """Trained in one go or as a branch: the same loss at every step."""
    recipe = tunnel_recipe(texts)
    one = tree(recipe, (4096, 8192), tmp_path, 2, lambda tokens: f"tokens-{tokens}" if tokens else "stable")
    run_jobs([one.stable], shards, tmp_path)
    outcomes = run_jobs(one.branches, shards, tmp_path, workers=2)
    for branch in one.branches:
        whole = tmp_path / f"whole-{branch.name}"
        train(branch.recipe, open_corpus(shards), whole, sinks=[])
        bits = [event for event in read_events(whole) if event["kind"] == "validated"][-1]["bits_per_byte"]
        assert outcomes[branch.name].bits_per_byte == pytest.approx(bits, rel=1e-5)
        assert outcomes[branch.name].clock == branch.recipe.training.tokens
