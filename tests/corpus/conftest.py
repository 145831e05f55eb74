from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyweight.recipe import Recipe, recipe_from_dict

TEXT = (
    "the of a river stone walks under bright morning light and old men speak while children run past "
    "houses where bread is baked for 12 or 30 people every day it's don't we'll"
)
WORDS = TEXT.split()


def prose(seed: int, words: int = 120) -> str:
    rng = random.Random(seed)
    return f"Text number {seed}. " + " ".join(rng.choice(WORDS) for _ in range(words)) + "."


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def recipe_of(sources: dict[str, Any], **changes: Any) -> Recipe:
    """A small recipe over `sources`; `changes` replace whole sections' keys."""
    values: dict[str, Any] = {
        "name": "small",
        "model": {
            "vocab_size": 400,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": 64,
        },
        "tokenizer": {"vocab_size": 300, "sample": 50_000},
        "corpus": {"held_out": 0.1},
        "sources": sources,
        "training": {
            "tokens": 10_000,
            "sequence_length": 32,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "mixture": [{"at": 0, "weights": {name: 1 / len(sources) for name in sources}}],
        },
    }
    for section, keys in changes.items():
        values[section] = {**values.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return recipe_from_dict(values)


@pytest.fixture
def prose_file(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "data" / "prose.jsonl", [prose(seed) for seed in range(60)])


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    return recipe_of


@pytest.fixture
def prose_recipe(prose_file: Path) -> Recipe:
    return recipe_of({"prose": {"kind": "files", "path": str(prose_file)}})


@pytest.fixture
def make_prose() -> Callable[..., str]:
    return prose


@pytest.fixture
def make_jsonl() -> Callable[[Path, list[str]], Path]:
    return write_jsonl
