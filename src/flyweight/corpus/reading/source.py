"""From a source of the recipe to a stream of documents that can be read more than once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.generated import arithmetic
from flyweight.corpus.held_out import LEAST_HELD_OUT
from flyweight.corpus.reading import builtin
from flyweight.corpus.reading.readers import list_files, read_files
from flyweight.recipe import Corpus, Source


@dataclass(frozen=True)
class SourceReader:
    """A source that was found: where it lies, and how to read it."""

    name: str
    source: Source
    seed: int
    settings: Corpus
    files: tuple[Path, ...] = ()
    """The files that are read; empty for builtin sources."""
    root: Path | None = None

    @property
    def is_modules(self) -> bool:
        """Whether the documents' keys are module files, shared with the other sources of this kind."""
        return self.source.builtin in ("english", "python")

    @property
    def inputs(self) -> str:
        """The source's files, for people and for comparing: number, bytes, hash of names and sizes."""
        if self.root is None:
            return f"builtin {self.source.builtin}"
        sizes = [file.stat().st_size for file in self.files]
        names = [file.relative_to(self.root).as_posix() for file in self.files]
        text = "\n".join(f"{name}\t{size}" for name, size in zip(names, sizes, strict=True))
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
        return f"{len(sizes):,} files, {sum(sizes):,} bytes ({digest})"

    def documents(self, log: ReadLog) -> Iterator[Document]:
        """The documents, in order, as far as the source's limit; the same ones every time.

        Raises:
            UserError: a file that cannot be read at all.
        """
        if self.source.builtin == "arithmetic":
            yield from self._arithmetic(log)
            return
        if self.source.builtin == "english":
            stream = builtin.english(log)
        elif self.source.builtin == "python":
            stream = builtin.python(log)
        else:
            stream = read_files(list(self.files), self.source.text_field, log)
        limit, total = self.source.limit, 0
        for document in stream:
            total += document.size
            if limit is not None:
                if total > limit:
                    return
                log.fraction = max(log.fraction, total / limit)
            yield document

    def _arithmetic(self, log: ReadLog) -> Iterator[Document]:
        total = self.source.limit or arithmetic.DEFAULT_BYTES
        held_out = min(int(self.settings.held_out * total), self.settings.held_out_limit)
        written = 0
        for number, text in enumerate(arithmetic.held_out_documents(self.seed, total)):
            if number >= LEAST_HELD_OUT and written + len(text) > held_out:
                break
            written += len(text)
            yield Document(text, f"arithmetic/held-out/{number}", held_out=True)
        for number, text in enumerate(arithmetic.training_documents(self.seed, max(0, total - written))):
            written += len(text)
            log.fraction = min(1.0, written / total)
            yield Document(text, f"arithmetic/training/{number}", held_out=False)


def open_source(name: str, source: Source, seed: int, settings: Corpus) -> SourceReader:
    """Find a source.

    Raises:
        UserError: it is not there; the sentence names the source, the place and the setting.
    """
    if source.kind == "builtin":
        return SourceReader(name, source, seed, settings)
    where = f"source {name!r} (sources.{name}.path)"
    if source.path is None:
        raise UserError(_how_to_download(name, source))
    path = Path(source.path).expanduser()
    files = list_files(path, where)
    if source.kind == "hub" and len(files) > 1:
        # The dataset's card describes the data; it is none of it.
        files = [file for file in files if file.name.lower() != "readme.md"]
    root = path if path.is_dir() else path.parent
    return SourceReader(name, source, seed, settings, tuple(files), root)


def _how_to_download(name: str, source: Source) -> str:
    revision = f" --revision {source.revision}" if source.revision else ""
    subset = f" --include '*{source.subset}*'" if source.subset else ""
    split = "" if source.split == "train" else f" (only the files of its split {source.split!r})"
    return (
        f"source {name!r}: {source.dataset} is a dataset of the Hugging Face hub, and this version reads "
        f"downloaded files; run `hf download {source.dataset} --repo-type dataset{revision}{subset} "
        f"--local-dir FOLDER`{split} and set sources.{name}.path=FOLDER."
    )
