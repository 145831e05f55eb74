"""What becomes of each document: trained on, held out, or left out, and why.

A fate is one byte a document, in one file a chunk. They are decided step by step, each step seeing
only documents that are still live, and always in the corpus's order, whatever the workers were doing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np

from flyweight.base import atomic_write


class Fate(IntEnum):
    """What becomes of a document."""

    TRAIN = 0
    HELD_OUT = 1
    BEYOND_LIMIT = 2
    """After the source's limit."""
    UNUSED = 3
    """Held out, but beyond corpus.held_out_limit."""
    CONTAMINATED = 4
    """Shares 13 words with an evaluation set."""
    EXACT_DUPLICATE = 5
    NEAR_DUPLICATE = 6


HELD_OUT = int(Fate.HELD_OUT)
LIVE = (int(Fate.TRAIN), HELD_OUT)

DUPLICATES = (Fate.EXACT_DUPLICATE, Fate.NEAR_DUPLICATE)
REMOVED = (Fate.CONTAMINATED, *DUPLICATES)
"""Left out by cleaning."""


def load_fates(folder: Path, number: int) -> np.ndarray:
    """(documents,) uint8: the fates in the corpus's chunk `number`."""
    return np.load(folder / f"{number:06d}.npy", mmap_mode="r")


def save_fates(folder: Path, number: int, fates: np.ndarray) -> None:
    """Write them, whole."""
    with atomic_write(folder / f"{number:06d}.npy", "wb") as file:
        np.save(file, fates)


def fates_digest(folder: Path, number: int) -> str:
    """A hash of the fates in the corpus's chunk `number`."""
    return hashlib.blake2b(load_fates(folder, number).tobytes(), digest_size=8).hexdigest()


def mark_dropped(folder: Path, documents: Sequence[int], drops: Sequence[Path], fate: Fate) -> None:
    """Give `fate` to the dropped documents.

    Args:
        folder: of the fates.
        documents: how many each chunk has.
        drops: files of sorted arrays of groups.DROPPED.
        fate: of them all.
    """
    for number in range(len(documents)):
        low, high = np.uint64(number << 32), np.uint64((number + 1) << 32)
        rows = []
        for file in drops:
            dropped = np.load(file, mmap_mode="r")
            first, last = np.searchsorted(dropped["document"], [low, high])
            rows.append((dropped["document"][first:last] - low).astype(np.int64))
        joined = np.concatenate(rows) if rows else np.empty(0, np.int64)
        if len(joined):
            fates = np.array(load_fates(folder, number))
            fates[joined] = fate
            save_fates(folder, number, fates)
