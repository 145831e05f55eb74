"""What marks a folder as an export of ours, and says where it comes from and how it was checked."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from flyweight.base import UserError, read_json
from flyweight.inference import chat_format
from flyweight.recipe import identity_hash
from flyweight.release.source import Source

EXPORT_FORMAT = 1
EXPORT_FILE = "flyweight_export.json"


def refuse_foreign_folder(out: Path) -> None:
    """Nothing that is not an export of ours is ever replaced.

    Raises:
        UserError: there is something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if (out / EXPORT_FILE).is_file():
        record = read_json(out / EXPORT_FILE, "record of an earlier export")
        if isinstance(record, dict) and isinstance(record.get("format"), int):
            return
    raise UserError(
        f"{out}: there is something here already that is not an earlier export; name a new folder, or "
        f"remove it."
    )


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
