"""Training documents that hold a run of 13 words of an evaluation set.

Brown et al., "Language Models are Few-Shot Learners" (2020), appendix C, look for runs of 13 words. There the
text around a hit is cut out; here the whole document is dropped, because a piece of a document next to a
question of an evaluation is likely to hold its answer. So one quotation costs a whole book where a book is
one document; removed.json of the corpus says how many bytes were lost to which set.

What is indexed of an evaluation set are the runs of 13 words inside each of its strings. Strings with fewer
words are not, since they occur everywhere, nor are runs of numbers alone, which calendars, tables and page
numbers share. Items that have nothing else cannot be found; removed.json says how many. A sentence that a set repeats
in every item, such as an instruction, is indexed like all others: where it is ordinary English it drops
ordinary documents, so name the fields that hold the items' own text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flyweight.base import UserError, read_json, write_json
from flyweight.corpus.cleaning.characters import CHARACTERS_VERSION
from flyweight.corpus.cleaning.words import (
    SEQUENCE_FACTOR,
    Hashes,
    Places,
    WordHashes,
    are_numbers,
    hash_words,
    runs_within,
    sequence_hashes,
    split_words,
)

RUN = 13
"""Words in a run."""

INDEX_VERSION = f"1, characters {CHARACTERS_VERSION}"
"""Of the files of an index: another one means other hashes."""

Item = str | Sequence[str]
"""One record of an evaluation set: its text, or its texts, such as a question and its answer."""

_NAMES, _HASHES, _SETS, _FILTER = "index.json", "hashes.npy", "sets.npy", "filter.npy"

_BATCH = 1 << 20
_BLOCK = 32 * 1024
"""Words that are looked up at a time: all arrays of a block stay in a processor's cache."""

_FILTER_BITS_EACH = 24
_SMALLEST_FILTER, _LARGEST_FILTER = 16, 31
"""Powers of two: the filter has about _FILTER_BITS_EACH bits for each run, of which two are set, so that
one foreign run in 150 or fewer gets past it to the search in the sorted hashes."""


@dataclass(frozen=True)
class IndexedSet:
    """What was indexed of one evaluation set."""

    name: str
    items: int
    """Records."""
    short_items: int
    """Of them, those without any run that is indexed, which cannot be found."""
    runs: int
    """Different runs of 13 words that no set before has."""


