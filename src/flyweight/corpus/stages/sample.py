"""The text that a tokenizer is trained on: training documents in the mixture's shares, drawn by hash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flyweight.corpus.stages.chunks import Chunk
from flyweight.corpus.stages.fates import Fate, load_fates

REPORT_EVERY = 1_000_000
"""Bytes of text between two reports of progress."""

SMALL = 20_000_000
"""Bytes of training text up to which a source that is repeated is held in memory: it may be many times."""

_BINS = 1 << 16


class Sample:
    """Some bytes of a source's training documents: those with the smallest draws.

    So every document has the same chance, wherever in the source it stands. The texts are read from the
    chunks whenever they are asked for; none is held in memory.
    """

    def __init__(self, chunks: Sequence[Chunk], numbers: Sequence[int], fates: Path) -> None:
        self._chunks, self._numbers, self._fates = chunks, numbers, fates
        self._most = (1 << 64) - 1
        self.available = int(sum(sizes.sum() for _, sizes in self._live()))
        """Bytes of all the source's training documents."""

    def take(self, quota: int) -> None:
        """From now on `texts` gives about `quota` bytes."""
        self._most = self._largest_draw(quota)

    def _live(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number in self._numbers:
            facts = self._chunks[number].facts()[load_fates(self._fates, number) == Fate.TRAIN]
            yield facts["draw"], facts["size"].astype(np.int64)

    def _largest_draw(self, quota: int) -> int:
        """The draw of the document that fills the quota: found in a histogram, then within one bin of it."""
        sizes = np.zeros(_BINS, np.int64)
        for draws, bytes_ in self._live():
            np.add.at(sizes, (draws >> np.uint64(48)).astype(np.int64), bytes_)
        ends = np.cumsum(sizes)
        if ends[-1] <= quota:
            return (1 << 64) - 1
        last = int(np.searchsorted(ends, quota))
        before = int(ends[last - 1]) if last else 0
        inside = [
            (draws[chosen], bytes_[chosen])
            for draws, bytes_ in self._live()
            if (chosen := draws >> np.uint64(48) == last).any()
        ]
        draws = np.concatenate([draws for draws, _ in inside])
        bytes_ = np.concatenate([bytes_ for _, bytes_ in inside])
        order = np.argsort(draws)
        filled = before + np.cumsum(bytes_[order])
        return int(draws[order[min(int(np.searchsorted(filled, quota)), len(order) - 1)]])

    def texts(self) -> Iterator[str]:
        """The sampled documents, in the source's order."""
        for number in self._numbers:
            chunk = self._chunks[number]
            taken = (chunk.facts()["draw"] <= np.uint64(self._most)) & (
                load_fates(self._fates, number) == Fate.TRAIN
            )
            if not taken.any():
                continue
            row = 0
            for texts, _ in chunk.texts():
                for text, wanted in zip(texts, taken[row : row + len(texts)].tolist(), strict=True):
                    if wanted:
                        yield text.decode("utf-8")
                row += len(texts)


@dataclass
class _Share:
    """What a source gives to the tokenizer's sample."""

    quota: int
    """Bytes."""
    texts: Iterator[str]
    """Without an end."""
    done: int = 0
    """Bytes."""

    def next(self) -> str:
        """The next document, or as much of it as the quota leaves."""
        piece = next(self.texts)[: self.quota - self.done]
        self.done += len(piece.encode("utf-8"))
        return piece


def tokenizer_sample(
    samples: Mapping[str, Sample], weights: Mapping[str, float], size: int, report: Callable[[float], None]
) -> Iterator[str]:
    """Training text with the sources' shares in bytes as in the mixture, `size` bytes in all.

    The next document comes from the source that is furthest behind its share, so that every beginning of the
    sample has the mixture's shares too: what limits the sample on its way must not favour the first source.
    A source that has less than its share is repeated, as it will be in training.
    """
    shares = {}
    for name, sample in samples.items():
        quota = round(weights[name] * size)
        if quota and sample.available:
            sample.take(quota)
            shares[name] = _Share(quota, _endless(sample, quota))
    done, reported = 0, 0
    while shares:
        name = min(shares, key=lambda name: shares[name].done / shares[name].quota)
        share = shares[name]
        before = share.done
        yield share.next()
        done += share.done - before
        if share.done >= share.quota:
            del shares[name]
        if done - reported >= REPORT_EVERY:
            reported = done
            report(min(1.0, done / size))


def _endless(sample: Sample, quota: int) -> Iterator[str]:
    held = list(sample.texts()) if sample.available < min(SMALL, quota) else None
    while True:
        yield from held or sample.texts()


def first_texts(
    chunks: Sequence[Chunk], numbers: Sequence[int], fates: Path, most: int, characters: int
) -> list[str]:
    """The beginnings, of `characters`, of the first `most` training documents of a source."""
    found: list[str] = []
    for number in numbers:
        live = load_fates(fates, number) == Fate.TRAIN
        row = 0
        for texts, _ in chunks[number].texts():
            found += [
                text.decode("utf-8")[:characters]
                for text, wanted in zip(texts, live[row : row + len(texts)].tolist(), strict=True)
                if wanted
            ]
            row += len(texts)
            if len(found) >= most:
                return found[:most]
    return found
