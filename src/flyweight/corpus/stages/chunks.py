"""Chunks: documents on their way from a source to token shards, and what is known of each of them.

A chunk ends with the batch that takes it to CHUNK_BYTES of text or CHUNK_DOCUMENTS documents, so that
whatever a stage does with one fits into a small machine's memory, however large the corpus. In a part's
folder, chunk n is

    documents-n.arrow   the documents' text (UTF-8) and marks, uncompressed: LZ4 writes 230 MB a second
                        on a core, which would be a fifth of the whole time
    facts-n.npy         FACTS of each document
    exact-n.npy         KEYED by the whole text, sorted
    near-n.npy          KEYED by each MinHash band, sorted; only where near duplicates are looked for
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from flyweight.base import UserError
from flyweight.corpus.cleaning.near import NO_KEY
from flyweight.corpus.engine.jobs import finished

CHUNK_BYTES = 64_000_000
CHUNK_DOCUMENTS = 200_000

FACTS = np.dtype(
    [
        ("size", "<u4"),  # bytes of the text
        ("split", "<u8"),  # the split hash; 0 or the largest where the source has decided
        ("draw", "<u8"),  # a keyed hash: the tokenizer's sample are the documents with the smallest
        ("contaminated", "<i2"),  # number of the evaluation set that it shares 13 words with, or -1
    ]
)
KEYED = np.dtype([("key", "<u8"), ("check", "<u8"), ("row", "<u4")], align=True)  # searched without a copy
"""A document under a key: equal (key, check) are one group; `key` is spread evenly over 64 bits."""

_SCHEMA = pa.schema([("text", pa.large_binary()), ("marks", pa.list_(pa.int32()))])


@dataclass(frozen=True)
class Chunk:
    """One finished chunk."""

    folder: str
    """Of its part."""
    number: int
    """Within its part."""
    documents: int
    bytes: int
    key: str
    """Of its part."""

    def check(self) -> None:
        """See that the files are still those of this chunk.

        Raises:
            UserError: another preparation has written here.
        """
        if not finished(Path(self.folder), self.key):
            raise UserError(
                f"{self.folder}: another process has changed this work in progress; see that none is left, and run "
                f"the same command again."
            )

    def path(self, what: str, suffix: str = "npy") -> Path:
        """The file of this chunk that is called `what`."""
        return Path(self.folder) / f"{what}-{self.number:04d}.{suffix}"

    def facts(self) -> np.ndarray:
        """(documents,) of FACTS, memory-mapped."""
        return np.load(self.path("facts"), mmap_mode="r")

    def texts(self, at_once: int = 1) -> Iterator[tuple[list[bytes], list[tuple[tuple[int, int], ...]]]]:
        """The documents in batches: their texts in UTF-8, and their marks.

        Args:
            at_once: join what was written as separate batches until there are this many bytes.
        """
        texts: list[bytes] = []
        marks: list[tuple[tuple[int, int], ...]] = []
        size = 0
        with pa.memory_map(str(self.path("documents", "arrow"))) as source:
            reader = pyarrow.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                texts += batch.column(0).to_pylist()
                flat = batch.column(1)
                without = flat.null_count == len(batch)
                marks += [()] * len(batch) if without else [_pairs(one) for one in flat.to_pylist()]
                size += batch.nbytes
                if size >= at_once:
                    yield texts, marks
                    texts, marks, size = [], [], 0
        if texts:
            yield texts, marks

    def text(self, row: int) -> str:
        """The text of one document."""
        with pa.memory_map(str(self.path("documents", "arrow"))) as source:
            reader = pyarrow.ipc.open_file(source)
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                if row < len(batch):
                    return batch.column(0)[row].as_py().decode("utf-8")
                row -= len(batch)
        raise AssertionError("a row beyond the chunk's last")


def _pairs(flat: list[int] | None) -> tuple[tuple[int, int], ...]:
    return tuple(zip(flat[::2], flat[1::2], strict=True)) if flat else ()


class ChunkWriter:
    """Writes batches of documents into the chunks of a part."""

    def __init__(self, folder: Path, final: Path, key: str) -> None:
        """Write into `folder`, which will be renamed to `final` and have this key."""
        self._folder, self._final, self._key = folder, final, key
        self.chunks: list[Chunk] = []
        self._documents: pyarrow.ipc.RecordBatchFileWriter | None = None
        self._begin()

    def _begin(self) -> None:
        self._facts: list[np.ndarray] = []
        self._exact: list[np.ndarray] = []
        self._near: list[np.ndarray] = []
        self._rows = self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._close()
        elif self._documents is not None:
            self._documents.close()

    def write(
        self,
        texts: Sequence[bytes],
        marks: Sequence[Sequence[tuple[int, int]]],
        facts: np.ndarray,
        exact: np.ndarray,
        near: np.ndarray | None,
    ) -> None:
        """Append a batch.

        Args:
            texts: of the documents, in UTF-8.
            marks: of the documents.
            facts: (documents,) of FACTS.
            exact: (documents, 2) uint64, the hash of each text.
            near: (documents, bands) uint64 MinHash band keys, or None.
        """
        if self._documents is None:
            path = self._folder / f"documents-{len(self.chunks):04d}.arrow"
            self._documents = pyarrow.ipc.new_file(str(path), _SCHEMA)
        flat = [[place for pair in one for place in pair] if one else None for one in marks]
        columns = [_binary(texts), pa.array(flat, pa.list_(pa.int32()))]
        self._documents.write_batch(pa.record_batch(columns, schema=_SCHEMA))
        rows = np.arange(self._rows, self._rows + len(texts), dtype=np.uint32)
        self._facts.append(facts)
        self._exact.append(_keyed(exact[:, 0], exact[:, 1], rows))
        if near is not None:
            keys = near.ravel()  # salted by their band, so all bands are one pool
            found = keys != NO_KEY  # of a document without words
            owners = np.repeat(rows, near.shape[1])
            self._near.append(_keyed(keys[found], np.zeros(int(found.sum()), np.uint64), owners[found]))
        self._rows += len(texts)
        self._bytes += int(facts["size"].sum(dtype=np.int64))
        if self._bytes >= CHUNK_BYTES or self._rows >= CHUNK_DOCUMENTS:
            self._close()

    def _close(self) -> None:
        if self._documents is None:
            return
        self._documents.close()
        self._documents = None
        number = len(self.chunks)
        np.save(self._folder / f"facts-{number:04d}.npy", np.concatenate(self._facts))
        np.save(self._folder / f"exact-{number:04d}.npy", _sorted(self._exact))
        if self._near:
            np.save(self._folder / f"near-{number:04d}.npy", _sorted(self._near))
        self.chunks.append(Chunk(str(self._final), number, self._rows, self._bytes, self._key))
        self._begin()


def _binary(texts: Sequence[bytes]) -> pa.Array:
    """The same as pa.array(texts, pa.large_binary()), which goes through them one by one."""
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.large_binary(), len(texts), buffers)


def _keyed(key: np.ndarray, check: np.ndarray, rows: np.ndarray) -> np.ndarray:
    result = np.empty(len(key), KEYED)
    result["key"], result["check"], result["row"] = key, check, rows
    return result


def _sorted(pieces: list[np.ndarray]) -> np.ndarray:
    joined = np.concatenate(pieces)
    return joined[np.argsort(joined["key"], kind="stable")]