@dataclass(frozen=True)
class EvaluationIndex:
    """All runs of 13 words of some evaluation sets, as sorted hashes behind a filter."""

    sets: tuple[IndexedSet, ...]
    hashes: Hashes
    """(runs,): rising, all different."""
    numbers: npt.NDArray[np.uint16]
    """(runs,): the first set that has it."""
    filter: npt.NDArray[np.uint8]
    """A Bloom filter of two bits a run (Bloom 1970)."""
    key: str = ""
    """What it was built from, where the builder says so."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sets' names, in the order of their numbers."""
        return tuple(of.name for of in self.sets)

    @staticmethod
    def build(sets: Mapping[str, Iterable[Item]], key: str = "") -> EvaluationIndex:
        """Index evaluation sets.

        Args:
            sets: the items of each set, by its name.
            key: kept with the index.
        """
        counts: list[tuple[str, int, int]] = []
        found, owners = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.uint16)]
        for number, (name, items) in enumerate(sets.items()):
            total = short = 0
            runs = []
            for batch in _batches(items):
                words = hash_words(batch.texts)
                first, documents = runs_within(words, RUN)
                numbers_before = np.zeros(len(words.hashes) + 1, dtype=np.int64)
                np.cumsum(are_numbers(batch.texts), out=numbers_before[1:])
                kept = numbers_before[first + RUN] - numbers_before[first] < RUN
                runs.append(sequence_hashes(words.hashes, RUN)[first[kept]])
                total += batch.items
                short += batch.items - len(np.unique(batch.owners[documents[kept]]))
            counts.append((name, total, short))
            found.append(np.unique(np.concatenate(runs)) if runs else found[0])
            owners.append(np.full(len(found[-1]), number, dtype=np.uint16))
        # Of equal hashes the first is taken: the earliest set's.
        hashes, first = np.unique(np.concatenate(found), return_index=True)
        numbers = np.concatenate(owners)[first]
        per_set = np.bincount(numbers, minlength=len(counts))
        facts = tuple(IndexedSet(*of, int(runs)) for of, runs in zip(counts, per_set, strict=True))
        return EvaluationIndex(facts, hashes, numbers, _make_filter(hashes), key)

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, which exists; `load` maps its files."""
        for name, array in ((_HASHES, self.hashes), (_SETS, self.numbers), (_FILTER, self.filter)):
            np.save(folder / name, array, allow_pickle=False)
        facts = {"version": INDEX_VERSION, "key": self.key, "sets": [asdict(of) for of in self.sets]}
        write_json(folder / _NAMES, facts)

    @staticmethod
    def load(folder: Path) -> EvaluationIndex:
        """Open an index: its arrays are mapped, so that processes share them and only what is used is read.

        Raises:
            UserError: no index there, one of another version, or a broken one.
        """
        facts = read_json(folder / _NAMES, "index of evaluation sets")
        if not isinstance(facts, dict) or facts.get("version") != INDEX_VERSION:
            raise UserError(
                f"{folder}: this index of evaluation sets was made by another version of Flyweight or of Python; "
                f"remove it, so that it is made anew."
            )
        try:
            sets = tuple(IndexedSet(**of) for of in facts["sets"])
            hashes, numbers, bloom = (_open_array(folder / name) for name in (_HASHES, _SETS, _FILTER))
            runs = sum(of.runs for of in sets)
            if (len(hashes), len(numbers), len(bloom)) == (runs, runs, _filter_bytes(runs)):
                return EvaluationIndex(sets, hashes, numbers, bloom, facts["key"])
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise UserError(
            f"{folder}: this index of evaluation sets is broken; remove it, so that it is made anew."
        )

    def find(self, words: WordHashes) -> npt.NDArray[np.int32]:
        """Which documents share a run of 13 words with an evaluation set.

        Returns:
            (documents,): the lowest number of a set that is hit, or -1.
        """
        _, documents, entries = self.matches(words)
        first = np.full(words.documents, len(self.sets), dtype=np.int32)
        np.minimum.at(first, documents, self.numbers[entries].astype(np.int32))
        first[first == len(self.sets)] = -1
        return first

    def matches(self, words: WordHashes) -> tuple[Places, Places, Places]:
        """All runs of 13 words of the documents that are in the index.

        Returns:
            The number of the first word of each, its document, and its place in `hashes`.
        """
        at: list[Places] = []
        entries: list[Places] = []
        if len(self.hashes):
            for begin in range(0, len(words.hashes) - RUN + 1, _BLOCK):
                runs = sequence_hashes(words.hashes[begin : begin + _BLOCK + RUN - 1], RUN)
                passed = np.flatnonzero(_test(self.filter, runs))
                runs = runs[passed]
                places = np.minimum(np.searchsorted(self.hashes, runs), len(self.hashes) - 1)
                same = self.hashes[places] == runs
                at.append(passed[same] + begin)
                entries.append(places[same])
        if not at:
            nothing = np.zeros(0, dtype=np.int64)
            return nothing, nothing, nothing
        first, found = np.concatenate(at), np.concatenate(entries)
        documents = np.searchsorted(words.starts, first, side="right") - 1
        inside = first + RUN <= words.starts[documents + 1]
        return first[inside], documents[inside], found[inside]

    def explain(self, text: str) -> tuple[str, str] | None:
        """Why a document is dropped: the set that `find` names, and the first 13 words that it has of it."""
        words = hash_words([text.encode("utf-8", errors="replace")])
        first, _, entries = self.matches(words)
        if not len(first):
            return None
        number = self.numbers[entries].min()
        word = int(first[self.numbers[entries] == number][0])
        return self.names[number], " ".join(split_words(text, word, RUN))

    def hit_items(self, items: Iterable[Item], found: npt.NDArray[np.bool_]) -> list[int]:
        """The numbers of the items of a set that share a run of 13 words with some corpus.

        Args:
            items: as they were indexed.
            found: (runs,), True for what `matches` gave for the corpus.
        """
        hit: list[int] = []
        before = 0
        for batch in _batches(items):
            _, documents, entries = self.matches(hash_words(batch.texts))
            owners = np.unique(batch.owners[documents[found[entries]]])
            hit += (owners + before).tolist()
            before += batch.items
        return hit


@dataclass(frozen=True)
class _Batch:
    """The texts of some items, and which of the items each is of."""

    texts: list[bytes]
    owners: Places
    items: int


def _batches(items: Iterable[Item]) -> Iterator[_Batch]:
    texts: list[bytes] = []
    owners: list[int] = []
    count = size = 0
    for item in items:
        for text in (item,) if isinstance(item, str) else item:
            data = text.encode("utf-8", errors="replace")
            texts.append(data)
            owners.append(count)
            size += len(data)
        count += 1
        if size >= _BATCH:
            yield _Batch(texts, np.array(owners, dtype=np.int64), count)
            texts, owners, count, size = [], [], 0, 0
    if count:
        yield _Batch(texts, np.array(owners, dtype=np.int64), count)


def _open_array(file: Path) -> npt.NDArray:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    return np.asarray(array)  # operations on a numpy.memmap are slower than on the plain array beneath


def _filter_bytes(runs: int) -> int:
    power = max(1, runs * _FILTER_BITS_EACH - 1).bit_length()
    return 1 << (min(max(power, _SMALLEST_FILTER), _LARGEST_FILTER) - 3)


def _bits(hashes: Hashes, bytes_of_filter: int) -> tuple[Places, npt.NDArray[np.uint8]]:
    """The byte and the bit in it that the highest bits of each hash name."""
    power = bytes_of_filter.bit_length() - 1
    places = (hashes >> np.uint64(64 - power)).view(np.int64)
    bits = (hashes >> np.uint64(64 - power - 3)).astype(np.uint8)
    bits &= 7
    return places, bits


def _make_filter(hashes: Hashes) -> npt.NDArray[np.uint8]:
    bloom = np.zeros(_filter_bytes(len(hashes)), dtype=np.uint8)
    for values in (hashes, hashes * SEQUENCE_FACTOR):
        places, bits = _bits(values, len(bloom))
        np.bitwise_or.at(bloom, places, np.left_shift(np.uint8(1), bits))
    return bloom


def _test(bloom: npt.NDArray[np.uint8], hashes: Hashes) -> npt.NDArray[np.bool_]:
    """Whether the filter lets each hash pass; the second bit is looked at only where the first is set."""
    places, bits = _bits(hashes, len(bloom))
    passed = (bloom.take(places) >> bits & 1).view(np.bool_)
    some = np.flatnonzero(passed)
    places, bits = _bits(hashes[some] * SEQUENCE_FACTOR, len(bloom))
    passed[some] = (bloom.take(places) >> bits & 1).view(np.bool_)
    return passed
