"""Near-duplicates by MinHash: documents that share one of their 14 keys are nearly the same.

Broder, "On the resemblance and containment of documents" (1997): for a random order of all shingles, two
documents have the same first shingle with a probability of their resemblance s, the Jaccard similarity of
their sets of shingles. Of 112 such orders, 14 bands of 8 each make a key, so that two documents share at
least one key with probability 1 - (1 - s^8)^14: 0.05 at s = 0.5, 0.56 at 0.7, 0.92 at 0.8, 0.9996 at 0.9.
Shingles of 5 words and these numbers are FineWeb's (Penedo et al. 2024, section 3.4).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from flyweight.base import derive_seed
from flyweight.corpus.cleaning.words import SEQUENCE_FACTOR, Hashes, Places, WordHashes, mix, sequence_hashes

BANDS = 14
ROWS = 8
SHINGLE = 5
"""Words in a shingle."""

NO_KEY = 0
"""The key of documents without words: not to be compared."""

_BLOCK = 64 * 1024
"""Shingles that are worked on at a time: as 32-bit numbers they stay in a processor's cache."""

Signatures = npt.NDArray[np.uint32]

_MULTIPLIERS = [
    np.uint32(derive_seed(0, "minhash", number) & 0xFFFFFFFF | 1) for number in range(BANDS * ROWS)
]
"""The orders: shingles, which are random 32-bit numbers, in the order of their product with an odd constant
modulo 2^32. Every one is a permutation, and the tests measure that together they act as independent ones."""

_BAND_SALTS = np.array([derive_seed(0, "minhash band", band) for band in range(BANDS)], dtype=np.uint64)


def band_keys(words: WordHashes) -> npt.NDArray[np.uint64]:
    """The keys under which near-duplicates meet.

    A document with fewer than 5 words has one shingle of all its words. The keys of different bands
    never agree but by chance, and so may be put together. They depend on a document's words alone.

    Returns:
        (documents, BANDS); NO_KEY throughout, and nowhere else, for a document without words.
    """
    rows = signatures(words)
    present = np.diff(words.starts) > 0
    # Two rows make 64 bits: (BANDS, ROWS / 2, documents).
    pairs = rows.reshape(BANDS, ROWS // 2, 2, -1).astype(np.uint64)
    pairs = pairs[:, :, 0] << np.uint64(32) | pairs[:, :, 1]
    keys = np.repeat(_BAND_SALTS[:, None], rows.shape[1], axis=1)
    for pair in range(ROWS // 2):
        keys ^= pairs[:, pair]
        mix(keys)
    keys[keys == NO_KEY] = 1
    keys[:, ~present] = NO_KEY
    return np.ascontiguousarray(keys.T)


def signatures(words: WordHashes) -> Signatures:
    """The smallest shingle of each document in each of the orders.

    Returns:
        (BANDS * ROWS, documents); the largest number throughout for a document without words.
    """
    smallest = np.full((BANDS * ROWS, words.documents), 0xFFFFFFFF, dtype=np.uint32)
    products = np.empty(_BLOCK, dtype=np.uint32)
    for documents, firsts, shingles in _blocks(words):
        room = products[: len(shingles)]
        # Only the first and last document of a block can have shingles in other blocks, but a minimum
        # with what is there is cheap beside the products.
        for row, multiplier in zip(smallest, _MULTIPLIERS, strict=True):
            np.multiply(shingles, multiplier, out=room)
            found = np.minimum.reduceat(room, firsts)
            row[documents] = np.minimum(row[documents], found)
    return smallest


def estimated_resemblance(first: Signatures, second: Signatures) -> npt.NDArray[np.float64]:
    """The share of the orders in which two documents have the same smallest shingle.

    An estimate of the Jaccard similarity s, with a standard error of sqrt(s (1 - s) / 112).

    Args:
        first: (BANDS * ROWS, pairs).
        second: of the same shape.
    """
    return (first == second).mean(axis=0)


def _blocks(words: WordHashes) -> Iterator[tuple[Places, Places, Signatures]]:
    """The documents with words, where the shingles of each begin, and the shingles; long ones in pieces."""
    documents, begins, counts, ends = _pieces(words)
    totals = np.cumsum(counts)
    first = 0
    while first < len(documents):
        before = int(totals[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(totals, before + _BLOCK, side="right")))
        chosen = slice(first, last)
        begin, end = int(begins[first]), int(ends[last - 1])
        local = begins[chosen] - begin
        shingles = _shingles(words.hashes[begin:end], local, counts[chosen], ends[chosen] - begin)
        starts = np.zeros(last - first, dtype=np.int64)
        np.cumsum(counts[chosen][:-1], out=starts[1:])
        yield documents[chosen], starts, shingles
        first = last


def _pieces(words: WordHashes) -> tuple[Places, Places, Places, Places]:
    """Documents in pieces of at most _BLOCK shingles: document, first word, shingles, end of the words.

    The words of a piece overlap with the next piece's of the same document.
    """
    lengths = np.diff(words.starts)
    documents = np.flatnonzero(lengths)
    begins, lengths = words.starts[documents], lengths[documents]
    counts = np.maximum(lengths - (SHINGLE - 1), 1)
    if (counts > _BLOCK).any():
        pieces = -(-counts // _BLOCK)
        documents, begins, lengths = (np.repeat(of, pieces) for of in (documents, begins, lengths))
        number = np.arange(len(documents)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        counts = np.minimum(np.repeat(counts, pieces) - number * _BLOCK, _BLOCK)
        begins = begins + number * _BLOCK
        lengths = np.minimum(lengths - number * _BLOCK, counts + (SHINGLE - 1))
    return documents, begins, counts, begins + lengths


def _shingles(hashes: Hashes, begins: Places, counts: Places, ends: Places) -> Signatures:
    """The shingles of pieces that follow one another, as numbers from 1 to 2^32 - 1.

    Args:
        hashes: the words of all pieces.
        begins: where each piece begins.
        counts: how many shingles it has.
        ends: where its words end.
    """
    runs = np.zeros(len(hashes), dtype=np.uint64)
    whole = sequence_hashes(hashes, SHINGLE)
    runs[: len(whole)] = whole
    wanted = np.zeros(len(hashes) + 1, dtype=np.int8)
    wanted[begins] += 1
    wanted[begins + counts] -= 1
    chosen = np.cumsum(wanted[:-1], dtype=np.int8).view(np.bool_)
    lengths = ends - begins
    short = np.flatnonzero(lengths < SHINGLE)
    at = begins[short]
    runs[at] = 0
    for place in range(SHINGLE - 1):
        at = at[lengths[short] > place]
        short = short[lengths[short] > place]
        runs[at] = runs[at] * SEQUENCE_FACTOR + hashes[at + place]
    numbers = (runs[chosen] >> np.uint64(32)).astype(np.uint32)
    return np.maximum(numbers, np.uint32(1), out=numbers)
