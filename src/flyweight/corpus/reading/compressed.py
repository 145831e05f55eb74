"""Byte streams over plain, gzip and zstd files that notice an early end."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, Protocol

import zstandard

from flyweight.base import UserError

CHUNK = 1 << 20
"""Bytes that are read at once, of plain files and of what gzip unpacks."""

ZSTD_CHUNK = 1 << 17
"""Compressed bytes that are unpacked at once: they may become thousands of times as many."""

ZSTD_LARGEST_WINDOW = 1 << 31
"""`zstd --long=31`, the most that the format's command line writes."""


class DataFile(Protocol):
    """What is read of a file: a path on a disk has it, and a file of the hub."""

    @property
    def name(self) -> str:
        """Says by its end what the file holds."""
        ...

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """The bytes, from the beginning."""
        ...


Advance = Callable[[int], None]
"""Takes how many bytes of a file, as it lies on disk, were read."""


def file_size(file: DataFile) -> int:
    """Bytes of a file as it lies."""
    with file.open("rb") as stream:
        return stream.seek(0, io.SEEK_END)


class _EndsEarly(Exception):
    pass


@contextlib.contextmanager
def explain_unreadable(path: DataFile) -> Iterator[None]:
    """Turn every way in which a file cannot be read at all into one sentence that names it."""
    kind = "gzip" if path.name.lower().endswith(".gz") else "zstd"
    try:
        yield
    except (EOFError, _EndsEarly):
        raise UserError(
            f"{path}: this {kind} file ends early: it was cut off in the middle (an interrupted download?); "
            f"get it again."
        ) from None
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise UserError(
            f"{path}: this is not a sound {kind} file ({error}); get it again, or take it out."
        ) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path}: this file cannot be read ({reason}).") from None


def read_chunks(path: DataFile, start: int, stop: int | None, advance: Advance) -> Iterator[bytes]:
    """The file's bytes in pieces, unpacked by its name's end; of plain files those from `start` to `stop`.

    Use it inside `explain_unreadable`.
    """
    name = path.name.lower()
    with path.open("rb") as raw:
        if name.endswith((".gz", ".zst")):
            assert start == 0, "compressed files are read from their beginning"
            assert stop is None, "compressed files are read to their end"
            if not raw.read(1):
                raise EOFError
            raw.seek(0)
            yield from (_gzip_chunks if name.endswith(".gz") else _zstd_chunks)(raw, advance)
            return
        raw.seek(start)
        place = start
        while data := raw.read(CHUNK if stop is None else min(CHUNK, stop - place)):
            place += len(data)
            advance(place - start)
            yield data


def _gzip_chunks(raw: BinaryIO, advance: Advance) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=raw) as stream:
        while data := stream.read(CHUNK):
            advance(raw.tell())
            yield data


def _zstd_chunks(raw: BinaryIO, advance: Advance) -> Iterator[bytes]:
    """Of all frames. `zstandard`'s own reader takes the end of a truncated file for the end of its text."""
    frame, in_frame = _new_frame(), False
    while data := raw.read(ZSTD_CHUNK):
        advance(raw.tell())
        while data:
            in_frame = True
            ready = frame.decompress(data)
            data = b""
            if frame.eof:
                data = frame.unused_data
                frame, in_frame = _new_frame(), False
            if ready:
                yield ready
    if in_frame:
        raise _EndsEarly


def _new_frame() -> zstandard.ZstdDecompressionObj:
    return zstandard.ZstdDecompressor(max_window_size=ZSTD_LARGEST_WINDOW).decompressobj(write_size=1 << 22)
