"""Groups: documents with equal keys, found range by range of the keys within a bound on memory.

Every chunk has written its keys sorted. A job takes one range of keys from all chunks, so that all
documents of a group meet in one job; the ranges are as many as it takes for one to fit into memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from flyweight.corpus.engine import Executor, Job, Report, run_jobs
from flyweight.corpus.engine.jobs import finished, finished_folder
from flyweight.corpus.stages.chunks import KEYED, Chunk
from flyweight.corpus.stages.fates import HELD_OUT, LIVE, load_fates

RANGE_BYTES = 96_000_000
"""Keys of one range; sorting them takes about four times as much memory."""

DROPPED = np.dtype([("document", "<u8"), ("of", "<u8")])
"""A document that is dropped, and the one that it is a duplicate of: chunk number << 32 | row."""

DROPS_FILE = "dropped.npy"

Which = Literal["exact", "near"]
Mode = Literal["remove", "held_out"]


def drop_duplicates(
    executor: Executor,
    chunks: Sequence[Chunk],
    fates: Path,
    which: Which,
    mode: Mode,
    folder: Path,
    key: str,
    report: Report,
) -> list[Path]:
    """The documents to drop: files of sorted arrays of DROPPED, one a range of keys.

    Args:
        executor: where the ranges are reduced.
        chunks: of all sources, in the corpus's order.
        fates: folder with what is already decided; dropped documents take no part.
        which: which keys.
        mode: `remove`: of each group all but the first. `held_out`: of each group that has a held-out
            document all training documents.
        folder: for the results.
        key: hash of all that decides the keys and the fates.
        report: takes the share that is done.
    """
    if not chunks:
        return []
    total = sum(chunk.path(which).stat().st_size for chunk in chunks)
    ranges = max(1, -(-total // RANGE_BYTES))
    bounds = [(1 << 64) * index // ranges for index in range(ranges + 1)]
    jobs = [
        Job(
            _reduce,
            (
                tuple(chunks),
                str(fates),
                which,
                mode,
                low,
                high,
                f"{key}/{index}/{ranges}",
                str(folder / f"{which}-{index:05d}"),
            ),
            f"looking for {which} duplicates",
        )
        for index, (low, high) in enumerate(itertools.pairwise(bounds))
    ]
    return [Path(place) / DROPS_FILE for place in run_jobs(executor, jobs, report)]


def _reduce(
    chunks: Sequence[Chunk],
    fates: str,
    which: Which,
    mode: Mode,
    low: int,
    high: int,
    key: str,
    folder: str,
    report: Report,
) -> str:
    place = Path(folder)
    if finished(place, key):
        return folder
    keys, documents, held = [], [], []
    for number, chunk in enumerate(chunks):
        chunk.check()
        records = np.load(chunk.path(which), mmap_mode="r")
        first = int(np.searchsorted(records["key"], np.uint64(low)))
        last = len(records) if high >= 1 << 64 else int(np.searchsorted(records["key"], np.uint64(high)))
        taken = np.array(records[first:last], KEYED)
        fate = load_fates(Path(fates), number)[taken["row"]]
        live = np.isin(fate, LIVE)
        taken, fate = taken[live], fate[live]
        keys.append(taken[["key", "check"]])
        documents.append(np.uint64(number << 32) | taken["row"].astype(np.uint64))
        held.append(fate == HELD_OUT)
        report((number + 1) / len(chunks))
    drops = find_drops(np.concatenate(keys), np.concatenate(documents), np.concatenate(held), mode)
    with finished_folder(place, key) as temporary:
        np.save(temporary / DROPS_FILE, drops)
    return folder


def find_drops(keys: np.ndarray, documents: np.ndarray, held_out: np.ndarray, mode: Mode) -> np.ndarray:
    """The documents to drop among these, as a sorted array of DROPPED, each document once.

    Args:
        keys: (n,) with the fields key and check; equal ones are a group.
        documents: (n,) uint64, numbers in the corpus's order. A document may be in several groups.
        held_out: (n,) bool.
        mode: as for `drop_duplicates`.
    """
    # Held-out members first where they decide, else the lowest document first.
    rank = np.where(held_out, 0, 1) if mode == "held_out" else np.zeros(len(keys), np.int8)
    order = np.lexsort((documents, rank, keys["check"], keys["key"]))
    keys, documents, held_out = keys[order], documents[order], held_out[order]
    if not len(keys):
        return np.empty(0, DROPPED)
    begins = np.ones(len(keys), bool)
    begins[1:] = (keys["key"][1:] != keys["key"][:-1]) | (keys["check"][1:] != keys["check"][:-1])
    leader = np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))
    dropped = held_out[leader] & ~held_out if mode == "held_out" else documents != documents[leader]
    result = np.empty(int(dropped.sum()), DROPPED)
    result["document"], result["of"] = documents[dropped], documents[leader[dropped]]
    result = result[np.lexsort((result["of"], result["document"]))]
    first = np.ones(len(result), bool)
    first[1:] = result["document"][1:] != result["document"][:-1]
    return result[first]
