"""Files that a user brings for agents: where they lie, how they are read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from flyweight.base import UserError
from flyweight.evaluation.items import read_text

T = TypeVar("T")
REACT_ITEMS, REACT_SEED = 7405, 233
"""ReAct shuffles so many items by this seed and takes the first 500."""


def find_file(data: Path | None, names: tuple[str, ...]) -> Path | None:
    """The first of DIR/agents/NAME and DIR/NAME that there is; None where there is none."""
    if data is None:
        return None
    places = [folder / name for name in names for folder in (data / "agents", data)]
    return next((place for place in places if place.exists()), None)


def need_file(task: str, data: Path | None, name: str) -> Path:
    """The file `name` of `task`.

    Raises:
        UserError: it is not there.
    """
    reason = lacking(data, name)
    if reason is not None:
        raise UserError(f"the task {task} cannot run: {reason}")
    found = find_file(data, (name,))
    assert found is not None
    return found


def lacking(data: Path | None, name: str) -> str | None:
    """One sentence that says that `name` is not in the folder of data; None where it is."""
    if data is None:
        return f"it needs the file agents/{name}; give the folder that holds it with --data DIR."
    if find_file(data, (name,)) is None:
        return f"no file {data / 'agents' / name}; put it there (docs: ideas/agents)."
    return None


def read_json_file(file: Path, kind: type[T]) -> T:
    """The JSON value in `file`, a list or an object.

    Raises:
        UserError: not JSON, or another kind of value.
    """
    try:
        value = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not valid JSON ({error}).") from None
    if not isinstance(value, kind):
        raise UserError(f"{file}: expected a JSON {_word(kind)}, found a JSON {_word(type(value))}.")
    return value


def refuse_same_ids(ids: Sequence[str], file: Path) -> None:
    """Items are told apart, and compared between models, by their ids.

    Raises:
        UserError: two have the same one.
    """
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        raise UserError(
            f"{file}: {len(twice)} ids stand there more than once, such as {twice[0]!r}; give each item its own."
        )


def text_field(item: Any, key: str, file: Path, number: int) -> str:
    """The text under `key` of item `number`.

    Raises:
        UserError: there is none.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{file}, item {number}: expected a text under {key!r}, found {value!r}.")
    return value


def examples(data: Path | None, file: str, key: str, marker: str) -> tuple[str, int]:
    """ReAct's examples from a prompts file, and how many they are; ("", 0) without such a file.

    Args:
        data: the folder of data.
        file: a JSON object of prompts.
        key: which of them.
        marker: stands once in each example.

    Raises:
        UserError: the file has no such prompt.
    """
    place = find_file(data, (file,))
    if place is None:
        return "", 0
    text = read_json_file(place, dict).get(key)
    if not isinstance(text, str) or marker not in text:
        raise UserError(
            f"{place}: expected a prompt with {marker!r} under {key!r}, found {str(text)[:60]!r}."
        )
    return text, text.count(marker)


def react_order(items: list[T]) -> list[T]:
    """The items in the order of the ReAct reference, so that a limit of 500 takes its 500.

    It shuffles the numbers below 7,405 (HotpotQA's questions; it takes the same numbers for FEVER); what is
    beyond follows as it is.
    """
    order = list(range(min(REACT_ITEMS, len(items))))
    Random(REACT_SEED).shuffle(order)
    return [items[number] for number in order] + items[REACT_ITEMS:]


def _word(kind: type) -> str:
    return {dict: "object", list: "list", str: "text"}.get(kind, kind.__name__)
