"""The journal of what a run passed over: sequences that were drawn and not trained on.

Sequence n of a run stands at place `n + skipped` of its order, where `skipped` counts the sequences that
were passed over before it. Each range keeps the sequence length at which it was drawn, because windows
are counted by source and length: what was passed over is not drawn again within its epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flyweight.curriculum.segments import Schedule


@dataclass(frozen=True)
class Stretch:
    """Places first ... end-1 of the order, all drawn at one sequence length."""

    first: int
    end: int
    sequence_length: int


@dataclass(frozen=True)
class Journal:
    """The stretches that were passed over, in order and apart from each other."""

    skipped: tuple[Stretch, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Iterable[int]]) -> Journal:
        """From rows of (first, end, sequence length), as `rows` gives them."""
        return cls(tuple(Stretch(*row) for row in rows))

    def rows(self) -> tuple[tuple[int, int, int], ...]:
        """(first, end, sequence length) of each stretch, for JSON."""
        return tuple((part.first, part.end, part.sequence_length) for part in self.skipped)

    @property
    def sequences(self) -> int:
        """How many sequences were passed over."""
        return sum(part.end - part.first for part in self.skipped)

    def place(self, sequence: int) -> int:
        """Where sequence number `sequence` of the run stands in the order."""
        place = sequence
        for part in self.skipped:
            if part.first > place:
                break
            place += part.end - part.first
        return place

    def stretches(self, schedule: Schedule, until: int) -> list[Stretch]:
        """The order's places before `until`, cut where segments or skipped stretches begin and end."""
        result: list[Stretch] = []
        place = sequence = 0
        for part in (*self.skipped, None):
            free = until if part is None else min(part.first, until)
            while place < free:
                segment = schedule.segment_of_sequence(sequence)
                left = segment.first_sequence + segment.sequences - sequence
                if left <= 0:  # past the end of the run the last segment goes on
                    left = free - place
                end = min(free, place + left)
                result.append(Stretch(place, end, segment.sequence_length))
                sequence += end - place
                place = end
            if part is None or part.first >= until:
                return result
            end = min(part.end, until)
            result.append(Stretch(part.first, end, part.sequence_length))
            place = part.end
        return result

    def passing_over(self, schedule: Schedule, first: int, end: int, length: int | None = None) -> Journal:
        """The journal with places first ... end-1 passed over too; nothing from `first` on is trained on.

        Args:
            schedule: of the run.
            first: what was passed over before it stays so.
            end: one past the last place.
            length: at which they were drawn; what the order says of each of them when left out.
        """
        kept = [
            Stretch(part.first, min(part.end, first), part.sequence_length)
            for part in self.skipped
            if part.first < first
        ]
        if length is not None:
            added = [Stretch(first, end, length)]
        else:
            added = [
                Stretch(max(part.first, first), part.end, part.sequence_length)
                for part in self.stretches(schedule, end)
                if part.end > first
            ]
        return Journal(tuple(_joined([*kept, *added])))


def _joined(parts: Iterable[Stretch]) -> list[Stretch]:
    """Neighbours of one sequence length as one stretch."""
    result: list[Stretch] = []
    for part in parts:
        if result and (result[-1].end, result[-1].sequence_length) == (part.first, part.sequence_length):
            part = Stretch(result.pop().first, part.end, part.sequence_length)
        if part.end > part.first:
            result.append(part)
    return result
