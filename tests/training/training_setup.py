"""A tiny corpus and recipe that train in a second or two."""

from __future__ import annotations

import json
import random
from pathlib import Path

from flyweight.recipe import Recipe, recipe_from_dict

TEXT = """the a small model learns from text that people wrote and reads one word after another"""
WORDS = TEXT.split()

STEP = 4 * 32
"""Tokens of the first steps."""
CHANGES_ON_THE_WAY = {
    "batch_size": [{"at": 0, "value": 4}, {"at": 8 * STEP, "value": 6}],
    "sequence_length": [{"at": 0, "value": 32}, {"at": 14 * STEP, "value": 48}],
    "optimizer": [{"at": 0, "kind": "adamw"}, {"at": 12 * STEP, "kind": "muon"}],
}
"""For the section on training: batch, sequence length and optimizer change."""


def write_documents(path: Path, seed: int, count: int = 300) -> None:
    rng = random.Random(seed)
    with path.open("w") as file:
        for _ in range(count):
            text = " ".join(rng.choice(WORDS) + rng.choice(["", "", ".", ","]) for _ in range(60))
            file.write(json.dumps({"text": f"{text} {rng.random()}"}) + "\n")


def make_recipe(folder: Path, **training) -> Recipe:
    """A model of about 20,000 parameters on two sources."""
    return recipe_from_dict(
        {
            "name": "tiny",
            "model": {
                "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
                "max_position_embeddings": 64, "exclusive_attention": True,
            },
            "tokenizer": {"vocab_size": 300, "sample": "100KB"},
            "sources": {
                name: {"kind": "files", "path": str(folder / f"{name}.jsonl")} for name in ("one", "two")
            },
            "corpus": {"held_out": 0.05},
            "training": {
                "tokens": 20 * 4 * 32,
                "sequence_length": 32,
                "batch_size": 4,
                "mixture": [
                    {"at": 0, "weights": {"one": 0.7, "two": 0.3}},
                    {"at": "100%", "weights": {"one": 0.4, "two": 0.6}, "shape": "linear"},
                ],
                "learning_rate": {"wsd": {"peak": 1e-2, "warmup": "10%", "decay_start": "70%"}},
                "z_loss": [{"at": 0, "value": 1e-4}, {"at": "50%", "value": 0}],
                **training,
            },
            "evaluation": {"tokens": 2000},
            "execution": {
                "device": "cpu", "precision": "float32", "threads": 1, "log_every": 1, "trackers": [],
                "micro_batch": 2,
            },
        }
    )  # fmt: skip
