"""Shards: long arrays of tokens on disk, memory-mapped, and the streams over them.

A shard file is a header of 32 bytes (magic, format, bytes of one item, number of items), then the
items, little-endian: tokens as uint16 or uint32, one document after another, each with its
end_of_text. Beside every shard lies one of int64 with (tokens, bytes) of each document.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flyweight.base import UserError, leads_inside

FORMAT = 2
MAGIC = b"FLYSHARD"
_HEADER = struct.Struct("<8sIIQ8x")
HEADER_BYTES = _HEADER.size

SHARD_TOKENS = 100_000_000
"""A shard is closed by the document that takes it past this."""

MOST_MAPPED = 128
"""Shards that are mapped at a time: each mapping holds an open file, and a process may have few of them."""

MOST_TABLES = 16
"""Shards whose documents' places are remembered: 8 bytes a document."""

LARGEST_UINT16_VOCABULARY = 65_535

_DTYPES = {2: np.dtype("<u2"), 4: np.dtype("<u4"), 8: np.dtype("<i8")}


def token_dtype(vocab_size: int) -> np.dtype:
    """uint16, or uint32 for a vocabulary above 65,535 entries."""
    return _DTYPES[2 if vocab_size <= LARGEST_UINT16_VOCABULARY else 4]


@dataclass(frozen=True)
class ArrayFile:
    """One file of items as the manifest describes it."""

    name: str
    """Relative to the corpus folder."""
    items: int
    item_bytes: int
    checksum: str
    """SHA-256 of the items, then the header; 128 bits of it."""

    def __post_init__(self) -> None:
        """A manifest may come from anybody: what it describes lies in its folder, as whole items.

        Raises:
            ValueError: it does not.
        """
        if not leads_inside(self.name):
            raise ValueError(f"the name {self.name!r} leads out of the corpus folder")
        if self.items < 0 or self.item_bytes not in _DTYPES:
            raise ValueError(f"{self.items} items of {self.item_bytes} bytes are no shard")

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return HEADER_BYTES + self.items * self.item_bytes


@dataclass(frozen=True)
class Shard:
    """A file of tokens and the file of its documents."""

    tokens: ArrayFile
    documents: ArrayFile


class ArrayWriter:
    """Writes items to a file as they come."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self._file = path.open("wb")
        self._file.write(bytes(HEADER_BYTES))
        self._hash = hashlib.sha256()
        self._dtype = dtype
        self.items = 0

    def write(self, items: np.ndarray) -> None:
        """Append a 1-D array; its values must fit the dtype."""
        data = np.ascontiguousarray(items, dtype=self._dtype).tobytes()
        self._file.write(data)
        self._hash.update(data)
        self.items += len(items)

    def close(self, name: str) -> ArrayFile:
        """Write the header; `name` is the file's place in the corpus folder."""
        header = _HEADER.pack(MAGIC, FORMAT, self._dtype.itemsize, self.items)
        self._file.seek(0)
        self._file.write(header)
        self._file.close()
        self._hash.update(header)
        return ArrayFile(name, self.items, self._dtype.itemsize, self._hash.hexdigest()[:32])

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()


