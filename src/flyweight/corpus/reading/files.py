"""Local files as parts of a source: found, cut and grouped the same way everywhere, hashed, read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading.compressed import DataFile, explain_unreadable, file_size
from flyweight.corpus.reading.conversion import Conversion
from flyweight.corpus.reading.json_lines import cut_lines
from flyweight.corpus.reading.plain_text import cut_text, piece_bytes
from flyweight.corpus.reading.records import Slice, slice_records
from flyweight.corpus.reading.tables import cut_row_groups, row_group_bytes

T = TypeVar("T")

SUPPORTED = (".txt", ".md", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json.gz", ".json.zst", ".parquet")
"""What is read of a folder."""

READABLE = (*SUPPORTED, ".json")
"""What is read when it is named: a folder's plain .json files are more often settings than documents."""

PART_BYTES = 64_000_000
"""Bytes on disk of one part, about: smaller files are read together, larger ones in several parts."""

FEW_FILES = 10
"""The text of fewer files is cut finer, so that a single short book can still be split into training and
held-out text."""

_HASH_CHUNK = 1 << 20
_PARQUET = ".parquet"


def list_files(path: Path, where: str, supported: tuple[str, ...] = SUPPORTED) -> list[Path]:
    """The supported files at `path`, sorted by name; hidden files and folders are skipped.

    Args:
        path: a file or a folder, which is searched to the bottom.
        where: names the setting in errors, for example `sources.books.path`.
        supported: the ends of the names that are taken from a folder.

    Raises:
        UserError: nothing there, not supported, empty.
    """
    if path.is_file():
        if not path.name.lower().endswith(READABLE):
            raise UserError(
                f"{where}: {path} is not of a kind that can be read; supported are {', '.join(READABLE)}."
            )
        return [path]
    if not path.is_dir():
        raise UserError(f"{where}: {path} does not exist; expected a file or a folder of documents.")
    found, others = [], 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.startswith("."):
                continue
            if name.lower().endswith(supported):
                file = Path(folder) / name
                if not file.is_file():
                    raise UserError(
                        f"{where}: {file} is not a readable file (a link to nowhere?); remove it."
                    )
                found.append(file)
            else:
                others += 1
    if not found and not others:
        raise UserError(f"{where}: the folder {path} is empty; expected {', '.join(supported)} files in it.")
    if not found:
        raise UserError(
            f"{where}: the folder {path} has {others:,} files, none of a kind that can be read; supported "
            f"are {', '.join(supported)}."
        )
    return sorted(found)


def hash_lines(lines: Iterable[str]) -> str:
    """A hash of some lines, as a hexadecimal number."""
    text = "\n".join(lines)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


@dataclass(frozen=True)
class FileInputs:
    """Some slices of local files, read one after the other."""

    slices: tuple[Slice, ...]
    names: tuple[str, ...]
    """The files' names within the source's folder; where that folder lies does not matter."""
    size: int
    """Bytes on disk."""
    stamp: str
    """A hash of names, sizes, times of change, and slices."""

    def content(self) -> str:
        """A hash of the bytes that are read.

        Raises:
            UserError: a file that cannot be read.
        """
        total = hashlib.blake2b(digest_size=16)
        for name, piece in zip(self.names, self.slices, strict=True):
            total.update(f"{name}\t{_cut(piece)}\n".encode("utf-8", "surrogateescape"))
            with explain_unreadable(piece.file):
                for start, stop in _byte_ranges(piece):
                    _hash_bytes(piece.file, start, stop, total.update)
        return total.hexdigest()

    def documents(self, conversion: Conversion, log: ReadLog, scratch: Path) -> Iterator[Document]:
        """The documents of the slices, in order; `scratch` is not needed.

        Raises:
            UserError: a file that cannot be read at all.
        """
        return read_slices(self.slices, conversion, log)


def file_inputs(files: Sequence[Path], root: Path) -> tuple[list[FileInputs], str]:
    """The parts of a source of local files, and the source in one line.

    Args:
        files: as `list_files` gives them.
        root: the folder that they lie in.

    Raises:
        UserError: a file that cannot be read at all.
    """
    few = len(files) < FEW_FILES
    found: list[tuple[Slice, str, int]] = []
    described = []
    for file in files:
        with explain_unreadable(file):
            status = file.stat()
            name = file.relative_to(root).as_posix()
            piece = piece_bytes(status.st_size if few else None)
            found += [(cut, name, status.st_mtime_ns) for cut in _slices(file, status.st_size, piece)]
        described.append(f"{name}\t{status.st_size}")
    parts = []
    for group in grouped(found, lambda item: item[0].size or 0):
        slices, names, _ = zip(*group, strict=True)
        stamp = hash_lines(f"{name}\t{time}\t{_cut(cut)}" for cut, name, time in group)
        parts.append(FileInputs(slices, names, sum(cut.size for cut in slices), stamp))
    total = sum(part.size for part in parts)
    return parts, f"{len(files):,} files, {total:,} bytes ({hash_lines(described)[:12]})"


def whole_file(file: DataFile, few: bool) -> Slice:
    """All of a file, as one of few or of many."""
    return Slice(file, piece=piece_bytes(file_size(file) if few else None))


def grouped(items: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Neighbours together, up to PART_BYTES; what is larger stays alone."""
    group: list[T] = []
    total = 0
    for item in items:
        if group and total + size(item) > PART_BYTES:
            yield group
            group, total = [], 0
        group.append(item)
        total += size(item)
    if group:
        yield group


def _slices(file: Path, size: int, piece: int) -> Iterator[Slice]:
    """A file's slices; only files that can be cut anywhere have more than one."""
    name = file.name.lower()
    if size > PART_BYTES and name.endswith(_PARQUET):
        for start, stop, part in cut_row_groups(file, PART_BYTES):
            yield Slice(file, start, stop, piece, part)
    elif size > PART_BYTES and name.endswith((".jsonl", ".txt", ".md")):
        cut = cut_lines if name.endswith(".jsonl") else cut_text
        for start, stop in cut(file, size, PART_BYTES):
            yield Slice(file, start, stop, piece, stop - start)
    else:
        yield Slice(file, 0, None, piece, size)


def _cut(piece: Slice) -> str:
    return f"{piece.size}\t{piece.start}\t{piece.stop}\t{piece.piece}"


def _byte_ranges(piece: Slice) -> list[tuple[int, int | None]]:
    if piece.stop is not None and piece.file.name.lower().endswith(_PARQUET):
        return row_group_bytes(piece.file, piece.start, piece.stop)
    return [(piece.start, piece.stop)]


def _hash_bytes(file: DataFile, start: int, stop: int | None, update: Callable[[bytes], None]) -> None:
    with file.open("rb") as stream:
        stream.seek(start)
        left = None if stop is None else stop - start
        while data := stream.read(_HASH_CHUNK if left is None else min(_HASH_CHUNK, left)):
            update(data)
            left = None if left is None else left - len(data)


def read_slices(
    slices: Sequence[Slice], conversion: Conversion, log: ReadLog, span: tuple[float, float] = (0.0, 1.0)
) -> Iterator[Document]:
    """The documents of `slices`, in order.

    Args:
        slices: what is read.
        conversion: from records to documents.
        log: takes the bad records and the share that was read.
        span: what `log.fraction` is at the beginning and at the end.

    Raises:
        UserError: a file that cannot be read at all.
    """
    records = slice_records(slices, log, conversion.columns, span, conversion.text_field)
    return conversion.documents(records, log)
