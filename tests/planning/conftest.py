"""A recipe small enough to be worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from flyweight.recipe import Recipe, recipe_from_dict


@pytest.fixture
def tiny() -> dict[str, Any]:
    """8 steps of 4 sequences of 16 tokens; sources 3:1, from token 300 on 1:1."""
    return {
        "name": "tiny",
        "model": {
            "vocab_size": 300,
            "hidden_size": 8,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 4,
            "max_position_embeddings": 64,
        },
        "tokenizer": {"vocab_size": 300},
        "sources": {name: {"kind": "builtin", "builtin": "english"} for name in ("a", "b")},
        "training": {
            "tokens": 540,
            "sequence_length": 16,
            "batch_size": 4,
            "mixture": [
                {"at": 0, "weights": {"a": 0.75, "b": 0.25}},
                {"at": 300, "weights": {"a": 0.5, "b": 0.5}},
            ],
            "learning_rate": 1e-3,
        },
        "execution": {"precision": "float32"},
    }


@pytest.fixture
def tiny_recipe(tiny: dict[str, Any]) -> Recipe:
    return recipe_from_dict(tiny)
