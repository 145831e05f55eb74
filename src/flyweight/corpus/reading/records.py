"""Raw records of files, whatever their kind: JSON Lines, JSON, parquet, plain text.

Everything streams: at most one record, or a few thousand small ones, are in memory. A bad record is
counted, located and skipped; a file that cannot be read at all is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading.compressed import Advance, DataFile, explain_unreadable, file_size, read_chunks
from flyweight.corpus.reading.json_lines import file_records, line_records
from flyweight.corpus.reading.plain_text import TEXT_PIECE, text_records
from flyweight.corpus.reading.tables import Columns, row_records

Records = Iterator[tuple[dict[str, Any], str]]
"""Records with their places: `file:line`, or what comes near to it."""


@dataclass(frozen=True)
class Slice:
    """A file, or what of it one part reads."""

    file: DataFile
    start: int = 0
    """The first byte, which begins a line; of a parquet file, the first row group."""
    stop: int | None = None
    """What follows the last byte or row group; None for the file's end."""
    piece: int = TEXT_PIECE
    """Bytes of the documents that a plain text is cut into, about."""
    size: int | None = None
    """Bytes on disk, to say how far reading is; None for the whole file's."""


def read_records(files: Sequence[Path], log: ReadLog) -> Records:
    """The records of whole files, each with its place; a text file's are pieces under the key `text`.

    Args:
        files: .jsonl, .json (both plain, .gz or .zst), .parquet, .txt or .md files.
        log: takes the bad records and the share that was read.

    Raises:
        UserError: a file that cannot be read at all.
    """
    return slice_records([Slice(file) for file in files], log)


def slice_records(
    slices: Sequence[Slice],
    log: ReadLog,
    columns: Columns | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    text_field: str = "text",
) -> Records:
    """The records of slices of files, in order, each with its place.

    Args:
        slices: what is read.
        log: takes the bad records and the share that was read.
        columns: the fields that are needed, where reading fewer saves work; all when None.
        span: what `log.fraction` is at the beginning and at the end.
        text_field: the key that pieces of plain text get.

    Raises:
        UserError: a file that cannot be read at all.
    """
    low, high = span
    sizes = [_size(piece) for piece in slices]
    total, before = max(1, sum(sizes)), 0
    for piece, size in zip(slices, sizes, strict=True):

        def advance(done: int, before: int = before, size: int = size) -> None:
            log.fraction = low + (high - low) * (before + min(done, size)) / total

        with explain_unreadable(piece.file):
            yield from _records(piece, columns, text_field, log, advance)
        before += size
        log.fraction = low + (high - low) * before / total


def _size(piece: Slice) -> int:
    if piece.size is not None:
        return piece.size
    try:
        return file_size(piece.file)
    except OSError:  # said when it is its turn
        return 0


def _is_table(file: DataFile) -> bool:
    return file.name.lower().endswith(".parquet")


def _records(
    piece: Slice, columns: Columns | None, text_field: str, log: ReadLog, advance: Advance
) -> Records:
    file, start, stop = piece.file, piece.start, piece.stop
    name = file.name.lower()
    if _is_table(file):
        return row_records(file, start, stop, columns, log, advance)
    if name.endswith((".txt", ".md")):
        texts = text_records(file, start, stop, piece.piece, log, advance)
        return (({text_field: text}, place) for text, place in texts)
    chunks = read_chunks(file, start, stop, advance)
    if name.removesuffix(".gz").removesuffix(".zst").endswith(".json"):
        return file_records(chunks, str(file), columns, log)
    return line_records(chunks, str(file), start, log)
