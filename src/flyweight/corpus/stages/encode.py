"""The last stages: a chunk's surviving documents become tokens, and a source's tokens become shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flyweight.base import atomic_folder
from flyweight.corpus.engine.jobs import Report, finished, finished_folder
from flyweight.corpus.manifest import SourceManifest, Split, write_source
from flyweight.corpus.shards import ShardWriter, token_dtype
from flyweight.corpus.stages.chunks import Chunk
from flyweight.corpus.stages.fates import Fate, load_fates
from flyweight.corpus.tokenizers import TextTokenizer
from flyweight.corpus.tokenizers.encoding import Encoder, Library

SIDES = {"train": Fate.TRAIN, "held_out": Fate.HELD_OUT}

BATCH_BYTES = 8_000_000
"""Text that goes to the encoder at once."""

_UNLIMITED = 1 << 62


@dataclass(frozen=True)
class EncodeSettings:
    """What the encoding of every chunk depends on beside its documents."""

    tokenizer: str
    """Folder of the tokenizer."""
    end_of_text: str
    encoder: Library
    """`gigatoken` or `tokenizers`: both give the same ids."""


_encoders: dict[tuple[EncodeSettings, str], Encoder] = {}
"""Of this process: a tokenizer takes a second to build, and a worker encodes many chunks."""


def _encoder(settings: EncodeSettings, key: str) -> Encoder:
    if (settings, key) not in _encoders:
        _encoders.clear()
        tokenizer = TextTokenizer.load(Path(settings.tokenizer), settings.end_of_text)
        _encoders[settings, key] = Encoder(tokenizer, settings.encoder)
    return _encoders[settings, key]


def encode_chunk(
    chunk: Chunk,
    number: int,
    fates: str,
    settings: EncodeSettings,
    tokenizer: str,
    key: str,
    folder: str,
    report: Report,
) -> str:
    """Encode the live documents of one chunk into `folder`, which appears whole.

    Each side becomes SIDE.tokens.npy, the documents' tokens with an end_of_text after each, and
    SIDE.documents.npy, (documents, 2) int64: tokens and bytes of each.

    Args:
        chunk: its documents.
        number: its place in the corpus.
        fates: folder of the fates.
        settings: how to encode.
        tokenizer: the tokenizer's fingerprint.
        key: of the result.
        folder: of the result.
        report: takes the share that is done.
    """
    place = Path(folder)
    if finished(place, key):
        return folder
    chunk.check()
    encoder = _encoder(settings, tokenizer)
    fate = np.array(load_fates(Path(fates), number))
    sizes = chunk.facts()["size"].astype(np.int64)
    dtype = token_dtype(encoder.vocab_size)
    tokens: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
    documents: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
    row = 0
    for texts, marks in chunk.texts(BATCH_BYTES):
        here = fate[row : row + len(texts)]
        for side, wanted in SIDES.items():
            rows = np.flatnonzero(here == wanted)
            if not len(rows):
                continue
            ids, lengths = encoder.encode([texts[row] for row in rows], [marks[row] for row in rows])
            tokens[side].append(ids)
            documents[side].append(np.stack([lengths, sizes[row + rows]], axis=1))
        row += len(texts)
        report(row / len(fate))
    with finished_folder(place, key) as temporary:
        for side in SIDES:
            np.save(temporary / f"{side}.tokens.npy", np.concatenate([np.empty(0, dtype), *tokens[side]]))
            table = np.concatenate([np.empty((0, 2), np.int64), *documents[side]])
            np.save(temporary / f"{side}.documents.npy", table)
    return folder


def assemble_source(
    folders: Sequence[str], vocab_size: int, manifest: SourceManifest, folder: str, place: str, report: Report
) -> SourceManifest:
    """A source's finished folder: its shards, and its manifest with them.

    Args:
        folders: as `encode_chunk` left them, in order.
        vocab_size: entries of the tokenizer.
        manifest: of the source; its sides are filled in.
        folder: of the corpus.
        place: of the source in it.
        report: takes the share that is done.
    """
    with atomic_folder(Path(folder) / place) as temporary:
        splits = assemble(folders, vocab_size, temporary, place, report)
        manifest = replace(manifest, train=splits["train"], held_out=splits["held_out"])
        write_source(temporary, manifest)
    return manifest


def assemble(
    folders: Sequence[str], vocab_size: int, target: Path, place: str, report: Report
) -> dict[str, Split]:
    """Join the encoded chunks of a source into shards.

    Args:
        folders: as `encode_chunk` left them, in order.
        vocab_size: entries of the tokenizer.
        target: folder for the shards.
        place: the folder's final name in the corpus, for the manifest.
        report: takes the share that is done.
    """
    splits = {}
    for side in SIDES:
        most = {"most": _UNLIMITED} if side == "held_out" else {}
        writer = ShardWriter(target, side, place, token_dtype(vocab_size), **most)
        try:
            for number, folder in enumerate(folders):
                report(number / len(folders))
                tokens = np.load(Path(folder) / f"{side}.tokens.npy", mmap_mode="r")
                writer.write_documents(tokens, np.load(Path(folder) / f"{side}.documents.npy"))
            splits[side] = Split(writer.documents, writer.tokens, writer.bytes, writer.close())
        finally:
            writer.abandon()
    return splits
