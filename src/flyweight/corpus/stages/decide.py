"""From what is known of all documents to their fates: limits, contamination, duplicates, the held-out split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flyweight.base import UserError
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.engine import Executor, job_key
from flyweight.corpus.held_out import LEAST_HELD_OUT, split_threshold
from flyweight.corpus.reading.source import SourceReader
from flyweight.corpus.stages.chunks import Chunk
from flyweight.corpus.stages.fates import REMOVED, Fate, load_fates, mark_dropped, save_fates
from flyweight.corpus.stages.groups import Mode, Which, drop_duplicates
from flyweight.corpus.stages.read import ReadPart
from flyweight.recipe import Corpus

Progress = Callable[[str, float], None]
"""Takes what is being done, and the share of it that is done."""


@dataclass(frozen=True)
class Gathered:
    """All chunks of all sources in the corpus's order, and where each source's begin."""

    parts: Mapping[str, Sequence[ReadPart]]
    """By source, in the recipe's order."""

    @property
    def chunks(self) -> list[Chunk]:
        """Of all sources; a chunk's place here is its number in the corpus."""
        return [chunk for parts in self.parts.values() for part in parts for chunk in part.chunks]

    def numbers(self, source: str) -> range:
        """The numbers of the chunks of `source`."""
        first = 0
        for name, parts in self.parts.items():
            count = sum(len(part.chunks) for part in parts)
            if name == source:
                return range(first, first + count)
            first += count
        raise KeyError(source)

    def key(self) -> str:
        """A hash of all that was read."""
        return job_key(
            [[name, part.key, part.content] for name, parts in self.parts.items() for part in parts]
        )


def merged_log(parts: Sequence[ReadPart]) -> ReadLog:
    """What the readers of a source's parts skipped, together."""
    result = ReadLog()
    for part in parts:
        result.add(part.log)
    return result


