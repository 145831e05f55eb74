"""Plain text files as documents: short ones whole, long ones in pieces that end at blank lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading.compressed import DataFile, file_size

TEXT_PIECE = 64 * 1024
"""A longer text file is cut at blank lines into documents of about this many bytes."""

FEWEST_PIECES = 32
SMALLEST_PIECE = 2_000
"""Of few files, each is cut finer, into about FEWEST_PIECES pieces of at least SMALLEST_PIECE bytes."""

LONGEST_WITHOUT_BLANK = 4 * TEXT_PIECE
"""Text without blank lines is cut at a line's end after this many bytes, and inside a line if it must be."""

TEXT_BLOCK = 64_000_000
"""A file is also cut near every multiple of this many bytes, at a place that depends on nothing before it:
so blocks can be read apart, and give the same pieces as the whole."""

_CONTINUATION = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that begin no character."""

_BLANK_LINE = re.compile(rb"\n[ \t\r\f\v]*\n")


def piece_bytes(size: int | None) -> int:
    """About how many bytes a document cut from a text file has.

    Args:
        size: of the file, where it is one of few; None where there are many.
    """
    return TEXT_PIECE if size is None else min(TEXT_PIECE, max(size // FEWEST_PIECES, SMALLEST_PIECE))


def cut_text(file: Path, size: int, part: int) -> Iterator[tuple[int, int]]:
    """Byte ranges of about `part` bytes, blocks kept whole, that give the same pieces as the whole file."""
    with file.open("rb") as stream:
        edges = _block_edges(stream, 0, size)
    start = 0
    for edge, following in zip(edges[1:], [*edges[2:], None], strict=True):
        if following is None or following - start > part:
            yield start, edge
            start = edge


def text_records(
    file: DataFile, start: int, stop: int | None, piece: int, log: ReadLog, advance: Callable[[int], None]
) -> Iterator[tuple[str, str]]:
    """The pieces of the bytes from `start` to `stop`, each with its place.

    Places are lines where reading begins with the file, else bytes.
    """
    size = file_size(file)
    stop = size if stop is None else stop
    if size == 0:
        log.skip("empty", f"{file}:1")
    offset, line = start, 1
    with file.open("rb") as stream:
        edges = _block_edges(stream, start, stop)
        for block, end in itertools.pairwise(edges):
            stream.seek(block)
            for data in pieces(stream, end - block, piece):
                lines, following = data.count(b"\n"), offset + len(data)
                if offset == 0:
                    data = data.removeprefix(b"\xef\xbb\xbf")
                try:
                    text = data.decode("utf-8")
                except UnicodeDecodeError as error:
                    before = data.count(b"\n", 0, error.start)
                    log.skip("invalid UTF-8", f"{file}:{f'byte {offset}' if start else line + before}")
                else:
                    # Blank lines at the end of a long file are no record of their own.
                    if offset == 0 or (text and not text.isspace()):
                        yield text, f"{file}:{f'byte {offset}' if start else line}"
                offset, line = following, line + lines
                advance(offset - start)


def pieces(stream: BinaryIO, size: int, piece: int) -> Iterator[bytes]:
    """The next `size` bytes of `stream` in pieces of about `piece` bytes, cut at blank lines."""
    lines: list[bytes] = []
    held = 0
    while size and (line := stream.readline(min(LONGEST_WITHOUT_BLANK, size))):
        if not line.endswith(b"\n") and len(line) < size:
            line += _rest_of_character(stream, size - len(line))
        size -= len(line)
        lines.append(line)
        held += len(line)
        if (held >= piece and not line.strip()) or held >= max(piece, LONGEST_WITHOUT_BLANK):
            yield b"".join(lines)
            lines, held = [], 0
    if lines:
        yield b"".join(lines)


def _rest_of_character(stream: BinaryIO, left: int) -> bytes:
    """The bytes that follow a cut inside a line and belong to the character before it."""
    place = stream.tell()
    found = stream.read(min(3, left))
    rest = len(found) - len(found.lstrip(_CONTINUATION))
    stream.seek(place + rest)
    return found[:rest]


def _block_edges(stream: BinaryIO, start: int, stop: int) -> list[int]:
    """Where the blocks between two of their edges begin, and the end of the last one."""
    first, last = max(1, (start - LONGEST_WITHOUT_BLANK) // TEXT_BLOCK), stop // TEXT_BLOCK
    inner = {_edge(stream, number * TEXT_BLOCK) for number in range(first, last + 1)}
    return [start, *sorted(edge for edge in inner if start < edge < stop), stop]


def _edge(stream: BinaryIO, offset: int) -> int:
    """The first place at or after `offset` that follows a blank line; else a line; else a character."""
    stream.seek(offset)
    data = stream.read(LONGEST_WITHOUT_BLANK)
    if blank := _BLANK_LINE.search(data):
        return offset + blank.end()
    if line_end := data.find(b"\n") + 1:
        return offset + line_end
    return offset + len(data[:3]) - len(data[:3].lstrip(_CONTINUATION))
