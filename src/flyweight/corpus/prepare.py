"""From the recipe's sources to a corpus folder: split, tokenizer, shards, manifest.

A corpus folder is finished when its manifest is there, which is written last. Before that, every
finished piece of work is a folder of its own that appeared whole and carries a key of all that
decided it; the next attempt keeps the pieces whose keys still fit.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from flyweight.base import UserError, exclusive
from flyweight.corpus.cleaning.evaluation_sets import local_key
from flyweight.corpus.engine import Executor, InProcess, open_executor
from flyweight.corpus.manifest import FILE, configuration
from flyweight.corpus.opening import OpenCorpus, open_corpus
from flyweight.corpus.preparation import WORK, Preparation, Progress
from flyweight.corpus.reading.chat_tokens import check_chat_tokens
from flyweight.corpus.reading.source import SourceReader, open_source
from flyweight.corpus.tokenizers import TextTokenizer, adopt
from flyweight.recipe import Recipe

_MARK = ".preparing"

SMALL = 8_000_000
"""Bytes of input that are read faster in this process than new processes can start."""


def prepare(
    recipe: Recipe, folder: Path, progress: Progress | None = None, engine: Literal["local", "ray"] = "local"
) -> OpenCorpus:
    """The corpus of `recipe` in `folder`: opened if it is there, finished if it was begun, else made.

    Args:
        recipe: its tokenizer, sources, corpus section, seed and mixture decide the corpus.
        folder: a new or empty folder, or one that an earlier call made.
        progress: called with the stage and the share of it that is done.
        engine: `local`: processes of this machine, as many as execution.workers says. `ray`: tasks on a Ray
            cluster whose machines share the folder's file system. The corpus is the same.

    Raises:
        UserError: a source that is missing or too small, a file that cannot be read, a folder of
            another corpus (the differing keys named) or with other things in it, too small a vocabulary.
    """
    folder = folder.resolve()  # workers on other machines start elsewhere
    if (folder / FILE).is_file():
        if (folder / WORK).exists():  # a kill came after the manifest
            shutil.rmtree(folder / WORK, ignore_errors=True)
        corpus = open_corpus(folder)
        _check_same_corpus(corpus, recipe)
    else:
        _check_usable(folder)
        adopted = _adopted_tokenizer(recipe)
        readers = _open_sources(recipe, adopted)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: this folder cannot be made ({error.strerror}).") from None
        with exclusive(
            folder / _MARK,
            f"{folder}: another process is preparing this corpus right now; wait for it to end.",
        ):
            _sweep(folder)
            with _executor(recipe, readers, engine) as executor:
                Preparation(recipe, folder, readers, executor, progress or _silent, adopted).run()
            _sweep(folder)
            shutil.rmtree(folder / WORK, ignore_errors=True)
        corpus = open_corpus(folder)
    _check_fits(corpus, recipe)
    return corpus


def train_recipe_tokenizer(recipe: Recipe, progress: Progress | None = None) -> TextTokenizer:
    """The tokenizer that `prepare` would give the corpus of `recipe`, without the corpus.

    Raises:
        UserError: as `prepare`.
    """
    with tempfile.TemporaryDirectory() as folder:
        adopted = _adopted_tokenizer(recipe)
        readers = _open_sources(recipe, adopted)
        with _executor(recipe, readers, "local") as executor:
            return Preparation(
                recipe, Path(folder), readers, executor, progress or _silent, adopted
            ).tokenizer


def _open_sources(recipe: Recipe, adopted: TextTokenizer | None) -> dict[str, SourceReader]:
    check_chat_tokens(recipe)
    special = adopted.special_tokens if adopted else ()
    return {name: open_source(name, source, recipe, special) for name, source in recipe.sources.items()}


def _adopted_tokenizer(recipe: Recipe) -> TextTokenizer | None:
    settings = recipe.tokenizer
    if settings.kind != "existing":
        return None
    if settings.path is None:
        origin = f" It comes from {settings.origin}." if settings.origin else ""
        raise UserError(
            f"tokenizer.path: the recipe adopts an existing tokenizer; set tokenizer.path to its "
            f"tokenizer.json or folder.{origin}"
        )
    tokenizer = adopt(Path(settings.path).expanduser(), settings.end_of_text)
    if tokenizer.vocab_size > recipe.model.vocab_size:
        raise UserError(
            f"{settings.path}: this tokenizer has {tokenizer.vocab_size:,} entries, more than "
            f"model.vocab_size ({recipe.model.vocab_size:,})."
        )
    return tokenizer


def _executor(recipe: Recipe, readers: dict[str, SourceReader], engine: Literal["local", "ray"]) -> Executor:
    workers = recipe.execution.workers
    if engine == "local" and workers == "auto":
        parts = [part for reader in readers.values() for part in reader.parts]
        if sum(part.size for part in parts) < SMALL:
            return InProcess()
    return open_executor(engine, workers)


def _silent(stage: str, share: float) -> None:
    pass


def _check_same_corpus(corpus: OpenCorpus, recipe: Recipe) -> None:
    manifest = corpus.manifest
    old, new = dict(manifest.configuration), configuration(recipe)
    for name, source in recipe.sources.items():
        # The data may be gone once it is prepared; where it is there, it must be the same. What a branch of the
        # hub points to moves on, which is no change of the recipe.
        with contextlib.suppress(UserError, OSError):
            if name in manifest.sources and (source.kind != "hub" or source.path):
                key = f"sources.{name}.path"
                new[key] = open_source(name, source, recipe).inputs
                old[key] = manifest.sources[name].inputs
    if recipe.tokenizer.kind == "existing" and recipe.tokenizer.path:
        with contextlib.suppress(UserError):
            found = adopt(Path(recipe.tokenizer.path).expanduser(), recipe.tokenizer.end_of_text)
            new["tokenizer.path"] = found.fingerprint
            old["tokenizer.path"] = corpus.tokenizer.fingerprint
    with contextlib.suppress(UserError, OSError):
        key = local_key(recipe.corpus.decontaminate)
        if recipe.corpus.decontaminate and key is not None:
            new["corpus.decontaminate"], old["corpus.decontaminate"] = key, manifest.evaluation_sets
    differing = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    if differing:
        shown = "; ".join(
            f"{key}: {old.get(key, '(absent)')} -> {new.get(key, '(absent)')}" for key in differing
        )
        raise UserError(
            f"{corpus.folder}: this corpus was prepared for another configuration ({shown}); prepare into "
            f"another folder, or undo the change."
        )


def _check_usable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: this is a file; expected a folder for the corpus.")
    if folder.is_dir() and not (folder / _MARK).exists() and any(folder.iterdir()):
        raise UserError(
            f"{folder}: this folder holds other things and no corpus; give a new or an empty folder."
        )
    for place in (folder / "sources", folder / WORK):
        if place.is_symlink():  # what is no longer needed in there is deleted
            raise UserError(
                f"{place}: this is a link to another place; remove it, or link the whole corpus folder."
            )


def _check_fits(corpus: OpenCorpus, recipe: Recipe) -> None:
    entries = corpus.tokenizer.vocab_size
    if entries > recipe.model.vocab_size:
        raise UserError(
            f"model.vocab_size: {recipe.model.vocab_size:,} is less than the {entries:,} entries of the "
            f"tokenizer."
        )
    longest = int(recipe.training.sequence_length.maximum)
    for name, stream in corpus.train.items():
        if stream.tokens <= longest:
            raise UserError(
                f"source {name!r}: too little text: it has {stream.tokens:,} training tokens, less than one "
                f"sequence of {longest:,} and its last target; add text, or take the source out."
            )


def _sweep(folder: Path) -> None:
    """Remove what an attempt that was killed left half-written."""
    for place in (folder, folder / "sources"):
        for left in (*place.glob(".*.tmp"), *(folder / WORK).rglob(".*.tmp")):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
