"""Documents from files: .txt, .md, .jsonl (plain, .gz, .zst) and .parquet, or folders of them.

Everything streams: at most one record, or one piece of a long text, is in memory. A bad record is
counted, located and skipped; a file that cannot be read at all is an error that names it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading.compressed import explain_unreadable, open_bytes

SUPPORTED = (".txt", ".md", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")

TEXT_PIECE = 64 * 1024
"""A longer text file is cut at blank lines into documents of about this many bytes."""

FEW_FILES = 10
FEWEST_PIECES = 32
SMALLEST_PIECE = 2_000
"""Fewer than FEW_FILES files are cut finer, into about FEWEST_PIECES pieces of at least SMALLEST_PIECE
bytes each, so that a single short book can still be split into training and held-out text."""

LONGEST_WITHOUT_BLANK = 4 * TEXT_PIECE
"""Text without blank lines is cut at a line's end after this many bytes, and inside a line if it must be."""

LONGEST_LINE = 256 * 1024 * 1024
"""A longer line of JSON is a bad record: it would not fit into a small machine's memory."""

PARQUET_ROWS = 256


def list_files(path: Path, where: str) -> list[Path]:
    """The supported files at `path`, sorted by name; hidden files and folders are skipped.

    Args:
        path: a file or a folder, which is searched to the bottom.
        where: names the setting in errors, for example `sources.books.path`.

    Raises:
        UserError: nothing there, not supported, empty.
    """
    if path.is_file():
        if not path.name.lower().endswith(SUPPORTED):
            raise UserError(
                f"{where}: {path} is not of a kind that can be read; supported are {', '.join(SUPPORTED)}."
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
            if name.lower().endswith(SUPPORTED):
                file = Path(folder) / name
                if not file.is_file():
                    raise UserError(
                        f"{where}: {file} is not a readable file (a link to nowhere?); remove it."
                    )
                found.append(file)
            else:
                others += 1
    if not found and not others:
        raise UserError(f"{where}: the folder {path} is empty; expected {', '.join(SUPPORTED)} files in it.")
    if not found:
        raise UserError(
            f"{where}: the folder {path} has {others:,} files, none of a kind that can be read; supported "
            f"are {', '.join(SUPPORTED)}."
        )
    return sorted(found)


def read_files(files: list[Path], text_field: str, log: ReadLog) -> Iterator[Document]:
    """The documents of `files`, in order.

    Args:
        files: as `list_files` gives them.
        text_field: the key or column that holds the text.
        log: takes the bad records and the share that was read.

    Raises:
        UserError: a file that cannot be read at all.
    """
    sizes = [file.stat().st_size if file.exists() else 0 for file in files]
    total, before = max(1, sum(sizes)), 0
    for file, size in zip(files, sizes, strict=True):
        for document, position in _read_file(file, text_field, log, len(files) < FEW_FILES):
            log.fraction = (before + min(position, size)) / total
            yield document
        before += size
        log.fraction = before / total


def _read_file(file: Path, text_field: str, log: ReadLog, few: bool) -> Iterator[tuple[Document, int]]:
    name = file.name.lower()
    if name.endswith(".parquet"):
        return _read_parquet(file, text_field, log)
    if name.endswith((".txt", ".md")):
        return _read_text(file, log, few)
    return _read_jsonl(file, text_field, log)


def _read_text(file: Path, log: ReadLog, few: bool) -> Iterator[tuple[Document, int]]:
    with explain_unreadable(file):
        stream, position = open_bytes(file)
        with stream:
            size = file.stat().st_size
            if size == 0:
                log.skip("empty", f"{file}:1")
            piece = min(TEXT_PIECE, max(size // FEWEST_PIECES, SMALLEST_PIECE)) if few else TEXT_PIECE
            for data, first_line in _pieces(stream, min(size, piece)):
                if first_line == 1:
                    data = data.removeprefix(b"\xef\xbb\xbf")
                try:
                    text = data.decode("utf-8")
                except UnicodeDecodeError as error:
                    line = first_line + data.count(b"\n", 0, error.start)
                    log.skip("invalid UTF-8", f"{file}:{line}")
                    continue
                if first_line > 1 and not text.strip():
                    continue  # blank lines at the end of a long file are no record of their own
                document = log.document(text, f"{file}:{first_line}")
                if document is not None:
                    yield document, position()


def _pieces(stream, piece: int) -> Iterator[tuple[bytes, int]]:
    """The bytes of `stream` in pieces of about `piece` bytes, cut at blank lines, with their first line."""
    lines: list[bytes] = []
    size, line_number, first_line = 0, 1, 1
    while line := stream.readline(LONGEST_WITHOUT_BLANK):
        cut_line = not line.endswith(b"\n") and len(line) == LONGEST_WITHOUT_BLANK
        if cut_line:
            # A character may straddle the cut: its last bytes are taken along.
            for _ in range(3):
                following = stream.peek(1)[:1]
                if not following or following[0] & 0xC0 != 0x80:
                    break
                line += stream.read(1)
        lines.append(line)
        size += len(line)
        line_number += not cut_line
        if (size >= piece and not line.strip()) or size >= max(piece, LONGEST_WITHOUT_BLANK):
            yield b"".join(lines), first_line
            lines, size, first_line = [], 0, line_number
    if lines:
        yield b"".join(lines), first_line


def _read_jsonl(file: Path, text_field: str, log: ReadLog) -> Iterator[tuple[Document, int]]:
    with explain_unreadable(file):
        stream, position = open_bytes(file)
        with stream:
            number = 0
            while line := stream.readline(LONGEST_LINE):
                number += 1
                place = f"{file}:{number}"
                if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    log.skip(f"line longer than {LONGEST_LINE:,} bytes", place)
                    while (rest := stream.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                        pass
                    continue
                document = _parse_line(line, text_field, place, log)
                if document is not None:
                    yield document, position()


def _parse_line(line: bytes, text_field: str, place: str, log: ReadLog) -> Document | None:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        log.skip("invalid UTF-8", place)
        return None
    if not text.strip():
        log.skip("empty", place)
        return None
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        log.skip("broken JSON", place)
        return None
    if not isinstance(record, dict) or text_field not in record:
        if isinstance(record, dict) and not log.fields_found:
            log.fields_found = tuple(record)
        log.skip("no text field", place)
        return None
    return log.document(record[text_field], place)


def _read_parquet(file: Path, text_field: str, log: ReadLog) -> Iterator[tuple[Document, int]]:
    import pyarrow
    import pyarrow.parquet

    try:
        with explain_unreadable(file), pyarrow.parquet.ParquetFile(file) as table:
            row, size = 0, file.stat().st_size
            names = table.schema_arrow.names
            for group in range(table.num_row_groups):
                position = size * group // table.num_row_groups
                if text_field not in names:
                    log.fields_found = log.fields_found or tuple(names)
                    for _ in range(table.metadata.row_group(group).num_rows):
                        row += 1
                        log.skip("no text field", f"{file}:row {row}")
                    continue
                batches = table.iter_batches(PARQUET_ROWS, row_groups=[group], columns=[text_field])
                for batch in batches:
                    for value in batch.column(0):
                        row += 1
                        document = _parquet_document(value, f"{file}:row {row}", log)
                        if document is not None:
                            yield document, position
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{file}: this is not a sound parquet file ({first}).") from None


def _parquet_document(value, place: str, log: ReadLog) -> Document | None:
    try:
        return log.document(value.as_py(), place)
    except UnicodeDecodeError:
        log.skip("invalid UTF-8", place)
        return None
