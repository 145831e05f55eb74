"""Text that a run writes on its way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_setup import STEP

from flyweight.base import derive_seed
from flyweight.corpus import OpenCorpus
from flyweight.events import Sampled, read_events
from flyweight.inference import generate, list_checkpoints, load_model
from flyweight.recipe import Recipe, identity_hash, recipe_from_dict
from flyweight.training import train
from flyweight.training.sinks.scalars import sample


def with_samples(recipe: Recipe, **samples: object) -> Recipe:
    values = recipe.to_dict()
    values["evaluation"] = {**values["evaluation"], "every": 10 * STEP, "samples": samples}
    return recipe_from_dict(values)


def written(run: Path) -> list[tuple[int, str]]:
    return [(event["clock"], event["prompt"]) for event in read_events(run) if event["kind"] == "sampled"]


def test_every_prompt_is_gone_on_from_at_every_validation(recipe: Recipe, corpus: OpenCorpus, tmp_path: Path):
    wanted = with_samples(recipe, prompts=["a small", ""], tokens=9, temperature=0.5)
    result = train(wanted, corpus, tmp_path / "run", sinks=[])
    clocks = [10 * STEP, 20 * STEP]
    assert written(tmp_path / "run") == [(clock, prompt) for clock in clocks for prompt in ("a small", "")]
    last = [event for event in read_events(tmp_path / "run") if event["kind"] == "sampled"][-2]
    model, seed = load_model(result.checkpoint, "cpu"), derive_seed(wanted.seed, "sample", 20 * STEP)
    again = generate(model, "a small", max_new_tokens=9, temperature=0.5, top_p=0.95, seed=seed)
    assert last["text"] == again
    assert again


def test_writing_changes_nothing_that_is_learned(recipe: Recipe, corpus: OpenCorpus, tmp_path: Path):
    silent, talkative = (with_samples(recipe, prompts=prompts) for prompts in ([], ["a", "the", "one"]))
    assert identity_hash(silent) == identity_hash(talkative) == identity_hash(recipe)
    train(silent, corpus, tmp_path / "silent", sinks=[])
    assert written(tmp_path / "silent") == []
    # A run goes on under other prompts.
    train(silent, corpus, tmp_path / "talkative", sinks=[], stop_after=11 * STEP)
    train(talkative, corpus, tmp_path / "talkative", sinks=[])
    assert written(tmp_path / "talkative") == [(20 * STEP, prompt) for prompt in ("a", "the", "one")]
    one, two = (
        load_file(list_checkpoints(tmp_path / name)[-1][1] / "model.safetensors")
        for name in ("silent", "talkative")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [("", "sample"), ("Once upon", "sample: Once upon"), ("x" * 99, "sample: " + "x" * 40)],
)
def test_trackers_keep_the_prompts_apart(prompt: str, name: str):
    assert sample(Sampled(5, prompt, " a time")) == (name, f"{prompt} a time")
