"""Byte streams over plain, gzip and zstd files that notice an early end."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from flyweight.base import UserError

CHUNK = 1 << 18
ZSTD_LARGEST_WINDOW = 1 << 31  # `zstd --long=31`, the most that the format's command line writes


class _EndsEarly(Exception):
    pass


class _ZstdStream(io.RawIOBase):
    """Decompressed bytes of all frames of a file.

    `zstandard`'s own stream reader takes the end of a truncated file for the end of its text, so
    frames are followed by hand here.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame = self._new_frame()
        self._in_frame = False
        self._pending = b""
        self._ready = b""

    @staticmethod
    def _new_frame() -> zstandard.ZstdDecompressionObj:
        return zstandard.ZstdDecompressor(max_window_size=ZSTD_LARGEST_WINDOW).decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._ready:
            data = self._pending or self._raw.read(CHUNK)
            self._pending = b""
            if not data:
                if self._in_frame:
                    raise _EndsEarly
                return 0
            self._in_frame = True
            self._ready = self._frame.decompress(data)
            if self._frame.eof:
                self._pending = self._frame.unused_data
                self._frame, self._in_frame = self._new_frame(), False
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


@contextlib.contextmanager
def explain_unreadable(path: Path) -> Iterator[None]:
    """Turn every way in which a file cannot be read at all into one sentence that names it."""
    kind = "gzip" if path.suffix.lower() == ".gz" else "zstd"
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


def open_bytes(path: Path) -> tuple[io.BufferedIOBase, Callable[[], int]]:
    """The file's bytes, decompressed by its name's end, and what says how many were read from disk.

    Use it inside `explain_unreadable`.
    """
    raw = path.open("rb")
    suffix = path.suffix.lower()
    if suffix in (".gz", ".zst") and path.stat().st_size == 0:
        raw.close()
        raise EOFError
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw), raw.tell
    if suffix == ".zst":
        return io.BufferedReader(_ZstdStream(raw), CHUNK), raw.tell
    return raw, raw.tell
