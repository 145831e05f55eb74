"""JSON records: one a line, or an array in one file; what cannot be parsed is counted and located."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from flyweight.base import UserError
from flyweight.corpus.documents import ReadLog

LONGEST_LINE = 256 * 1024 * 1024
"""A longer line of JSON is a bad record: it would not fit into a small machine's memory."""

_SCAN = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Record = dict[str, Any]


def cut_lines(file: Path, size: int, part: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of about `part` bytes that begin and end with whole lines."""
    start, count = 0, -(-size // part)
    with file.open("rb") as stream:
        for number in range(1, count):
            nominal = size * number // count
            if nominal > start and (edge := _line_start(stream, nominal)) < size:
                yield start, edge
                start = edge
    yield start, size


def _line_start(stream: BinaryIO, offset: int) -> int:
    """Where the first line that begins at or after `offset` begins."""
    place = offset - 1
    stream.seek(place)
    while data := stream.read(_SCAN):
        if line_end := data.find(b"\n") + 1:
            return place + line_end
        place += len(data)
    return place


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes | int]:
    """The lines of a stream without their ends; of each that is longer than LONGEST_LINE, its length."""
    held: list[bytes] = []
    size, longest = 0, LONGEST_LINE
    for chunk in chunks:
        lines = chunk.split(b"\n")
        if len(lines) > 1:
            size += len(lines[0])
            yield b"".join((*held, lines[0])) if size <= longest else size
            for line in lines[1:-1]:
                yield line if len(line) <= longest else len(line)
            held, size = [], 0
        size += len(lines[-1])
        if size <= longest:
            held.append(lines[-1])
        else:
            held.clear()
    if size:
        yield b"".join(held) if size <= longest else size


def line_records(
    chunks: Iterable[bytes], name: str, start: int, log: ReadLog
) -> Iterator[tuple[Record, str]]:
    """The records of JSON Lines, each with its place.

    Args:
        chunks: the bytes, in pieces of any length; the first one begins with a line.
        name: the file, for places.
        start: where in the file the bytes begin; places are `name:line` at 0, else `name:byte N`.
        log: takes what is no record.
    """
    loads = orjson.loads
    number, offset = 0, start
    for line in split_lines(chunks):
        number += 1
        place = f"{name}:byte {offset}" if start else f"{name}:{number}"
        if isinstance(line, int):
            offset += line + 1
            log.skip(f"line longer than {LONGEST_LINE:,} bytes", place)
            continue
        offset += len(line) + 1
        try:
            record = loads(line)
        except ValueError:
            record = _parse_with_care(line, place, log)
            if record is _COUNTED:
                continue
        if type(record) is dict:
            yield record, place
        else:
            log.skip("not a JSON object", place)


_COUNTED = object()


def _parse_with_care(line: bytes, place: str, log: ReadLog) -> Any:
    """What orjson refuses: some of it is JSON to others (NaN, lone surrogates, a byte-order mark)."""
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        log.skip("invalid UTF-8", place)
        return _COUNTED
    if not text or text.isspace():
        log.skip("empty", place)
        return _COUNTED
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        log.skip("broken JSON", place)
        return _COUNTED


def file_records(
    chunks: Iterator[bytes], name: str, columns: Container[str] | None, log: ReadLog
) -> Iterator[tuple[Record, str]]:
    """The records of a .json file: JSON Lines under another name, an array of records, or one object.

    An object is itself the record, unless exactly one of its fields is a list of objects and not among
    `columns`: then these are the records, as in BIG-bench's files.

    Raises:
        UserError: neither of these, or an array too long to be held in memory.
    """
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if (b"\n" in chunk and head.strip()) or len(head) > LONGEST_LINE:
            break
    first, _, following = bytes(head).removeprefix(_BYTE_ORDER_MARK).lstrip().partition(b"\n")
    if following.strip() and _is_object(first):
        yield from line_records(itertools.chain([bytes(head)], chunks), name, 0, log)
        return
    for chunk in itertools.chain([b""], chunks):
        head += chunk
        if len(head) > LONGEST_LINE:
            raise UserError(
                f"{name}: this file holds more than {LONGEST_LINE:,} bytes in one JSON value; turn it into JSON "
                f"Lines, one record a line."
            )
    yield from _records_of_value(bytes(head), name, columns, log)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _records_of_value(
    data: bytes, name: str, columns: Container[str] | None, log: ReadLog
) -> Iterator[tuple[Record, str]]:
    if not data.strip():
        log.skip("empty", f"{name}:1")
        return
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: this is not sound JSON ({error}); mend it, or take it out.") from None
    if isinstance(value, dict):
        lists = [
            inner
            for field, inner in value.items()
            if field not in (columns or ())
            and isinstance(inner, list)
            and inner
            and isinstance(inner[0], dict)
        ]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise UserError(f"{name}: expected an array of records or an object; found a single value.")
    for number, record in enumerate(value, 1):
        if isinstance(record, dict):
            yield record, f"{name}:record {number}"
        else:
            log.skip("not a JSON object", f"{name}:record {number}")
