"""Parquet files: rows as records, of the needed columns only, row group by row group."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight.base import UserError
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading.compressed import Advance, DataFile, file_size

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema
    from pyarrow.parquet import FileMetaData, ParquetFile

Columns = Mapping[str, str | None]
"""Names of needed fields, and the setting that cannot do without one; None where its absence is counted."""

MOST_ROWS = 4096
BATCH_BYTES = 16_000_000
"""Rows are read in batches of about this many bytes, and of at most MOST_ROWS."""

_BUFFER = 1 << 20
"""Bytes of a column that are read at once. Without it, and with pre_buffer, whole row groups are: of a file
that has one, all of it."""


@contextlib.contextmanager
def _open(file: DataFile) -> Iterator[ParquetFile]:
    # Imported here: files of other kinds are read without it.
    import pyarrow
    import pyarrow.parquet

    try:
        with (
            file.open("rb") as stream,
            pyarrow.parquet.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False) as table,
        ):
            yield table
    except pyarrow.ArrowException as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{file}: this is not a sound parquet file ({first}).") from None


def cut_row_groups(file: Path, part: int) -> Iterator[tuple[int, int, int]]:
    """Ranges of row groups of about `part` bytes on disk, each with its bytes; an empty file is one range.

    Raises:
        UserError: not a sound parquet file.
    """
    with _open(file) as table:
        sizes = [_group_bytes(table.metadata, group) for group in range(table.num_row_groups)]
    start, total = 0, 0
    for group, (low, high) in enumerate(sizes):
        if total and total + high - low > part:
            yield start, group, total
            start, total = group, 0
        total += high - low
    yield start, len(sizes), total


def row_group_bytes(file: DataFile, start: int, stop: int) -> list[tuple[int, int | None]]:
    """Where in the file the row groups from `start` to `stop` lie, and the table of contents at its end."""
    with _open(file) as table:
        contents = table.metadata.serialized_size
        groups = [_group_bytes(table.metadata, group) for group in range(start, stop)]
    return [*groups, (file_size(file) - contents - 8, None)]


def _group_bytes(metadata: FileMetaData, group: int) -> tuple[int, int]:
    row_group = metadata.row_group(group)
    columns = [row_group.column(number) for number in range(row_group.num_columns)]
    starts = [
        min(column.data_page_offset, column.dictionary_page_offset or column.data_page_offset)
        for column in columns
    ]
    stops = [start + column.total_compressed_size for start, column in zip(starts, columns, strict=True)]
    return min(starts, default=0), max(stops, default=0)


def row_records(
    file: DataFile, start: int, stop: int | None, columns: Columns | None, log: ReadLog, advance: Advance
) -> Iterator[tuple[dict[str, Any], str]]:
    """The rows of the row groups from `start` to `stop`, as records, each with its place.

    Args:
        file: a parquet file.
        start: the first row group.
        stop: the row group after the last one; None for all that follow.
        columns: the columns that are read, `a.b` for a field inside one; all when None.
        log: takes rows with text that is not UTF-8, and the columns where one is lacking.
        advance: takes the bytes that were read.

    Raises:
        UserError: not a sound parquet file, or one without a column that a setting asks for.
    """
    with _open(file) as table:
        metadata = table.metadata
        chosen = _chosen(file, table.schema_arrow, columns, log)
        stop = table.num_row_groups if stop is None else stop
        row = sum(metadata.row_group(group).num_rows for group in range(start))
        done = 0
        for group in range(start, stop):
            rows = _batch_rows(metadata, group, chosen)
            for batch in table.iter_batches(rows, row_groups=[group], columns=chosen, use_threads=False):
                for record in _batch_records(batch):
                    row += 1
                    if record is None:
                        log.skip("invalid UTF-8", f"{file}:row {row}")
                    else:
                        yield record, f"{file}:row {row}"
            low, high = _group_bytes(metadata, group)
            done += high - low
            advance(done)


def _chosen(file: DataFile, schema: Schema, columns: Columns | None, log: ReadLog) -> list[str] | None:
    if columns is None:
        return None
    chosen = []
    for column, setting in columns.items():
        if _has(schema, column):
            chosen.append(column)
        elif setting:
            names = ", ".join(schema.names)
            raise UserError(f"{setting}: {file} has no column {column!r}; it has the columns {names}.")
        else:
            log.fields_found = log.fields_found or tuple(schema.names)
    return chosen


def _has(schema: Schema, column: str) -> bool:
    import pyarrow

    if column in schema.names:
        return True
    first, *steps = column.split(".")
    if first not in schema.names:
        return False
    inner = schema.field(first).type
    for step in steps:
        if not pyarrow.types.is_struct(inner) or inner.get_field_index(step) < 0:
            return False
        inner = inner.field(step).type
    return True


def _batch_rows(metadata: FileMetaData, group: int, chosen: list[str] | None) -> int:
    row_group = metadata.row_group(group)
    size = 0
    for number in range(row_group.num_columns):
        column = row_group.column(number)
        path = column.path_in_schema
        if chosen is None or any(path == name or path.startswith(f"{name}.") for name in chosen):
            size += column.total_uncompressed_size
    return max(1, min(MOST_ROWS, BATCH_BYTES * row_group.num_rows // max(1, size)))


def _batch_records(batch: RecordBatch) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch; None for a row with text that is not UTF-8."""
    names = batch.schema.names
    if not names:
        yield from ({} for _ in range(batch.num_rows))
        return
    try:
        columns = [column.to_pylist() for column in batch.columns]
    except UnicodeDecodeError:
        for number in range(batch.num_rows):
            try:
                yield batch.slice(number, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None
        return
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))
