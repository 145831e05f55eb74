"""Which documents no training ever sees: a keyed hash of the document's key decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from flyweight.base import UserError, derive_seed

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


def split_threshold(hashes: Iterable[np.ndarray], share: float, name: str, skipped: str) -> int:
    """The threshold of a source: that of the share, or more where it would hold out too little.

    Memory is constant: of the hashes only the few smallest are kept.

    Args:
        hashes: uint64 arrays, the split hashes of all usable documents. A source that decides for itself
            which documents are held out gives 0 for those and the largest number for the others.
        share: to hold out.
        name: of the source, for the error.
        skipped: what became of its other records, for the error.

    Raises:
        UserError: too little text to split.
    """
    chosen, documents, held_out = share_threshold(share), 0, 0
    smallest: dict[int, int] = {}
    for batch in hashes:
        documents += len(batch)
        held_out += int((batch < np.uint64(chosen)).sum())
        values, counts = np.unique(batch, return_counts=True)
        for value, count in zip(values[:LEAST_HELD_OUT].tolist(), counts.tolist(), strict=False):
            smallest[value] = smallest.get(value, 0) + count
        smallest = {value: smallest[value] for value in sorted(smallest)[:LEAST_HELD_OUT]}
    if held_out < LEAST_HELD_OUT:
        held_out = 0
        for value, count in smallest.items():
            chosen, held_out = value + 1, held_out + count
            if held_out >= LEAST_HELD_OUT:
                break
    if documents < LEAST_DOCUMENTS or held_out < LEAST_HELD_OUT or held_out >= documents:
        raise UserError(
            f"source {name!r}: too little text for the held-out split: found {documents:,} usable "
            f"documents, needed are at least {LEAST_DOCUMENTS} that are not all the same, so that "
            f"{LEAST_HELD_OUT} can be held out"
            + (f" (left out: {skipped})." if skipped else "; add text, or take the source out.")
        )
    return chosen
