"""The memory of what a run may keep beside the plain step: masks of documents, a copy of the checkpoint."""

from __future__ import annotations

import pytest
from allocated import peak_on_cpu, recipe_of

from flyweight.planning.fitting import planned_way
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.training.activations import Carried, document_bytes
from flyweight.training.memory import step_memory

DEEP = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 12, "vocab_size": 300,
    "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16,
}  # fmt: skip


def changed(recipe: Recipe, section: str, **values) -> Recipe:
    data = recipe.to_dict()
    data[section] |= values
    return recipe_from_dict(data)


@pytest.mark.parametrize(
    ("precision", "how"),
    [
        ("float32", {}),
        ("bfloat16", {"attention": "blocks"}),
        pytest.param("float32", {"compiled": True}, marks=pytest.mark.slow),
        pytest.param("bfloat16", {"compiled": True}, marks=pytest.mark.slow),
    ],
)
def test_the_masks_of_documents_count(precision, how):
    """Many layers of few numbers on long sequences: a mask of its own for every layer would double the memory."""
    recipe = changed(recipe_of(512, 2, "adamw", **DEEP), "training", document_masking=True)
    carried = Carried(precision, "cpu", **how)
    measured = peak_on_cpu(recipe, carried, 2, 512, 1)
    predicted = step_memory(recipe, carried, 2, 512, 1).total
    assert abs(predicted / measured - 1) < 0.05, (predicted, measured)


def test_only_torchs_attention_on_gpus_has_a_mask_for_every_layer():
    recipe = recipe_of(512, 2, "adamw", **DEEP)
    pairs, layers = 2 * 512 * 512, DEEP["num_hidden_layers"]

    def masks(**how) -> int:
        carried, rotary = Carried("bfloat16", **how), 4 * DEEP["head_dim"] * 512
        return document_bytes(recipe.model, 2, 512, carried) - rotary

    assert masks(attention="flex") == masks(attention="varlen") == 0
    assert masks(attention="blocks", device_type="cpu") == 2 * pairs
    assert masks(device_type="cpu") == 4 * pairs
    assert masks() == (1 + 2 * layers) * pairs
    assert masks(checkpointed=True) == (1 + 2) * pairs
    apart = changed(recipe, "training", document_masking=True)
    assert planned_way(apart).attention == "flex"  # what a GPU that is not at hand will have


@pytest.mark.parametrize(
    "execution",
    [
        {"ema_half_life": 1000},
        {"checkpoint_every": 1000, "async_checkpoints": False},
        {"checkpoint_every": 1000},
        {"checkpoint_every": 1000, "ema_half_life": 1000},
    ],
)
def test_an_average_and_a_checkpoint_that_is_being_written_count_on_a_cpu(execution):
    recipe = changed(recipe_of(32, 2, hidden_size=64, num_hidden_layers=2), "execution", **execution)
    carried = Carried("float32", "cpu")
    measured, predicted = peak_on_cpu(recipe, carried, 2, 32, 1), step_memory(recipe, carried, 2, 32, 1)
    assert abs(predicted.total / measured - 1) < 0.05, (predicted, measured)


def test_a_checkpoint_is_copied_into_the_memory_of_the_host():
    plain = recipe_of(16, 4)
    every, milestone = (
        changed(plain, "execution", **how) for how in ({"checkpoint_every": 64}, {"milestones": [64]})
    )

    def copy(recipe: Recipe, **how) -> int:
        return step_memory(recipe, Carried("bfloat16", **how), 1, 16, 4).checkpoint_copy

    alone = step_memory(every, Carried("bfloat16", "cpu"), 1, 16, 4)
    assert alone.checkpoint_copy == alone.weights + alone.optimizer > 0
    assert copy(milestone, device_type="cpu") == alone.checkpoint_copy
    assert copy(every, device_type="cpu", processes=4) == pytest.approx(alone.checkpoint_copy / 4, abs=1)
    assert copy(plain, device_type="cpu") == copy(every) == 0