def count_fates(folder: Path, numbers: Sequence[int]) -> Counter[Fate]:
    """How many documents of these chunks came to each fate."""
    result: Counter[Fate] = Counter()
    for number in numbers:
        values, counts = np.unique(load_fates(folder, number), return_counts=True)
        result.update(
            {Fate(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}
        )
    return result


def describe_left_out(log: ReadLog, reader: SourceReader, fates: Counter[Fate]) -> str:
    """Why a source has so few usable documents, for people; empty when nothing was left out."""
    reasons = [log.summary()] if log.skipped else []
    if log.fields_found:
        fields = ", ".join(map(str, log.fields_found[:8]))
        reasons.append(
            f"the records have the fields {fields}, and sources.{reader.name}.text_field is "
            f"{reader.source.text_field!r}"
        )
    if log.filtered:
        reasons.append(f"{log.filtered:,} by sources.{reader.name}.filter")
    for fate in (Fate.BEYOND_LIMIT, *REMOVED):
        if fates[fate]:
            reasons.append(f"{fates[fate]:,} x {fate.name.lower().replace('_', ' ')}")
    return "; ".join(reasons)


@dataclass
class Decision:
    """Decides the fates of all documents, step by step, into `folder`."""

    readers: Mapping[str, SourceReader]
    gathered: Gathered
    settings: Corpus
    executor: Executor
    folder: Path
    work: Path
    """For what the groups leave behind."""
    progress: Progress

    def run(self) -> dict[Fate, list[Path]]:
        """Decide all; returns the files of dropped duplicates of each kind.

        Raises:
            UserError: a source has too little text for the held-out split.
        """
        self._limits_and_contamination()
        drops: dict[Fate, list[Path]] = {}
        if self.settings.exact_duplicates:
            drops[Fate.EXACT_DUPLICATE] = self._duplicates("exact", "remove", Fate.EXACT_DUPLICATE)
        self._split()
        if self.settings.near_duplicates != "keep":
            mode: Mode = "remove" if self.settings.near_duplicates == "remove" else "held_out"
            drops[Fate.NEAR_DUPLICATE] = self._duplicates("near", mode, Fate.NEAR_DUPLICATE)
        self._held_out_limit()
        for name in self.readers:
            self._check_both_sides(name)
        return drops

    def _check_both_sides(self, name: str) -> None:
        numbers = self.gathered.numbers(name)
        counts = count_fates(self.folder, numbers)
        if not counts[Fate.TRAIN] or not counts[Fate.HELD_OUT]:
            left_out = describe_left_out(merged_log(self.gathered.parts[name]), self.readers[name], counts)
            raise UserError(
                f"source {name!r}: too little text for the held-out split: {counts[Fate.TRAIN]:,} documents are "
                f"left to train on and {counts[Fate.HELD_OUT]:,} to hold out ({left_out}); add text, or take the "
                f"source out."
            )

    def _limits_and_contamination(self) -> None:
        chunks = self.gathered.chunks
        for name, reader in self.readers.items():
            limit, total = reader.source.limit, 0
            for number in self.gathered.numbers(name):
                facts = chunks[number].facts()
                fates = np.full(len(facts), Fate.TRAIN, np.uint8)
                fates[facts["contaminated"] >= 0] = Fate.CONTAMINATED
                if limit is not None:
                    ends = total + np.cumsum(facts["size"], dtype=np.int64)
                    fates[ends > limit] = Fate.BEYOND_LIMIT
                    total = int(ends[-1])
                save_fates(self.folder, number, fates)

    def _duplicates(self, which: Which, mode: Mode, fate: Fate) -> list[Path]:
        stage = f"looking for {which} duplicates"
        self.progress(stage, 0.0)
        chunks = self.gathered.chunks
        key = job_key(self.gathered.key(), self.settings.model_dump(mode="json"), self._limits(), mode)
        drops = drop_duplicates(
            self.executor,
            chunks,
            self.folder,
            which,
            mode,
            self.work,
            key,
            lambda share: self.progress(stage, share),
        )
        mark_dropped(self.folder, [chunk.documents for chunk in chunks], drops, fate)
        self.progress(stage, 1.0)
        return drops

    def _limits(self) -> list[int | None]:
        return [reader.source.limit for reader in self.readers.values()]

    def _split(self) -> None:
        """Put live documents on their sides; sources of modules share a threshold, so that a module's
        prose and code stay together."""
        chunks = self.gathered.chunks
        modules = [name for name, reader in self.readers.items() if reader.is_modules]
        alone = [[name] for name in self.readers if name not in modules]
        for names in [*alone, modules] if modules else alone:
            threshold = self._common_threshold(names)
            for number in (number for name in names for number in self.gathered.numbers(name)):
                fates = np.array(load_fates(self.folder, number))
                below = chunks[number].facts()["split"] < np.uint64(threshold)
                fates[below & (fates == Fate.TRAIN)] = Fate.HELD_OUT
                save_fates(self.folder, number, fates)

    def _common_threshold(self, names: Sequence[str]) -> int:
        """Below which the split hashes of these sources are held out: the share, as far as the limit allows."""
        share = max(self._threshold(name) for name in names)
        least, most = zip(*(self._least_and_most(name, share) for name in names), strict=True)
        return max(*least, min(most))

    def _least_and_most(self, name: str, share: int) -> tuple[int, int]:
        """Thresholds up to `share`: LEAST_HELD_OUT documents are below the one, corpus.held_out_limit below the other.

        So what is held out is drawn from the whole source, however small a part of it the limit leaves.
        """
        hashes, sizes = [], []
        for number in self.gathered.numbers(name):
            facts = self.gathered.chunks[number].facts()
            chosen = (load_fates(self.folder, number) == Fate.TRAIN) & (facts["split"] < np.uint64(share))
            hashes.append(facts["split"][chosen])
            sizes.append(facts["size"][chosen].astype(np.int64))
        found = np.concatenate(hashes)
        order = np.argsort(found, kind="stable")
        found, ends = found[order], np.cumsum(np.concatenate(sizes)[order])
        within = int(np.searchsorted(ends, self.settings.held_out_limit, side="right"))
        # Equal hashes are of equal documents, which stay on one side.
        least = int(found[LEAST_HELD_OUT - 1]) + 1
        return least, max(least, share if within == len(found) else int(found[within]))

    def _threshold(self, name: str) -> int:
        chunks, numbers = self.gathered.chunks, self.gathered.numbers(name)
        live = (
            chunks[number].facts()["split"][load_fates(self.folder, number) == Fate.TRAIN]
            for number in numbers
        )
        left_out = describe_left_out(
            merged_log(self.gathered.parts[name]), self.readers[name], count_fates(self.folder, numbers)
        )
        return split_threshold(live, self.settings.held_out, name, left_out)

    def _held_out_limit(self) -> None:
        """What is held out beyond the limit and cannot be trained on either: equal documents, and generated
        ones that decide for themselves."""
        chunks, limit = self.gathered.chunks, self.settings.held_out_limit
        for name in self.readers:
            documents = total = 0
            for number in self.gathered.numbers(name):
                fates = np.array(load_fates(self.folder, number))
                rows = np.flatnonzero(fates == Fate.HELD_OUT)
                sizes = chunks[number].facts()["size"][rows].astype(np.int64)
                for row, size in zip(rows.tolist(), sizes.tolist(), strict=True):
                    if documents < LEAST_HELD_OUT or total + size <= limit:
                        documents, total = documents + 1, total + size
                    else:
                        fates[row] = Fate.UNUSED
                save_fates(self.folder, number, fates)
