"""A bound on the distinct words of a stream of text, and so on the memory of training a BPE on it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator

MOST_WORDS = 4_000_000
"""Distinct words that are let through."""

UNLIMITED_BYTES = 500_000_000
"""Samples up to this size have too few distinct words to need a limit."""

_UNIT = re.compile(r"\w+|\s+|[^\w\s]+")

_BITS = 31
"""The filter has 2 ** _BITS bits, 256 MB: with 4 million words set, one unseen word in 500 passes as seen."""


def limit_words(texts: Iterable[str], most: int, bits: int = _BITS) -> Iterator[str]:
    """Texts with at most about `most` distinct words between them.

    Words, runs of punctuation and runs of white space all count. Once `most` were seen, each new one is
    taken out of the text, a line break in its place. What comes up only after that many others is
    rare: it has no merges to teach. Which words stay does not depend on the process.
    """
    seen = bytearray(1 << (bits - 3))
    mask = (1 << bits) - 1
    found = 0
    for text in texts:
        fresh = set()
        for unit in set(_UNIT.findall(text)):
            key = zlib.crc32(unit.encode("utf-8")) & mask
            if not seen[key >> 3] & (1 << (key & 7)):
                fresh.add((unit, key))
        if found < most:
            # A text's words come in all together, so that the result does not hang on the order of a set.
            for _, key in fresh:
                seen[key >> 3] |= 1 << (key & 7)
            found += len(fresh)
        elif fresh:
            words = {unit for unit, _ in fresh}
            text = _UNIT.sub(lambda match: "\n" if match[0] in words else match[0], text)  # noqa: B023
        yield text
