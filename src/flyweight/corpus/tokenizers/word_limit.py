"""A bound on the distinct words of a stream of text, and so on the memory of training a BPE on it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

MOST_WORDS = 1_000_000
"""Distinct words that are let through: counting and merging them takes about 1.2 GB, see `bpe`."""

UNLIMITED_BYTES = 500_000_000
"""Samples up to this size are not limited: 10, 40 and 120 MB of English and code hold 61, 154 and 363
thousand distinct words, which grow as the size to the power of 0.72, to about a million."""

_UNIT = re.compile(r"\w+|\s+|[^\w\s]+")

_BITS = 29
"""The filter has 2 ** _BITS bits, 64 MB: with a million words set, one unseen word in 500 passes as seen."""


_AT_HAND = 200_000
"""Words that are looked up without the filter, the first to come up: most of any text."""


def limit_words(texts: Iterable[str], most: int, bits: int = _BITS) -> Iterator[str]:
    """Texts with at most about `most` distinct words between them.

    Words, runs of punctuation and runs of white space all count. Once `most` were seen, each new one is
    taken out of the text, a line break in its place. What comes up only after that many others is
    rare: it has no merges to teach. Which words stay does not depend on the process.
    """
    seen = bytearray(1 << (bits - 3))
    at_hand: set[str] = set()
    mask = (1 << bits) - 1
    found = 0
    for text in texts:
        units = _UNIT.findall(text)
        fresh: dict[str, int] = {}
        for unit in set(units) - at_hand:
            key = zlib.crc32(unit.encode("utf-8")) & mask
            if not seen[key >> 3] & (1 << (key & 7)):
                fresh[unit] = key
        if found < most:
            # A text's words come in all together, so that the result does not hang on the order of a set.
            for key in fresh.values():
                seen[key >> 3] |= 1 << (key & 7)
            found += len(fresh)
            if len(at_hand) < _AT_HAND:
                at_hand.update(fresh)
        elif fresh:
            # The units cover the text: every character is in one.
            text = "".join(["\n" if unit in fresh else unit for unit in units])
        yield text
