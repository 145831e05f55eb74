"""Parts of a dataset of the Hugging Face hub: files that are downloaded, read, and removed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading import files as local
from flyweight.corpus.reading.compressed import DataFile
from flyweight.corpus.reading.conversion import Conversion
from flyweight.recipe import Source

if TYPE_CHECKING:
    from flyweight.corpus.reading.hub import HubFile


@dataclass(frozen=True)
class HubInputs:
    """Some files of a dataset at one commit."""

    dataset: str
    commit: str
    files: tuple[HubFile, ...]
    few: bool
    """Whether the whole source has so few files that text is cut finer."""
    limit: int | None = None
    """Bytes of text after which the source is not read on; a file that is larger is not downloaded whole."""

    @property
    def size(self) -> int:
        """Bytes on the hub."""
        return sum(file.size for file in self.files)

    @property
    def stamp(self) -> str:
        """A hash of the commit, the files' names and their object ids."""
        lines = [self.dataset, self.commit, str(self.few)]
        lines += [f"{file.path}\t{file.size}\t{file.oid}" for file in self.files]
        return local.hash_lines(lines)

    def content(self) -> str:
        """A hash of the object ids, which are hashes of the bytes; nothing is downloaded."""
        return local.hash_lines([str(self.few), *(f"{file.path}\t{file.oid}" for file in self.files)])

    def documents(self, conversion: Conversion, log: ReadLog, scratch: Path) -> Iterator[Document]:
        """The documents of the files, one after the other.

        Raises:
            UserError: a file that cannot be downloaded or read.
        """
        total, before = max(1, self.size), 0
        for file in self.files:
            span = (before / total, (before + file.size) / total)
            with self._opened(file, scratch) as found:
                yield from local.read_slices([local.whole_file(found, self.few)], conversion, log, span)
            before += file.size

    def _opened(self, file: HubFile, scratch: Path) -> AbstractContextManager[DataFile]:
        # Imported here: the hub's client is slow to import, and most worker processes do without it.
        from flyweight.corpus.reading.hub import downloaded
        from flyweight.corpus.reading.hub_stream import RemoteFile

        if self.limit is not None and self.limit < file.size:
            remote = RemoteFile(self.dataset, self.commit, file.path)
            if remote.serves_ranges():
                return nullcontext(remote)
        return downloaded(self.dataset, self.commit, file.path, scratch)


def hub_inputs(name: str, source: Source) -> tuple[list[HubInputs], str]:
    """The parts of a hub source, and the source in one line.

    Raises:
        UserError: no such dataset, subset, split or revision, or no network.
    """
    from flyweight.corpus.reading.hub import resolve

    assert source.dataset is not None
    where = f"source {name!r} (sources.{name}.dataset)"
    listing = resolve(source.dataset, source.subset, source.split, source.revision, source.files, where)
    files = listing.files
    few = len(files) < local.FEW_FILES
    parts = [
        HubInputs(listing.dataset, listing.commit, tuple(group), few, source.limit)
        for group in local.grouped(files, lambda file: file.size)
    ]
    size = sum(file.size for file in files)
    return parts, f"{listing.dataset} at {listing.commit}, {len(files):,} files, {size:,} bytes"
