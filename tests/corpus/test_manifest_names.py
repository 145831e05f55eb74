"""A corpus of somebody else names nothing outside of its folder, and preparing one deletes nothing elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.corpus import open_corpus, prepare
from flyweight.corpus.verification import verify
from flyweight.recipe import Recipe


@pytest.fixture
def corpus(prose_recipe: Recipe, tmp_path: Path) -> Path:
    prepare(prose_recipe, tmp_path / "corpus")
    return tmp_path / "corpus"


def change(corpus: Path, function: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the manifest; `function` changes the training shard's tokens."""
    manifest = json.loads((corpus / "manifest.json").read_text())
    function(manifest["sources"]["prose"]["train"]["shards"][0]["tokens"])
    (corpus / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "name", ["../other/x.tokens", "/etc/passwd", "sources/../../x", "", "sources/prose/\0", "."]
)
def test_a_shard_outside_of_the_folder_is_refused(corpus: Path, name: str) -> None:
    change(corpus, lambda shard: shard.update(name=name))
    for read in (open_corpus, verify):
        with pytest.raises(UserError, match="leads out of the corpus folder"):
            read(corpus)


def test_a_shard_of_another_corpus_cannot_be_named(
    corpus: Path, tmp_path: Path, prose_recipe: Recipe
) -> None:
    other = tmp_path / "other"
    prepare(prose_recipe, other)
    change(corpus, lambda shard: shard.update(name=f"../other/{shard['name']}"))
    with pytest.raises(UserError, match="leads out of the corpus folder"):
        open_corpus(corpus)
    absolute = json.loads((other / "manifest.json").read_text())["sources"]["prose"]["train"]["shards"][0]
    change(corpus, lambda shard: shard.update(name=str(other / absolute["tokens"]["name"])))
    with pytest.raises(UserError, match="leads out of the corpus folder"):
        open_corpus(corpus)


@pytest.mark.parametrize("odd", [{"item_bytes": 3}, {"item_bytes": 0}, {"items": -1}])
def test_items_that_are_none_are_one_sentence(corpus: Path, odd: dict[str, int]) -> None:
    change(corpus, lambda shard: shard.update(odd))
    with pytest.raises(UserError, match="are no shard"):
        open_corpus(corpus)


def test_a_link_in_place_of_a_shard_shows_nothing_that_is_none(corpus: Path, tmp_path: Path) -> None:
    """A link to a disk elsewhere is the user's own business; what lies behind it must be the very shard."""
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"a secret that must not be trained on " * 1000)
    (file,) = (corpus / "sources" / "prose").glob("train-*.tokens")
    kept = tmp_path / "kept.tokens"
    file.rename(kept)
    file.symlink_to(secret)
    with pytest.raises(UserError, match="not a shard of Flyweight"):
        open_corpus(corpus)
    file.unlink()
    file.symlink_to(kept)
    verify(corpus)


@pytest.mark.parametrize("name", ["sources", ".work"])
def test_preparing_deletes_nothing_through_a_link(
    prose_recipe: Recipe, corpus: Path, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "documents"
    (elsewhere / "thesis").mkdir(parents=True)
    (elsewhere / "thesis" / "chapter.txt").write_text("years of work")
    unfinished = tmp_path / "unfinished"
    prepare(prose_recipe, unfinished)
    (unfinished / "manifest.json").unlink()
    if (unfinished / name).exists():
        (unfinished / name).rename(tmp_path / "before")
    (unfinished / name).symlink_to(elsewhere)
    with pytest.raises(UserError, match="this is a link to another place"):
        prepare(prose_recipe, unfinished)
    assert (elsewhere / "thesis" / "chapter.txt").read_text() == "years of work"
