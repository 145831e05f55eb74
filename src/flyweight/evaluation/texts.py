"""Text to be measured: documents of any files, as they are, without a recipe or a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from flyweight.base import UserError
from flyweight.corpus import ReadLog
from flyweight.corpus.reading.files import list_files
from flyweight.corpus.reading.records import Slice, slice_records

_WHOLE = 1 << 40  # bytes of a piece of a text file: it is one document


class Text(NamedTuple):
    """A document."""

    name: str
    """Its place: file and line; the file from the folder on in which the named path lies."""
    text: str


class Texts(NamedTuple):
    """Documents of some files."""

    documents: list[Text]
    files: tuple[str, ...]
    """Names of the files that were read, in order."""
    skipped: str
    """What could not be used, in one line; empty when nothing."""


def read_texts(
    paths: Sequence[str | Path], *, text_field: str = "text", max_bytes: int | None = None
) -> Texts:
    """The documents of files and folders, in order.

    A .txt or .md file is one document (of more than 64 MB, several); of .jsonl, .json (both also .gz and
    .zst) and .parquet every record is one. What is no text is left out and counted.

    Args:
        paths: files, or folders that are searched to the bottom.
        text_field: the field of records that holds the text.
        max_bytes: whole documents up to this many bytes of UTF-8, at least one; None takes all.

    Raises:
        UserError: a path where nothing readable is, or no text in all of them.
    """
    found = [
        (file, Path(path).expanduser())
        for path in paths
        for file in list_files(Path(path).expanduser(), "text")
    ]
    log = ReadLog()
    documents: list[Text] = []
    size = 0
    for document in _documents(found, text_field, log):
        size += len(document.text.encode())
        if max_bytes is not None and documents and size > max_bytes:
            break
        documents.append(document)
    if not documents:
        named = ", ".join(map(str, paths))
        fields = f"; their records have the fields {', '.join(log.fields_found)}" if log.fields_found else ""
        raise UserError(
            f"{named}: no text to measure here ({log.summary() or 'nothing was found'}){fields}; expected UTF-8 text "
            f"or records with a field {text_field!r}."
        )
    return Texts(documents, tuple(str(file) for file, _ in found), log.summary())


def _documents(files: Iterable[tuple[Path, Path]], text_field: str, log: ReadLog) -> Iterator[Text]:
    for file, root in files:
        folder = f"{root.parent}/"
        for record, place in slice_records(
            [Slice(file, piece=_WHOLE)], log, {text_field: None}, text_field=text_field
        ):
            if text_field not in record:
                log.fields_found = log.fields_found or tuple(record)
                log.skip("no text field", place)
                continue
            document = log.document(record[text_field], place)
            if document is not None:
                yield Text(place.removeprefix(folder), document.text)
