"""What marks a folder as an export of ours, and says where it comes from and how it was checked."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flyweight.base import UserError, read_json, write_json
from flyweight.inference import chat_format
from flyweight.recipe import identity_hash
from flyweight.release.source import Source

EXPORT_FORMAT = 1
EXPORT_FILE = "flyweight_export.json"


def refuse_foreign_folder(out: Path) -> None:
    """An export replaces an earlier one whole: nothing else may be there, such as a licence or a changed card.

    Raises:
        UserError: there is something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    record = read_json(out / EXPORT_FILE, "record of an earlier export") if _has_record(out) else None
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise UserError(
            f"{out}: there is something here already that is not an earlier export; name a new folder, or "
            f"remove it."
        )
    if strangers := sorted(_not_ours(out, record)):
        more = f" and {len(strangers) - 5} more" if len(strangers) > 5 else ""
        raise UserError(
            f"{out}: an export takes the whole place of an earlier one, and {', '.join(strangers[:5])}{more} would be "
            f"lost: laid there or changed since; name a new folder, or take it out."
        )


def _has_record(out: Path) -> bool:
    return out.is_dir() and (out / EXPORT_FILE).is_file()


def _not_ours(out: Path, record: dict[str, Any]) -> Iterator[str]:
    """What an earlier export did not write, or what of its card was changed by hand."""
    files, card = (record[key] if isinstance(record.get(key), dict) else {} for key in ("files", "card"))
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if (path.is_dir() and not path.is_symlink()) or name in files or name == EXPORT_FILE:
            continue
        if path.is_symlink() or name not in card or sha256_of(path) != card[name]:
            yield name


def record_card(folder: Path, names: Iterable[str]) -> None:
    """Note what a card consists of, so that the next export knows whether somebody has changed it."""
    record = read_json(folder / EXPORT_FILE, "record of an export")
    write_json(folder / EXPORT_FILE, record | {"card": {name: sha256_of(folder / name) for name in names}})


def record_of(source: Source, seconds: float) -> dict[str, Any]:
    """What all exports' records have in common; names only, since the folder goes to other people's machines.

    Args:
        source: what was exported.
        seconds: that it took.
    """
    folder = source.folder.resolve()
    in_run = folder.parent.name == "checkpoints"
    average = source.state.get("average")
    return {
        "format": EXPORT_FORMAT,
        "name": source.recipe.name,
        "source": {
            "run": folder.parents[1].name if in_run else None,
            "checkpoint": folder.name,
            "clock": source.state["clock"],
            **({"average": average} if average else {}),
        },
        "recipe_hash": identity_hash(source.recipe),
        "fingerprint": source.fingerprint,
        "chat_template": chat_format(source.recipe, source.tokenizer) is not None,
        "seconds": round(seconds, 2),
        "flyweight_version": importlib.metadata.version("flyweight"),
    }


def file_hashes(folder: Path) -> dict[str, Any]:
    """What stands in the record about the files that were checked: `publish` sends these and no others.

    Args:
        folder: of the export, as it was checked: before record and card are written.
    """
    return {
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
            for file in sorted(folder.iterdir())
        }
    }


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
