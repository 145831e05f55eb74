"""The first pass over a source: what it holds, how it splits, and a sample for the tokenizer."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flyweight.base import derive_seed
from flyweight.base.files import explain_write_errors
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.held_out import SplitSurvey, share_threshold
from flyweight.corpus.reading.source import SourceReader

REPORT_EVERY = 1_000_000
"""Bytes of text between two reports of progress."""

Report = Callable[[float], None]


@dataclass
class Sample:
    """About `quota` bytes of a source's documents, those with the smallest keyed hashes of all.

    So every document has the same chance, wherever in the source it stands, and memory is bounded
    by the quota.
    """

    seed: int
    quota: int
    _kept: list[tuple[int, int, str, int, int]] = field(default_factory=list)
    """A heap of (minus hash, index, text, bytes, split hash), the largest hash on top."""
    _bytes: int = 0
    _index: int = 0

    def add(self, document: Document, split: int) -> None:
        """Offer a document with its `split_hash`."""
        self._index += 1
        secret = derive_seed(self.seed, "tokenizer sample").to_bytes(8, "little")
        digest = hashlib.blake2b(document.text.encode("utf-8"), key=secret, digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        if self._bytes >= self.quota and (not self._kept or number >= -self._kept[0][0]):
            return
        size = document.size
        heapq.heappush(self._kept, (-number, self._index, document.text, size, split))
        self._bytes += size
        while self._bytes - self._kept[0][3] >= self.quota:
            self._bytes -= heapq.heappop(self._kept)[3]

    def clear(self) -> None:
        """Let go of the texts."""
        self._kept.clear()

    def texts(self, threshold: int) -> list[str]:
        """The sampled training documents, in the source's order."""
        return [item[2] for item in sorted(self._kept, key=lambda item: item[1]) if item[4] >= threshold]


@dataclass
class Survey:
    """What the first pass found."""

    documents: int
    bytes: int
    log: ReadLog
    threshold: int
    """Documents whose split hash is below it are held out."""
    sample: Sample
    """Documents for the tokenizer, some of which a joint threshold may yet hold out."""
    spool: Path | None
    """Where the documents were written down, for sources that are costly to read."""


def survey(reader: SourceReader, quota: int, spool: Path | None, report: Report) -> Survey:
    """Read a source once.

    Args:
        reader: the source.
        quota: bytes to sample for the tokenizer; 0 for none.
        spool: write the documents here, so that they need not be made a second time.
        report: takes the share that was read.

    Raises:
        UserError: too little text for the held-out split.
    """
    log, split = ReadLog(), SplitSurvey(reader.seed, reader.settings.held_out)
    sample = Sample(reader.seed, quota)
    base = share_threshold(reader.settings.held_out)
    total, reported = 0, 0
    with _Spool(spool) as written:
        for document in reader.documents(log):
            number = split.add(document)
            total += document.size
            written.add(document)
            if quota and number >= base:
                sample.add(document, number)
            if total - reported >= REPORT_EVERY:
                reported = total
                report(log.fraction)
    threshold = split.threshold(reader.name, _skipped(log, reader))
    return Survey(split.documents, total, log, threshold, sample, spool)


def _skipped(log: ReadLog, reader: SourceReader) -> str:
    if not log.fields_found:
        return log.summary()
    fields = ", ".join(map(str, log.fields_found[:8]))
    return (
        f"{log.summary()}; the records have the fields {fields}, and sources.{reader.name}.text_field is "
        f"{reader.source.text_field!r}"
    )


class _Spool:
    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> _Spool:
        self._file = self._path.open("w", encoding="utf-8") if self._path else None
        return self

    def add(self, document: Document) -> None:
        if self._file and self._path:
            with explain_write_errors(self._path):
                json.dump([document.text, document.key, document.held_out], self._file)
                self._file.write("\n")

    def __exit__(self, *_: object) -> None:
        if self._file and self._path:
            with explain_write_errors(self._path):
                self._file.close()


def second_pass(reader: SourceReader, found: Survey) -> Iterator[Document]:
    """The documents of a source that was surveyed, once more."""
    if found.spool is None:
        yield from reader.documents(ReadLog())
        return
    with found.spool.open(encoding="utf-8") as file:
        for line in file:
            yield Document(*json.loads(line))


def tokenizer_sample(
    texts: Mapping[str, list[str]], weights: Mapping[str, float], size: int, report: Report
) -> Iterator[str]:
    """Training text with the sources' shares in bytes as in the mixture, `size` bytes in all.

    A source that has less than its share is repeated, as it will be in training.
    """
    done, reported = 0, 0
    for name, documents in texts.items():
        left = round(weights[name] * size)
        if left == 0 or not documents:
            continue
        for text in itertools.cycle(documents):
            piece = text[:left]
            yield piece
            length = len(piece.encode("utf-8"))
            left -= length
            done += length
            if done - reported >= REPORT_EVERY:
                reported = done
                report(min(1.0, done / size))
            if left <= 0:
                break
