"""A recipe with a tunnel, on a text that is written here, and its corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flyweight.recipe import Recipe, recipe_from_dict

TEXT = """a wind tunnel shows on a small wing what a large one will do in the air over the sea"""
WORDS = TEXT.split()


def tunnel_recipe(folder: Path, **tunnel: Any) -> Recipe:
    """A model of about 20,000 parameters in µP, whose proxy is half as wide."""
    return recipe_from_dict(
        {
            "name": "wing",
            "model": {
                "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64,
            },
            "parametrization": {"kind": "mup", "init_std": 0.1, "dim_model_base": 32},
            "tokenizer": {"vocab_size": 300},
            "sources": {"text": {"kind": "files", "path": str(folder / "text.jsonl")}},
            "corpus": {"held_out": 0.1},
            "training": {
                "tokens": 64 * 4 * 32, "sequence_length": 32, "batch_size": 4,
                "mixture": [{"at": 0, "weights": {"text": 1}}],
                "learning_rate": {"wsd": {"peak": 1e-2, "warmup": "10%", "decay_start": "70%"}},
            },
            "evaluation": {"tokens": 2000},
            "execution": {"device": "cpu", "precision": "float32", "trackers": [], "micro_batch": 4},
            "tunnel": {
                "proxy": {"hidden_size": 32, "tokens": 24 * 4 * 32, "batch_size": 4},
                "space": {
                    "training.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
                    "parametrization.scale_emb": {"low": 1, "high": 8, "step": 1},
                },
                "trials": 6, "startup_trials": 3, "confirm": 2, "seeds": 2, "rungs": 2,
                **tunnel,
            },
        }
    )  # fmt: skip
