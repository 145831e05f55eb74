"""What a prepared corpus is made of: the one file that says that it is finished."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from flyweight.base import UserError, read_json, write_json
from flyweight.corpus.documents import BadRecords
from flyweight.corpus.shards import Shard
from flyweight.recipe import Recipe, identity

FORMAT = 2
FILE = "manifest.json"

WEIGHT_DECIMALS = 4
"""Mixture weights are compared to this many decimals: scaled copies of a recipe round their knots."""


@dataclass(frozen=True)
class Split:
    """One side of the held-out split of one source."""

    documents: int
    tokens: int
    """With an end_of_text after every document."""
    bytes: int
    """Of the documents' text in UTF-8."""
    shards: list[Shard]


@dataclass(frozen=True)
class Removed:
    """Documents that were left out for one reason."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class SourceManifest:
    """One prepared source."""

    key: str
    """A hash of everything that decides its shards."""
    kind: str
    inputs: str
    """The files that were read: number, bytes, hash of names and sizes."""
    licence: str | None
    train: Split
    held_out: Split
    removed: dict[str, Removed]
    """By reason: contaminated, exact_duplicate, near_duplicate; `unused`: held out by the source
    itself, but beyond corpus.held_out_limit."""
    filtered: int
    """Records that the source's filter left out."""
    bad_records: dict[str, BadRecords]
    """Skipped records by reason, with the first places."""
    versions: dict[str, str] = field(default_factory=dict)
    """Packages that a builtin source was read from."""


@dataclass(frozen=True)
class TokenizerManifest:
    """The tokenizer of a corpus."""

    entries: int
    end_of_text: str
    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """A finished corpus."""

    format: int
    key: str
    """A hash of `configuration`."""
    configuration: dict[str, Any]
    """The recipe's keys that decide the corpus, and the mixture weights that the tokenizer was trained by."""
    tokenizer: TokenizerManifest
    sources: dict[str, SourceManifest]
    fingerprint: str
    """A hash over the tokenizer and every shard's checksum."""
    evaluation_sets: str | None = None
    """A hash of the evaluation sets that were looked for: settings and bytes."""
    notes: list[str] = field(default_factory=list)
    """What was found on the way, for people."""


def average_weights(recipe: Recipe) -> dict[str, float]:
    """Each source's share of the run's tokens, from the mixture's timelines."""
    middles = (np.arange(10_000) + 0.5) / 10_000 * recipe.training.tokens
    return {
        name: round(float(timeline.values(middles).mean()), WEIGHT_DECIMALS)
        for name, timeline in recipe.training.mixture_timelines().items()
    }


def configuration(recipe: Recipe) -> dict[str, Any]:
    """The keys that decide the corpus of `recipe`, with dots, and their values."""
    kept = {
        key: value
        for key, value in identity(recipe).items()
        if key == "seed" or key.startswith(("tokenizer.", "sources.", "corpus."))
    }
    kept.pop("tokenizer.origin", None)
    if recipe.tokenizer.kind != "existing":
        kept |= {f"training.mixture.{name}": weight for name, weight in average_weights(recipe).items()}
    else:
        kept.pop("tokenizer.sample", None)
    if recipe.tokenizer.kind != "bpe":
        kept.pop("tokenizer.pattern", None)
    return kept


def digest(value: Any) -> str:
    """A short hash of plain values."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()


def fingerprint(tokenizer: str, sources: dict[str, SourceManifest]) -> str:
    """A hash over a tokenizer's fingerprint and every shard's checksum."""
    checksums = {
        name: [
            [file.checksum for shard in split.shards for file in (shard.tokens, shard.documents)]
            for split in (source.train, source.held_out)
        ]
        for name, source in sources.items()
    }
    return digest([tokenizer, checksums])


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; from then on the folder is a finished corpus."""
    write_json(folder / FILE, TypeAdapter(Manifest).dump_python(manifest, mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a finished corpus.

    Raises:
        UserError: no corpus there, an unfinished one, one of a newer format, not a manifest.
    """
    path = folder / FILE
    if not path.is_file():
        what = "an unfinished corpus; prepare it again" if (folder / "sources").is_dir() else "no corpus"
        raise UserError(f"{folder}: there is {what} ({FILE} is missing).")
    data = read_json(path, "corpus manifest")
    version = data.get("format") if isinstance(data, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UserError(
            f"{path}: this corpus has format {version}, this Flyweight reads up to {FORMAT}; a newer "
            f"Flyweight is needed."
        )
    return _validated(Manifest, data, path)


def write_source(folder: Path, manifest: SourceManifest) -> None:
    """Write a finished source's part, for the next attempt to find."""
    write_json(folder / "source.json", TypeAdapter(SourceManifest).dump_python(manifest, mode="json"))


def read_source(folder: Path) -> SourceManifest | None:
    """A finished source's part, or None."""
    path = folder / "source.json"
    if not path.is_file():
        return None
    try:
        return _validated(SourceManifest, read_json(path), path)
    except UserError:
        return None  # of another version of Flyweight: it is made again


def _validated(kind: type, data: Any, path: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "the file"
        raise UserError(f"{path}: not a corpus manifest of Flyweight ({place}: {problem['msg']}).") from None
