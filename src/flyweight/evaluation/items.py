"""Items of a task as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flyweight.base import UserError, atomic_write


def read_text(file: Path) -> str:
    """The text of a file of items.

    Raises:
        UserError: there is no such file, it is a folder, or not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file of items.") from None
    except IsADirectoryError:
        raise UserError(f"{file}: this is a folder; expected a file of items.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text ({error}).") from None


def read_json_lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file, blank lines left out.

    Raises:
        UserError: the file cannot be read, or a line is not a JSON object (its number is named).
    """
    items = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{file}, line {number}: not valid JSON ({error}).") from None
        if not isinstance(item, dict):
            raise UserError(f"{file}, line {number}: expected a JSON object, found {line.strip()[:60]!r}.")
        items.append(item)
    return items


def write_json_lines(file: Path, items: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    with atomic_write(file) as lines:
        for item in items:
            lines.write(json.dumps(item, ensure_ascii=False) + "\n")
