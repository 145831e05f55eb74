"""From the evaluation sets that a recipe names to their items, and to an index that is made once."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight.base import UserError, atomic_folder
from flyweight.corpus.cleaning.contamination import INDEX_VERSION, EvaluationIndex
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading.compressed import explain_unreadable
from flyweight.corpus.reading.files import READABLE, list_files
from flyweight.corpus.reading.records import read_records
from flyweight.recipe import EvaluationSet

if TYPE_CHECKING:
    from flyweight.corpus.reading.hub import HubListing

_COMMIT = re.compile(r"[0-9a-f]{40}")


def build_index(sets: Mapping[str, EvaluationSet], folder: Path) -> EvaluationIndex:
    """The index of evaluation sets, from `folder` if it holds that of the same settings and the same bytes.

    A set on the hub whose revision is a whole commit is not even looked up there when it is in the folder.

    Args:
        sets: as the recipe names them.
        folder: where the index lies or will lie; replaced when it is another's.

    Raises:
        UserError: a set that cannot be found or read, without items, or without the fields that are named.
    """
    opened = {name: _Opened(name, settings) for name, settings in sets.items()}
    key = _key(opened)
    try:
        index = EvaluationIndex.load(folder)
        if index.key == key:
            return index
    except UserError:
        pass  # none yet, or not to be used: it is made
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent) as scratch:
        index = EvaluationIndex.build({name: of.items(Path(scratch)) for name, of in opened.items()}, key)
    with atomic_folder(folder) as temporary:
        index.save(temporary)
    return EvaluationIndex.load(folder)


def local_key(sets: Mapping[str, EvaluationSet]) -> str | None:
    """The key that an index of these sets would have; None when that takes the hub.

    Raises:
        UserError: a set that cannot be found or read.
    """
    if any(settings.path is None for settings in sets.values()):
        return None
    return _key({name: _Opened(name, settings) for name, settings in sets.items()})


def _key(opened: Mapping[str, _Opened]) -> str:
    parts = [INDEX_VERSION, *([name, of.fingerprint()] for name, of in opened.items())]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def read_items(name: str, settings: EvaluationSet, scratch: Path) -> Iterator[list[str]]:
    """The items of an evaluation set: the texts of each record.

    Args:
        name: the set's name in the recipe.
        settings: what the recipe says of it.
        scratch: a folder for downloads.

    Raises:
        UserError: it cannot be found or read, has no items, or lacks the fields that are named.
    """
    return _Opened(name, settings).items(scratch)


def strings(value: Any) -> Iterator[str]:
    """Every string in a value of JSON, however deep; keys are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)


class _Opened:
    """An evaluation set whose files are known."""

    def __init__(self, name: str, settings: EvaluationSet) -> None:
        self.settings = settings
        self.where = f"evaluation set {name!r} (corpus.decontaminate.{name})"
        self._listing: HubListing | None = None

    def _files(self) -> list[Path]:
        assert self.settings.path is not None
        return list_files(Path(self.settings.path).expanduser(), self.where, READABLE)

    def _on_hub(self) -> HubListing:
        """The files on the hub, asked for once."""
        from flyweight.corpus.reading.hub import resolve  # slow to import, and seldom needed

        of = self.settings
        assert of.dataset is not None
        if self._listing is None:
            self._listing = resolve(of.dataset, of.subset, of.split, of.revision, (), self.where)
        return self._listing

    def fingerprint(self) -> list[Any]:
        """Settings and content; where local files lie does not matter."""
        of = self.settings
        settings: list[Any] = [of.dataset, of.subset, of.split if of.dataset else None, of.fields]
        if of.dataset is None:
            return settings + [[file.name, _hash_file(file)] for file in self._files()]
        if of.revision is not None and _COMMIT.fullmatch(of.revision):
            return [*settings, of.revision]
        return [*settings, self._on_hub().commit]

    def items(self, scratch: Path) -> Iterator[list[str]]:
        """The texts of each record."""
        log = ReadLog()
        count = missing = 0
        keys: list[str] = []
        for record in self._records(scratch, log):
            texts = _texts(record, self.settings.fields)
            if texts is None:
                missing += 1
                keys = keys or list(record)
                continue
            count += 1
            yield texts
        if missing:
            wanted = ", ".join(self.settings.fields)
            raise UserError(
                f"{self.where}: {missing:,} of {missing + count:,} records have none of the fields {wanted}; the "
                f"first of them has {', '.join(keys) or 'none at all'}. Name those that hold text in "
                f"`fields`, or leave `fields` out to take every string."
            )
        if log.bad.keys() - {"empty"}:
            raise UserError(
                f"{self.where}: {log.summary()}. An evaluation set must be read whole, or training text would "
                f"be compared with a part of it; mend the file."
            )
        if not count:
            raise UserError(f"{self.where}: there are no records in it.")

    def _records(self, scratch: Path, log: ReadLog) -> Iterator[dict[str, Any]]:
        if self.settings.dataset is None:
            yield from (record for record, _ in read_records(self._files(), log))
            return
        from flyweight.corpus.reading.hub import download

        listing = self._on_hub()
        files = [file.path for file in listing.files if file.path.lower().endswith(READABLE)]
        for path in files:
            local = download(listing.dataset, listing.commit, path, scratch)
            yield from (record for record, _ in read_records([local], log))


def _texts(record: Mapping[str, Any], fields: tuple[str, ...]) -> list[str] | None:
    """The strings of a record, or of its fields that are named; None when it has none of these fields."""
    if not fields:
        return list(strings(record))
    found = [value for field in fields for value in [_field(record, field)] if value is not None]
    return list(strings(found)) if found else None


def _field(record: Any, path: str) -> Any:
    """What `path` names, where `.` goes into nested records; None when it is not there."""
    if isinstance(record, Mapping) and path in record:
        return record[path]
    for name in path.split("."):
        if not isinstance(record, Mapping) or name not in record:
            return None
        record = record[name]
    return record


def _hash_file(file: Path) -> str:
    with explain_unreadable(file), file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
