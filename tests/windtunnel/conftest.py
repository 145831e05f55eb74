"""A corpus, prepared once."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from windtunnel_setup import WORDS, tunnel_recipe

from flyweight.corpus import prepare


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    rng = random.Random(0)
    with (folder / "text.jsonl").open("w") as file:
        for _ in range(200):
            words = [rng.choice(WORDS) for _ in range(40)]
            file.write(json.dumps({"text": " ".join([*words, *words[:20], str(rng.random())])}) + "\n")
    return folder


@pytest.fixture(scope="session")
def shards(texts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "corpus"
    prepare(tunnel_recipe(texts), folder)
    return folder