class ShardWriter:
    """Writes documents into as many shards as they need; a document is never split."""

    def __init__(
        self, folder: Path, prefix: str, place: str, dtype: np.dtype, most: int = SHARD_TOKENS
    ) -> None:
        """Write `folder`/`prefix`-00000.tokens and so on; `place` is the final folder, for the manifest."""
        self._folder, self._prefix, self._place = folder, prefix, place
        self._dtype, self._most = dtype, most
        self._writer: ArrayWriter | None = None
        self._lengths: list[np.ndarray] = []
        self.shards: list[Shard] = []
        self.tokens = self.documents = self.bytes = 0

    def write(self, ids: Sequence[int], size: int) -> None:
        """Append one document: its ids, end_of_text included, and the bytes of its text."""
        self.write_documents(np.array(ids, dtype=np.int64), np.array([[len(ids), size]], dtype=np.int64))

    def write_documents(self, tokens: np.ndarray, documents: np.ndarray) -> None:
        """Append documents.

        Args:
            tokens: (tokens,), of one document after another, an end_of_text after each.
            documents: (documents, 2) int64, tokens and bytes of each.
        """
        ends = np.cumsum(documents[:, 0])
        begin = row = 0
        while row < len(documents):
            if self._writer is None:
                self._writer = ArrayWriter(self._folder / f"{self._name}.tokens", self._dtype)
            room = max(0, self._most - self._writer.items)
            # The document that reaches the bound is the shard's last.
            last = min(len(documents), int(np.searchsorted(ends, begin + room)) + 1)
            end = int(ends[last - 1])
            self._writer.write(tokens[begin:end])
            self._lengths.append(documents[row:last])
            self.tokens += end - begin
            self.documents += last - row
            self.bytes += int(documents[row:last, 1].sum())
            begin, row = end, last
            if self._writer.items >= self._most:
                self._close_shard()

    @property
    def _name(self) -> str:
        return f"{self._prefix}-{len(self.shards):05d}"

    def _close_shard(self) -> None:
        assert self._writer is not None
        name = self._name
        tokens = self._writer.close(f"{self._place}/{name}.tokens")
        lengths = ArrayWriter(self._folder / f"{name}.documents", _DTYPES[8])
        lengths.write(np.concatenate(self._lengths).reshape(-1))
        self.shards.append(Shard(tokens, lengths.close(f"{self._place}/{name}.documents")))
        self._writer, self._lengths = None, []

    def close(self) -> list[Shard]:
        """Finish the last shard and return all."""
        if self._writer is not None:
            self._close_shard()
        return self.shards

    def abandon(self) -> None:
        """Close what is open after an error."""
        if self._writer is not None:
            self._writer.abandon()


def open_array(folder: Path, file: ArrayFile) -> np.ndarray:
    """Map a file's items into memory, in constant time: header and size are checked, the checksum is not.

    Raises:
        UserError: missing, truncated, foreign, or of a newer format.
    """
    check_array(folder, file)
    return _mapped(folder / file.name, file.item_bytes, file.items)


def check_array(folder: Path, file: ArrayFile) -> None:
    """Compare a file's header and size with the manifest, in constant time.

    Raises:
        UserError: missing, truncated, foreign, or of a newer format.
    """
    path = folder / file.name
    try:
        with path.open("rb") as stream:
            header = stream.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(
            f"{path}: this shard of the corpus cannot be read ({error.strerror}); prepare the corpus again "
            f"in a new folder, or bring the file back."
        ) from None
    again = "The file was cut off or replaced; bring it back, or prepare the corpus again in a new folder."
    if len(header) < HEADER_BYTES:
        raise UserError(f"{path}: truncated shard: found {size:,} bytes, expected {file.size:,}. {again}")
    magic, version, item_bytes, items = _HEADER.unpack(header)
    if magic != MAGIC:
        raise UserError(
            f"{path}: not a shard of Flyweight: it begins with {magic!r}, expected {MAGIC!r}. {again}"
        )
    if version > FORMAT:
        raise UserError(
            f"{path}: this shard has format {version}, this Flyweight reads up to {FORMAT}; a newer "
            f"Flyweight is needed."
        )
    if (items, item_bytes) != (file.items, file.item_bytes):
        raise UserError(
            f"{path}: a shard of another corpus: found {items:,} items of {item_bytes} bytes, expected "
            f"{file.items:,} of {file.item_bytes}. {again}"
        )
    if size != file.size:
        what = "truncated shard" if size < file.size else "shard with a tail that does not belong to it"
        raise UserError(f"{path}: {what}: found {size:,} bytes, expected {file.size:,}. {again}")


def _mapped(path: Path, item_bytes: int, items: int) -> np.ndarray:
    return np.memmap(path, dtype=_DTYPES[item_bytes], mode="r", offset=HEADER_BYTES, shape=(items,))


_recently_mapped = functools.lru_cache(maxsize=MOST_MAPPED)(_mapped)


