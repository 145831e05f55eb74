"""The first stage: one part of a source becomes chunks of documents with what is known of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from flyweight.base import derive_seed, read_json, write_json
from flyweight.corpus.cleaning.contamination import EvaluationIndex
from flyweight.corpus.cleaning.near import band_keys
from flyweight.corpus.cleaning.words import hash_words
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.engine.jobs import Report, finished, finished_folder
from flyweight.corpus.held_out import split_hash
from flyweight.corpus.reading.source import Part, SourceReader
from flyweight.corpus.stages.chunks import FACTS, Chunk, ChunkWriter

BATCH_BYTES = 1_000_000
"""Text that is looked at at once."""

PART_FILE = "part.json"

_ALL = (1 << 64) - 1
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class ReadPart:
    """A finished part."""

    key: str
    """A hash of the code and the settings that decided it."""
    stamp: str
    """Names, sizes and times of its input."""
    content: str
    """A hash of its input's bytes."""
    chunks: list[Chunk]
    log: ReadLog

    @property
    def bytes(self) -> int:
        """Bytes of text in its documents."""
        return sum(chunk.bytes for chunk in self.chunks)


@dataclass(frozen=True)
class ReadSettings:
    """What the reading of every part depends on beside its source."""

    seed: int
    near: bool
    """Whether MinHash band keys are computed."""
    index: str | None
    """Folder of the evaluation sets' 13-grams."""


def load_part(folder: Path, key: str, part: Part) -> ReadPart | None:
    """The part in `folder`, if it was read by the same code and settings from the same input.

    A stamp that differs (a copied file has another time) is no reason to read again while the input's
    bytes are the same.
    """
    if not finished(folder, key):
        return None
    found = TypeAdapter(ReadPart).validate_python(read_json(folder / PART_FILE))
    if any(chunk.folder != str(folder) for chunk in found.chunks):
        return None  # the work was moved here: these are other chunks, or none
    return found if found.stamp == part.stamp or found.content == part.content() else None


def read_part(
    reader: SourceReader,
    part: Part,
    settings: ReadSettings,
    key: str,
    folder: str,
    scratch: str,
    report: Report,
) -> ReadPart:
    """Read one part into chunks in `folder`, which appears whole.

    Raises:
        UserError: an input that cannot be read at all.
    """
    place = Path(folder)
    log = ReadLog()
    index = EvaluationIndex.load(Path(settings.index)) if settings.index else None
    with finished_folder(place, key) as temporary:
        with ChunkWriter(temporary, place, key) as writer:
            for batch in _batches(reader.documents(part, log, Path(scratch))):
                _write(batch, settings, index, writer)
                report(log.fraction)
        result = ReadPart(key, part.stamp, part.content(), writer.chunks, log)
        write_json(temporary / PART_FILE, TypeAdapter(ReadPart).dump_python(result, mode="json"))
    return result


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(
    batch: list[Document], settings: ReadSettings, index: EvaluationIndex | None, writer: ChunkWriter
) -> None:
    texts = [document.utf8 for document in batch]
    # SHA-256, since processors compute it in hardware; 128 bits of it are enough for any corpus.
    digests = [hashlib.sha256(text).digest()[:16] for text in texts]
    exact = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
    facts = np.empty(len(batch), FACTS)
    facts["size"] = [len(text) for text in texts]
    facts["split"] = [
        _split(document, digest.hex(), settings.seed) for document, digest in zip(batch, digests, strict=True)
    ]
    secret = np.uint64(derive_seed(settings.seed, "tokenizer sample"))
    facts["draw"] = _scrambled(exact[:, 0] ^ secret)
    facts["contaminated"] = -1
    near = None
    if index is not None or settings.near:
        words = hash_words(texts)
        if index is not None:
            facts["contaminated"] = index.find(words)
        if settings.near:
            near = band_keys(words)
    writer.write(texts, [document.marks for document in batch], facts, exact, near)


def _split(document: Document, text_key: str, seed: int) -> int:
    if document.held_out is not None:
        return 0 if document.held_out else _ALL
    return split_hash(seed, text_key if document.key is None else document.key)


def _scrambled(numbers: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit numbers that spreads every bit over all others (SplitMix64's last step)."""
    mixed = numbers + _MIX
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
