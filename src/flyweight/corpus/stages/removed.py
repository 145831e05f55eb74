"""The record of what cleaning took out: how much of which source, why, with samples to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flyweight.base import write_json
from flyweight.corpus.cleaning.contamination import EvaluationIndex
from flyweight.corpus.reading.source import SourceReader
from flyweight.corpus.stages.decide import Gathered
from flyweight.corpus.stages.fates import REMOVED, Fate, load_fates

REMOVED_FILE = "removed.json"

SAMPLES = 5
"""Removed documents that are shown, of each source and reason."""

HEAD = 240
"""Characters of a document that are shown."""


def write_removed(
    folder: Path,
    gathered: Gathered,
    readers: Mapping[str, SourceReader],
    fates: Path,
    drops: Mapping[Fate, Sequence[Path]],
    sets: EvaluationIndex | None,
) -> None:
    """Write `folder`/removed.json.

    Under `sources`, by source and reason, are the number of documents and samples of them; under
    `evaluation_sets`, by set, what was lost to it and how many of its items could not be looked for.

    Args:
        folder: of the corpus.
        gathered: all documents.
        readers: by source.
        fates: folder of the fates.
        drops: files of groups.DROPPED, the duplicates with what each is a duplicate of.
        sets: the evaluation sets, where there are any.
    """
    result: dict[str, dict[str, Any]] = {}
    for name in readers:
        result[name] = {}
        for fate in REMOVED:
            documents, rows = _members(gathered, name, fates, fate)
            if documents:
                samples = [_sample(gathered, number, row, fate, drops, sets) for number, row in rows]
                result[name][fate.name.lower()] = {"documents": documents, "samples": samples}
    lost = _lost_to_sets(gathered, readers, fates, sets) if sets else {}
    write_json(folder / REMOVED_FILE, {"sources": result, "evaluation_sets": lost})


def _lost_to_sets(
    gathered: Gathered, readers: Mapping[str, SourceReader], fates: Path, sets: EvaluationIndex
) -> dict[str, dict[str, Any]]:
    """A document that holds runs of several sets is lost to the first, the one that its facts name."""
    documents = np.zeros((len(readers), len(sets.sets)), np.int64)
    sizes = np.zeros_like(documents)
    chunks = gathered.chunks
    for row, name in enumerate(readers):
        for number in gathered.numbers(name):
            facts = chunks[number].facts()
            removed = facts[load_fates(fates, number) == Fate.CONTAMINATED]
            np.add.at(documents[row], removed["contaminated"], 1)
            np.add.at(sizes[row], removed["contaminated"], removed["size"].astype(np.int64))
    result: dict[str, dict[str, Any]] = {}
    for column, one in enumerate(sets.sets):
        by_source = {
            name: {"documents": int(documents[row, column]), "bytes": int(sizes[row, column])}
            for row, name in enumerate(readers)
            if documents[row, column]
        }
        result[one.name] = {
            "items": one.items,
            "short_items": one.short_items,
            "documents": int(documents[:, column].sum()),
            "bytes": int(sizes[:, column].sum()),
            "sources": by_source,
        }
    return result


def _members(gathered: Gathered, name: str, fates: Path, fate: Fate) -> tuple[int, list[tuple[int, int]]]:
    documents, first = 0, []
    for number in gathered.numbers(name):
        rows = np.flatnonzero(load_fates(fates, number) == fate)
        documents += len(rows)
        first += [(number, int(row)) for row in rows[: SAMPLES - len(first)]]
    return documents, first


def _sample(
    gathered: Gathered,
    number: int,
    row: int,
    fate: Fate,
    drops: Mapping[Fate, Sequence[Path]],
    sets: EvaluationIndex | None,
) -> dict[str, str]:
    text = gathered.chunks[number].text(row)
    sample = {"text": text[:HEAD]}
    if fate == Fate.CONTAMINATED:
        assert sets is not None
        found = sets.explain(text)
        assert found is not None
        sample["evaluation_set"], sample["words"] = found
        return sample
    document = np.uint64(number << 32 | row)
    for file in drops[fate]:
        dropped = np.load(file, mmap_mode="r")
        place = int(np.searchsorted(dropped["document"], document))
        if place < len(dropped) and dropped["document"][place] == document:
            other = int(dropped["of"][place])
            sample["duplicate_of_source"] = _source_of(gathered, other >> 32)
            sample["duplicate_of"] = gathered.chunks[other >> 32].text(other & 0xFFFFFFFF)[:HEAD]
            break
    return sample


def _source_of(gathered: Gathered, number: int) -> str:
    return next(name for name in gathered.parts if number in gathered.numbers(name))
