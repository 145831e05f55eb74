from __future__ import annotations

import copy
from typing import Any

import pytest

SMALL: dict[str, Any] = {
    "name": "small",
    "model": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 128,
    },
    "tokenizer": {"vocab_size": 512},
    "sources": {
        "prose": {"kind": "builtin", "builtin": "english"},
        "code": {"kind": "builtin", "builtin": "python"},
    },
    "training": {
        "tokens": 1_000_000,
        "sequence_length": 128,
        "batch_size": 8,
        "mixture": [{"at": 0, "weights": {"prose": 0.75, "code": 0.25}}],
        "learning_rate": {"wsd": {"peak": 1e-3, "warmup": 10_000, "decay_start": "80%"}},
    },
}


@pytest.fixture
def small() -> dict[str, Any]:
    """A valid recipe as plain values, free to be changed."""
    return copy.deepcopy(SMALL)
