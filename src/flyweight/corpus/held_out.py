"""Which documents no training ever sees: a keyed hash of the document's key decides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from flyweight.base import UserError, derive_seed
from flyweight.corpus.documents import Document

LEAST_DOCUMENTS = 10
"""Below this a source is too small to be split."""

LEAST_HELD_OUT = 2
"""Documents that are held out at least: one alone measures little more than itself."""

_ALL = 1 << 64


def split_hash(seed: int, key: str) -> int:
    """A number from 0 to 2^64 - 1; the document is held out when it is below the threshold."""
    secret = derive_seed(seed, "held-out split").to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8"), key=secret, digest_size=8).digest(), "little")


def share_threshold(share: float) -> int:
    """The threshold below which a share of all hashes lies."""
    return int(share * _ALL)


def is_held_out(document: Document, seed: int, threshold: int) -> bool:
    """On which side a document falls; one that its source has already put on a side stays there."""
    if document.held_out is not None:
        return document.held_out
    return split_hash(seed, document.key) < threshold


@dataclass
class SplitSurvey:
    """Counts what a share would hold out of a source, and keeps what is needed where that is too little.

    Memory is constant: of the keys only the few with the smallest hashes are kept.
    """

    seed: int
    share: float
    documents: int = 0
    held_out: int = 0
    _smallest: dict[int, int] = field(default_factory=dict)
    """Documents by hash, for the LEAST_HELD_OUT smallest hashes."""

    def add(self, document: Document) -> int:
        """Count a document; returns its hash (0 or the largest where the source decides)."""
        self.documents += 1
        if document.held_out is not None:
            self.held_out += document.held_out
            return 0 if document.held_out else _ALL
        number = split_hash(self.seed, document.key)
        self.held_out += number < share_threshold(self.share)
        if number in self._smallest:
            self._smallest[number] += 1
        elif len(self._smallest) < LEAST_HELD_OUT or number < max(self._smallest):
            self._smallest[number] = 1
            if len(self._smallest) > LEAST_HELD_OUT:
                del self._smallest[max(self._smallest)]
        return number

    def threshold(self, name: str, skipped: str) -> int:
        """The threshold of this source: that of the share, or more where it would hold out too little.

        Args:
            name: of the source, for the error.
            skipped: what became of its other records, for the error.

        Raises:
            UserError: too little text to split.
        """
        chosen, held_out = share_threshold(self.share), self.held_out
        if held_out < LEAST_HELD_OUT:
            held_out = 0
            for number in sorted(self._smallest):
                chosen, held_out = number + 1, held_out + self._smallest[number]
                if held_out >= LEAST_HELD_OUT:
                    break
        if self.documents < LEAST_DOCUMENTS or held_out < LEAST_HELD_OUT or held_out >= self.documents:
            raise UserError(
                f"source {name!r}: too little text for the held-out split: found {self.documents:,} usable "
                f"documents, needed are at least {LEAST_DOCUMENTS} that are not all the same, so that "
                f"{LEAST_HELD_OUT} can be held out"
                + (f" (skipped: {skipped})." if skipped else "; add text, or take the source out.")
            )
        return chosen
