"""Parts of the builtin sources: slices of the installed modules, and of what is generated."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from flyweight.base import derive_seed
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.held_out import LEAST_HELD_OUT
from flyweight.corpus.reading import builtin
from flyweight.corpus.reading.conversion import Conversion
from flyweight.corpus.reading.files import hash_lines
from flyweight.recipe import Corpus

MODULES_BYTES = 8_000_000
"""Bytes of modules in one part: about two seconds of parsing."""

GENERATED_BYTES = 4_000_000
"""Bytes of generated text in one part."""

Kind = Literal["english", "python", "arithmetic", "logic"]


class _Generator(Protocol):
    DEFAULT_BYTES: int

    def training_documents(self, seed: int, bytes: int) -> Iterator[str]: ...
    def held_out_documents(self, seed: int, bytes: int) -> Iterator[str]: ...


@dataclass(frozen=True)
class ModuleInputs:
    """Some modules of installed packages, for their prose or their code."""

    kind: Literal["english", "python"]
    modules: tuple[tuple[str, Path], ...]
    """Keys and files."""
    versions: tuple[tuple[str, str], ...]
    """Of Python and of the packages that are read."""
    size: int
    """Bytes on disk."""

    @property
    def stamp(self) -> str:
        """A hash of the versions of the packages and of the modules' names."""
        lines = [self.kind, str(self.size), *(f"{name} {version}" for name, version in self.versions)]
        return hash_lines([*lines, *(key for key, _ in self.modules)])

    def content(self) -> str:
        """The same: a package's version fixes what it holds."""
        return self.stamp

    def documents(self, conversion: Conversion, log: ReadLog, scratch: Path) -> Iterator[Document]:
        """The modules' documents, each under its module's key; `scratch` is not needed."""
        if self.kind == "english":
            texts = builtin.english(log, self.modules)
        else:
            texts = builtin.python(log, self.modules, check=conversion.tinydsl is None)
        for key, text in texts:
            document = conversion.document(text, key, log, key)
            if document is not None:
                yield document


@dataclass(frozen=True)
class GeneratedInputs:
    """A stream of generated documents, all of one side of the split."""

    kind: Literal["arithmetic", "logic"]
    number: int
    """Which stream."""
    seed: int
    size: int
    """Bytes of text, at most, but for the least number of held-out documents."""
    held_out: bool

    @property
    def stamp(self) -> str:
        """A hash of kind, seed, size and side, which decide the text."""
        return hash_lines([self.kind, str(self.seed), str(self.size), str(self.held_out)])

    def content(self) -> str:
        """The same."""
        return self.stamp

    def documents(self, conversion: Conversion, log: ReadLog, scratch: Path) -> Iterator[Document]:
        """The documents; `conversion` and `scratch` are not needed."""
        generator = _generator(self.kind)
        make = generator.held_out_documents if self.held_out else generator.training_documents
        least = LEAST_HELD_OUT if self.held_out else 0
        side, written = "held-out" if self.held_out else f"training/{self.number}", 0
        for number, text in enumerate(make(self.seed, max(1, self.size))):
            if number >= least and written + len(text) > self.size:
                break
            written += len(text)
            log.fraction = min(1.0, written / max(1, self.size))
            yield Document(text, f"{self.kind}/{side}/{number}", held_out=self.held_out)


def builtin_inputs(
    kind: Kind, limit: int | None, seed: int, settings: Corpus
) -> tuple[Sequence[ModuleInputs | GeneratedInputs], str]:
    """The parts of a builtin source, and the source in one line.

    Args:
        kind: which.
        limit: bytes of text; generated sources make as much.
        seed: of the run.
        settings: how much of a generated source is held out.
    """
    described = f"builtin {kind}"
    if kind in ("english", "python"):
        return _module_inputs(kind), described
    return _generated_inputs(kind, limit, seed, settings), described


def _module_inputs(kind: Literal["english", "python"]) -> list[ModuleInputs]:
    versions = tuple(sorted(builtin.versions().items()))
    parts: list[ModuleInputs] = []
    group: list[tuple[str, Path]] = []
    total = 0
    for key, file in builtin.module_files(builtin.package_folders()):
        size = file.stat().st_size
        if group and total + size > MODULES_BYTES:
            parts.append(ModuleInputs(kind, tuple(group), versions, total))
            group, total = [], 0
        group.append((key, file))
        total += size
    return [*parts, ModuleInputs(kind, tuple(group), versions, total)]


def _generated_inputs(
    kind: Literal["arithmetic", "logic"], limit: int | None, seed: int, settings: Corpus
) -> list[GeneratedInputs]:
    total = limit or _generator(kind).DEFAULT_BYTES
    held_out = min(int(settings.held_out * total), settings.held_out_limit)
    parts = [GeneratedInputs(kind, 0, derive_seed(seed, kind, "held-out part"), held_out, held_out=True)]
    left = total - held_out
    count = -(-left // GENERATED_BYTES)
    for number in range(count):
        size = left * (number + 1) // count - left * number // count
        parts.append(
            GeneratedInputs(kind, number, derive_seed(seed, kind, "part", number), size, held_out=False)
        )
    return parts


def _generator(kind: Literal["arithmetic", "logic"]) -> _Generator:
    # Imported when it is asked for: most sources are not generated.
    return cast(_Generator, importlib.import_module(f"flyweight.corpus.generated.{kind}"))
