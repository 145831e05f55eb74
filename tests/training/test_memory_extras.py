"""The memory of what a run may keep beside the plain step: masks of documents, a copy of the checkpoint."""

from __future__ import annotations

import pytest
from allocated import peak_on_cpu, recipe_of

from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.training.activations import Carried
from flyweight.training.memory import step_memory

DEEP = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 12, "vocab_size": 300,
    "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16,
}  # fmt: skip


def changed(recipe: Recipe, section: str, **values) -> Recipe:
    data = recipe.to_dict()
    data[section] |= values
    return recipe_from_dict(data)


@pytest.mark.parametrize(("precision", "attention"), [("float32", "sdpa"), ("bfloat16", "blocks")])
def test_the_masks_of_documents_count(precision, attention):
    """Many layers of few numbers on long sequences: a mask of its own for every layer would double the memory."""
    recipe = changed(recipe_of(512, 2, "adamw", **DEEP), "training", document_masking=True)
    carried = Carried(precision, "cpu", attention=attention)
    measured = peak_on_cpu(recipe, carried, 2, 512, 1)
    predicted = step_memory(recipe, carried, 2, 512, 1).total
    assert abs(predicted / measured - 1) < 0.05, (predicted, measured)
