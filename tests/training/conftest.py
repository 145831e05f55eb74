"""A tiny corpus, prepared once."""

from __future__ import annotations

from pathlib import Path

import pytest
from training_setup import make_recipe, write_documents

from flyweight.corpus import OpenCorpus, prepare
from flyweight.recipe import Recipe


@pytest.fixture(scope="session")
def texts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for seed, name in enumerate(("one", "two")):
        write_documents(folder / f"{name}.jsonl", seed)
    return folder


@pytest.fixture(scope="session")
def recipe(texts) -> Recipe:
    return make_recipe(texts)


@pytest.fixture(scope="session")
def corpus(recipe, tmp_path_factory) -> OpenCorpus:
    return prepare(recipe, tmp_path_factory.mktemp("shards") / "corpus")