class LazyArray:
    """A file's items, mapped into memory while they are among the MOST_MAPPED that were touched last."""

    def __init__(self, folder: Path, file: ArrayFile) -> None:
        """Check `file`, as `check_array` does."""
        check_array(folder, file)
        self._folder, self._file = folder, file
        self._place = (folder / file.name, file.item_bytes, file.items)

    def __len__(self) -> int:
        return self._place[2]

    def __getitem__(self, part: slice) -> np.ndarray:
        """The items of `part`; a file that has vanished or was cut off since is told as `check_array` tells it."""
        try:
            return _recently_mapped(*self._place)[part]
        except (OSError, ValueError):
            check_array(self._folder, self._file)
            raise


def checksum(path: Path) -> str:
    """The checksum of a file as `ArrayWriter` computes it."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
        while data := stream.read(1 << 20):
            digest.update(data)
    digest.update(header)
    return digest.hexdigest()[:32]


class TokenStream:
    """The training tokens of a source: all its shards, one after another, as a ring.

    Every shard holds whole documents, so where documents begin is looked up shard by shard, and a corpus of
    any length needs the memory of a few shards' tables.
    """

    def __init__(
        self, shards: Sequence[np.ndarray | LazyArray], tables: Sequence[np.ndarray | LazyArray]
    ) -> None:
        """Join `shards`, (tokens,) each; `tables`, (2 * documents,) each, are the files beside them."""
        self._shards, self._tables = list(shards), list(tables)
        self._ends = np.cumsum([len(shard) for shard in shards])
        self._documents = np.cumsum([0, *(len(table) // 2 for table in tables)])
        self._starts = functools.lru_cache(maxsize=MOST_TABLES)(self._read_starts)

    @property
    def tokens(self) -> int:
        """Length L of the ring."""
        return int(self._ends[-1])

    @property
    def documents(self) -> int:
        """Documents in the ring."""
        return int(self._documents[-1])

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from position `start` on, (length,) int64; positions are taken modulo L."""
        result = np.empty(length, dtype=np.int64)
        for index, offset, count, filled in self._pieces(start, length):
            result[filled : filled + count] = self._shards[index][offset : offset + count]
        return result

    def borders(self, start: int, length: int) -> np.ndarray:
        """Where documents begin among `length` tokens from position `start` on: places from 0, rising, int64."""
        found = [np.empty(0, np.int64)]
        for index, offset, count, filled in self._pieces(start, length):
            starts = self._starts(index)
            first, last = np.searchsorted(starts, [offset, offset + count])
            found.append(starts[first:last] + (filled - offset))
        return np.concatenate(found)

    def document_at(self, position: int) -> tuple[int, int]:
        """The number of the document that holds the token at `position`, and the position of its first token."""
        ((index, offset, _, _),) = self._pieces(position, 1)
        starts = self._starts(index)
        row = int(np.searchsorted(starts, offset, side="right")) - 1
        return int(self._documents[index]) + row, self._begin(index) + int(starts[row])

    def _begin(self, index: int) -> int:
        return int(self._ends[index]) - len(self._shards[index])

    def _pieces(self, start: int, length: int) -> Iterator[tuple[int, int, int, int]]:
        """What is read of which shard: its number, place and count in it, and place among the `length` tokens."""
        position, filled = start % self.tokens, 0
        while filled < length:
            index = int(np.searchsorted(self._ends, position, side="right"))
            count = min(length - filled, int(self._ends[index]) - position)
            yield index, position - self._begin(index), count, filled
            filled += count
            position = (position + count) % self.tokens

    def _read_starts(self, index: int) -> np.ndarray:
        """(documents,) int64: places in a shard at which its documents begin."""
        lengths = self._tables[index][::2]
        return np.cumsum(lengths, dtype=np.int64) - lengths


@dataclass(frozen=True)
class HeldOut:
    """The held-out documents of a source."""

    tokens: np.ndarray
    """(tokens,) memory-mapped; end_of_text after every document."""
    document_tokens: np.ndarray
    """(documents,) int64: tokens of each document, end_of_text included."""
    document_bytes: np.ndarray
    """(documents,) int64: bytes of each document's text in UTF-8."""
