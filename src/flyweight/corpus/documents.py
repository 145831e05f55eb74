"""A document, and the log of records that could not become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

FIRST_PLACES = 5
"""How many places of each kind of bad record are named; the rest is only counted."""


@dataclass(frozen=True, slots=True)
class Document:
    """One text, whole, as a source gives it.

    `key` decides on which side of the held-out split it falls: equal keys fall on the same side. Where
    it is None the text itself is the key.
    A source that generates its text sets `held_out` itself; elsewhere it is None. `marks` are the
    special tokens of a rendered conversation, as (start, end) in characters of `text`, rising: only
    there does text become special tokens.
    """

    text: str
    key: str | None = None
    held_out: bool | None = None
    marks: tuple[tuple[int, int], ...] = ()
    _utf8: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def utf8(self) -> bytes:
        """The text in UTF-8."""
        return self.text.encode("utf-8") if self._utf8 is None else self._utf8

    @property
    def size(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text) if self.text.isascii() else len(self.utf8)


@dataclass
class BadRecords:
    """Records that were skipped for one reason: how many, and where the first ones are."""

    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass
class ReadLog:
    """What a reader skipped, and how far it is."""

    bad: dict[str, BadRecords] = field(default_factory=dict)
    """By reason."""
    fields_found: tuple[str, ...] = ()
    """The fields of the first record that lacked the text field."""
    fraction: float = 0.0
    """Share of the input's bytes that were read."""
    filtered: int = 0
    """Sound records that the source's filter left out."""
    never_seen: tuple[str, ...] | None = None
    """Names in the filter that no record had, of those that were read to their end; None where none were."""

    def skip(self, reason: str, place: str) -> None:
        """Count a bad record; the first places of each reason are kept."""
        records = self.bad.setdefault(reason, BadRecords())
        records.count += 1
        if len(records.first) < FIRST_PLACES:
            records.first.append(place)

    def note_never_seen(self, names: Iterable[str]) -> None:
        """Keep only those of the filter's names that these records lacked too."""
        kept = set(names) if self.never_seen is None else set(names) & set(self.never_seen)
        self.never_seen = tuple(sorted(kept))

    def add(self, other: ReadLog) -> None:
        """Take over what the log of a later part says."""
        for reason, records in other.bad.items():
            mine = self.bad.setdefault(reason, BadRecords())
            mine.count += records.count
            mine.first.extend(records.first[: FIRST_PLACES - len(mine.first)])
        self.fields_found = self.fields_found or other.fields_found
        self.filtered += other.filtered
        if other.never_seen is not None:
            self.note_never_seen(other.never_seen)

    @property
    def skipped(self) -> int:
        """Bad records of all reasons."""
        return sum(records.count for records in self.bad.values())

    def summary(self) -> str:
        """One line for people; empty when nothing was skipped."""
        parts = [
            f"{records.count:,} x {reason} (first at {records.first[0]})"
            for reason, records in self.bad.items()
        ]
        return "; ".join(parts)

    def document(self, text: object, place: str) -> Document | None:
        """The document of a record's text, or None, and counted, when it is not usable text."""
        if not isinstance(text, str):
            self.skip("text is not a string", place)
        elif not text or text.isspace():
            self.skip("empty", place)
        else:
            try:
                return Document(text, _utf8=text.encode("utf-8"))
            except UnicodeEncodeError:  # a lone surrogate, as in JSON's "\ud800"
                self.skip("invalid UTF-8", place)
        return None
