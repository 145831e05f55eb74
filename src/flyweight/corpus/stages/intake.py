"""How much of a source is read: its parts in order, no further than its limit needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from flyweight.corpus.engine import Turn
from flyweight.corpus.stages.read import ReadPart

FIRST_RATIO = 3.0
"""Bytes of text for a byte on disk, guessed before anything was read: compressed files hold 2 to 4."""


@dataclass
class Intake:
    """What was read of one source so far."""

    limit: int | None
    """Bytes of text after which no more is read."""
    sizes: Sequence[int]
    """Of every part, its bytes on disk or on the hub."""
    parts: list[ReadPart | None]
    """Those that were read."""
    _known: int = field(default=0, init=False)
    """So many of the first parts are all there."""
    _bytes: int = field(default=0, init=False)
    """Of text in them."""
    _read: int = field(default=0, init=False)
    """Of their files."""

    def turn(self, number: int) -> Turn:
        """Whether a part is to be read: later, while those before it may well be enough for the limit.

        How much text a part holds is guessed from those that were read; a wrong guess only costs time.
        """
        if self.limit is None:
            return Turn.NOW
        self._look()
        if self._bytes >= self.limit:
            return Turn.NEVER
        ratio = self._bytes / self._read if self._read else FIRST_RATIO
        expected = sum(
            part.bytes if (part := self.parts[one]) else ratio * self.sizes[one]
            for one in range(self._known, number)
        )
        return Turn.NOW if self._bytes + expected < self.limit else Turn.LATER

    @property
    def read_bytes(self) -> int:
        """Bytes on disk of the parts that were read."""
        return sum(size for size, part in zip(self.sizes, self.parts, strict=True) if part)

    def _look(self) -> None:
        while self._known < len(self.parts) and (part := self.parts[self._known]):
            self._bytes += part.bytes
            self._read += self.sizes[self._known]
            self._known += 1

    def kept(self) -> list[ReadPart]:
        """The parts as far as the limit; what a worker read beyond it does not count."""
        kept, total = [], 0
        for part in self.parts:
            if self.limit is not None and total >= self.limit:
                break
            assert part is not None
            kept.append(part)
            total += part.bytes
        return kept
