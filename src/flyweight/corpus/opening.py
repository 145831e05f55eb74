"""A prepared corpus, open for reading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flyweight.base import UserError
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.manifest import Manifest, Split, read_manifest
from flyweight.corpus.shards import HeldOut, LazyArray, TokenStream, open_array
from flyweight.corpus.tokenizers.text_tokenizer import FILE, TextTokenizer
from flyweight.recipe import format_bytes

TOKENIZER_FOLDER = "tokenizer"

_REASONS = {
    "contaminated": "removed as contaminated",
    "exact_duplicate": "removed as exact duplicates",
    "near_duplicate": "removed as near duplicates",
    "unused": "beyond corpus.held_out_limit left unused",
}


@dataclass(frozen=True)
class OpenCorpus:
    """A finished corpus folder: its tokenizer, and by source the training stream and the held-out text."""

    folder: Path
    manifest: Manifest
    tokenizer: TextTokenizer
    train: dict[str, TokenStream]
    held_out: dict[str, HeldOut]

    @property
    def fingerprint(self) -> str:
        """A hash over the tokenizer and every shard's checksum."""
        return self.manifest.fingerprint

    def bytes_per_token(self, source: str) -> float:
        """Bytes of training text for one token of `source`, end_of_text tokens counted."""
        train = self.manifest.sources[source].train
        return train.bytes / train.tokens

    def summary(self) -> list[str]:
        """One line a source, for people."""
        lines = []
        for name, source in self.manifest.sources.items():
            line = (
                f"{name}: {source.train.tokens:,} training tokens of {source.train.documents:,} documents "
                f"({format_bytes(source.train.bytes)}, {self.bytes_per_token(name):.2f} bytes a token), "
                f"{source.held_out.tokens:,} held-out tokens of {source.held_out.documents:,} documents"
            )
            for reason, removed in source.removed.items():
                if removed.documents:
                    line += f", {removed.documents:,} {_REASONS[reason]}"
            if source.filtered:
                line += f", {source.filtered:,} records left out by the filter"
            bad = ReadLog(source.bad_records)
            lines.append(f"{line}; skipped {bad.summary()}" if bad.skipped else line)
        return lines + self.manifest.notes


def open_corpus(folder: Path) -> OpenCorpus:
    """Open a finished corpus; its shards are memory-mapped, their sizes and headers checked.

    Raises:
        UserError: no finished corpus there, or a shard that is missing, truncated, foreign or newer.
    """
    manifest = read_manifest(folder)
    tokenizer = TextTokenizer.load(folder / TOKENIZER_FOLDER, manifest.tokenizer.end_of_text)
    check_tokenizer(folder, manifest, tokenizer)
    train, held_out = {}, {}
    for name, source in manifest.sources.items():
        train[name] = _open_stream(folder, source.train)
        held_out[name] = _open_held_out(folder, source.held_out)
    return OpenCorpus(folder, manifest, tokenizer, train, held_out)


def check_tokenizer(folder: Path, manifest: Manifest, tokenizer: TextTokenizer) -> None:
    """Compare the tokenizer in a corpus folder with the manifest.

    Raises:
        UserError: it is another one.
    """
    if tokenizer.fingerprint != manifest.tokenizer.fingerprint:
        raise UserError(
            f"{folder / TOKENIZER_FOLDER / FILE}: not the tokenizer that this corpus was made with: found "
            f"fingerprint {tokenizer.fingerprint}, expected {manifest.tokenizer.fingerprint}."
        )


def _document_table(folder: Path, split: Split) -> np.ndarray:
    """(documents, 2) int64: tokens and bytes of each document."""
    tables = [open_array(folder, shard.documents).reshape(-1, 2) for shard in split.shards]
    return tables[0] if len(tables) == 1 else np.concatenate(tables)


def _open_stream(folder: Path, split: Split) -> TokenStream:
    shards = [LazyArray(folder, shard.tokens) for shard in split.shards]
    return TokenStream(shards, [LazyArray(folder, shard.documents) for shard in split.shards])


def _open_held_out(folder: Path, split: Split) -> HeldOut:
    assert len(split.shards) == 1, "held-out text is written as one shard"
    table = _document_table(folder, split)
    return HeldOut(open_array(folder, split.shards[0].tokens), table[:, 0], table[:, 1])
