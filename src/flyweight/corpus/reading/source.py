"""From a source of the recipe to parts, and from a part to documents, the same ones every time.

A part is what one task reads: a few small files, a range of a large one, a slice of what is generated.
How a source falls into parts depends on the source alone, never on the machine or on the workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading.builtin_parts import builtin_inputs
from flyweight.corpus.reading.conversion import Conversion
from flyweight.corpus.reading.files import file_inputs, list_files
from flyweight.corpus.reading.from_hub import hub_inputs
from flyweight.recipe import Recipe, Source


class Inputs(Protocol):
    """What a part is read from."""

    @property
    def size(self) -> int:
        """Bytes on disk or on the hub; of generated text, the bytes that there will be."""
        ...

    @property
    def stamp(self) -> str:
        """A hash that is cheap and changes with the input: names, sizes, times, slice."""
        ...

    def content(self) -> str:
        """A hash of the input itself."""
        ...

    def documents(self, conversion: Conversion, log: ReadLog, scratch: Path) -> Iterator[Document]:
        """The documents, in order."""
        ...


@dataclass(frozen=True)
class Part:
    """What one task reads of a source."""

    source: str
    """The source's name."""
    number: int
    """The place among the source's parts, from 0."""
    size: int
    """Bytes on disk or on the hub; of generated text, the bytes that there will be."""
    stamp: str
    """A hash that is cheap and changes with the input: names, sizes, times, slice; hub commits."""
    inputs: Inputs
    """Where the text lies."""

    def content(self) -> str:
        """A hash of the input's bytes; of the hub's object ids and of packages' versions where these fix them.

        Raises:
            UserError: a file that cannot be read.
        """
        return self.inputs.content()


@dataclass(frozen=True)
class SourceReader:
    """A source that was found: its parts, and how to read them.

    It goes to other processes without its parts: a task brings the one that it reads.
    """

    name: str
    source: Source
    inputs: str
    """What is read, for people and for comparing: number of files, bytes, a hash of names and sizes."""
    conversion: Conversion
    parts: tuple[Part, ...] = ()

    @property
    def is_modules(self) -> bool:
        """Whether the documents' keys are module files, shared with the other sources of this kind."""
        return self.source.builtin in ("english", "python")

    def documents(self, part: Part, log: ReadLog, scratch: Path) -> Iterator[Document]:
        """The documents of a part, in order, up to the one that passes the source's limit.

        Args:
            part: one of this source's.
            log: takes bad and filtered records, and the share of the part that was read.
            scratch: a folder where downloads may lie; they are removed once they are read.

        Raises:
            UserError: a file that cannot be read at all, or downloaded.
        """
        limit, total = self.source.limit, 0
        for document in part.inputs.documents(self.conversion, log, scratch):
            yield document
            if limit is not None:
                total += document.size
                if total > limit:
                    break
                log.fraction = max(log.fraction, total / limit)
        log.fraction = 1.0

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "parts": ()}


def open_source(
    name: str, source: Source, recipe: Recipe, special_tokens: Sequence[str] = ()
) -> SourceReader:
    """Find a source and cut it into parts.

    Args:
        name: the source's name in the recipe.
        source: what the recipe says of it.
        recipe: its seed, `corpus` and `tokenizer` sections are used.
        special_tokens: of an adopted tokenizer, beside those that the recipe names: what a chat template
            writes of them becomes special tokens.

    Raises:
        UserError: it is not there, or a filter or chat template is malformed; the sentence names the
            source, the place and the setting.
    """
    tokenizer = recipe.tokenizer
    conversion = Conversion(
        name=name,
        text_field=source.text_field,
        messages_field=source.messages_field,
        filter=source.filter,
        tinydsl=source.tinydsl,
        chat_template=tokenizer.chat_template,
        special_tokens=tuple(dict.fromkeys((*tokenizer.special_tokens, *special_tokens))),
        end_of_text=tokenizer.end_of_text,
    )
    conversion.check()
    inputs: Sequence[Inputs]
    if source.builtin is not None:
        if source.filter or source.messages_field:
            setting = "filter" if source.filter else "messages_field"
            raise UserError(
                f"sources.{name}.{setting}: a builtin source has no records; take the setting out."
            )
        inputs, described = builtin_inputs(source.builtin, source.limit, recipe.seed, recipe.corpus)
    elif source.path is not None:
        where = f"source {name!r} (sources.{name}.path)"
        path = Path(source.path).expanduser().absolute()
        files = list_files(path, where)
        if source.kind == "hub" and len(files) > 1:
            # The dataset's card describes the data; it is none of it.
            files = [file for file in files if file.name.lower() != "readme.md"]
        root = path if path.is_dir() else path.parent
        inputs, described = file_inputs(files, root)
    else:
        assert source.dataset is not None, "the recipe checks that a hub source names its dataset"
        inputs, described = hub_inputs(name, source)
    parts = tuple(Part(name, number, part.size, part.stamp, part) for number, part in enumerate(inputs))
    return SourceReader(name, source, described, conversion, parts)
