"""Whether a prepared corpus is still what was prepared: every byte, and every number of its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flyweight.base import UserError
from flyweight.corpus.manifest import FILE, Split, fingerprint, read_manifest
from flyweight.corpus.opening import TOKENIZER_FOLDER, check_tokenizer
from flyweight.corpus.shards import ArrayFile, check_array, checksum, open_array
from flyweight.corpus.tokenizers.text_tokenizer import TextTokenizer


def verify(folder: Path) -> None:
    """Read every shard of a corpus again; takes as long as reading the disk.

    Checked are the size, header and checksum of each file, the tokenizer, and what the manifest says of
    each split, against the tables of its documents, and of the corpus as a whole, its fingerprint.

    Raises:
        UserError: names every file and every number that is not what it was.
    """
    manifest = read_manifest(folder)
    problems: list[str] = []
    for name, source in manifest.sources.items():
        for side, split in (("train", source.train), ("held_out", source.held_out)):
            damaged = list(_damaged_files(folder, split))
            problems += damaged
            if not damaged:  # else the tables themselves may be wrong
                problems += _wrong_numbers(folder, f"sources.{name}.{side}", split)
    try:
        tokenizer = TextTokenizer.load(folder / TOKENIZER_FOLDER, manifest.tokenizer.end_of_text)
        check_tokenizer(folder, manifest, tokenizer)
    except UserError as error:
        problems.append(str(error))
    found = fingerprint(manifest.tokenizer.fingerprint, manifest.sources)
    if found != manifest.fingerprint:
        problems.append(
            _changed_manifest(folder, "fingerprint", manifest.fingerprint, found, "the checksums")
        )
    if len(problems) > 1:
        problems.insert(0, f"{folder}: {len(problems)} things are not as they were prepared:")
    if problems:
        raise UserError("\n".join(problems))


def _damaged_files(folder: Path, split: Split) -> Iterator[str]:
    for shard in split.shards:
        for file in (shard.tokens, shard.documents):
            if problem := _damage(folder, file):
                yield problem


def _damage(folder: Path, file: ArrayFile) -> str | None:
    path = folder / file.name
    try:
        check_array(folder, file)
        if checksum(path) == file.checksum:
            return None
    except UserError as error:
        return str(error)
    except OSError as error:  # a disk that fails half-way
        return f"{path}: this shard of the corpus cannot be read ({error.strerror}); bring the file back."
    return (
        f"{path}: the checksum is not the one in the manifest, so the content has changed; bring the file "
        f"back, or prepare the corpus again in a new folder."
    )


def _wrong_numbers(folder: Path, place: str, split: Split) -> Iterator[str]:
    """What the manifest says of a split, against the tables of its documents."""
    documents = tokens = size = 0
    for shard in split.shards:
        table = open_array(folder, shard.documents)
        documents += len(table) // 2
        tokens += int(table[::2].sum())
        size += int(table[1::2].sum())
    found = {"documents": documents, "tokens": tokens, "bytes": size}
    for key, number in found.items():
        written = getattr(split, key)
        if number != written:
            yield _changed_manifest(
                folder, f"{place}.{key}", f"{written:,}", f"{number:,}", "the tables of documents"
            )


def _changed_manifest(folder: Path, place: str, written: str, found: str, by: str) -> str:
    return (
        f"{folder / FILE}: {place} is {written}, but by {by} it is {found}, so the manifest has changed; "
        f"bring it back, or prepare the corpus again in a new folder."
    )
