"""From a YAML file and `key=value` words to a recipe, with errors that help."""

from __future__ import annotations

import difflib
import hashlib
import importlib.resources
import io
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flyweight.base import UserError
from flyweight.recipe.frozen import Frozen
from flyweight.recipe.schema import FORMAT_VERSION, Recipe


def packaged_recipes() -> dict[str, Path]:
    """The recipes that come with Flyweight, by name."""
    installed = Path(str(importlib.resources.files("flyweight"))) / "recipes"
    checkout = Path(__file__).resolve().parents[3] / "recipes"
    folder = installed if installed.is_dir() else checkout
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe: a file, or the name of one that comes with Flyweight.

    Args:
        name_or_path: `recipes/mine.yaml`, or `gpt-s-5m`.
        overrides: words such as `training.tokens=5M`; they win over the file.

    Raises:
        UserError: no such file, not YAML, an unknown key, an impossible value.
    """
    path = Path(name_or_path)
    if not path.is_file():
        known = packaged_recipes()
        if str(name_or_path) not in known:
            raise UserError(
                f"{name_or_path}: no such recipe file, and no recipe of that name comes with Flyweight "
                f"(there are: {', '.join(known)})."
            )
        path = known[str(name_or_path)]
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the recipe cannot be read ({error}).") from None
    return parse_recipe(text, overrides, where=str(path))


def parse_recipe(text: str, overrides: Iterable[str] = (), where: str = "recipe") -> Recipe:
    """A recipe from YAML text (YAML 1.2: `1e-3` is a number); `where` names it in errors."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise UserError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected a recipe (keys and values), found {type(data).__name__}.")
    for word in overrides:
        _apply(data, word)
    return recipe_from_dict(data, where)


def recipe_from_dict(data: dict[str, Any], where: str = "recipe") -> Recipe:
    """A recipe from plain values; every error is one sentence that names the key."""
    version = data.get("format", FORMAT_VERSION)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise UserError(
            f"{where}: format: this recipe has format {version!r}, this Flyweight reads up to "
            f"{FORMAT_VERSION}; a newer Flyweight is needed."
        )
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(error)}") from None


def _apply(data: dict[str, Any], word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise UserError(f"{word!r}: expected key=value, for example training.tokens=5M.")
    try:
        value = YAML(typ="safe", pure=True).load(io.StringIO(text)) if text else ""
    except YAMLError:
        value = text
    *parents, last = key.split(".")
    place: Any = data
    for part in parents:
        place = _child(place, part, key)
    if isinstance(place, list):
        place[_index(place, last, key)] = value
    else:
        place[last] = value


def _child(place: Any, part: str, key: str) -> Any:
    """What `part` of `key` leads to; a section that the file leaves out begins empty."""
    if isinstance(place, list):
        return place[_index(place, part, key)]
    child = place.get(part)
    if not isinstance(child, dict | list):
        child = place[part] = {}
    return child


def _index(place: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise UserError(f"{key}: {part!r} is not a place in this list of {len(place)}; they count from 0.")
    return int(part)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Recipe sections inside an annotation such as `dict[str, Source]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def all_keys(section: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """Every key of the schema with its dots; `*` stands for a name that the user chooses."""
    keys = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        for model in _models_in(field.annotation):
            if issubclass(model, Frozen):
                star = "*." if str(field.annotation).startswith("dict") else ""
                keys += all_keys(model, f"{prefix}{name}.{star}")
    return keys


_INNER = ("[key]", "int", "constrained-int", "literal['auto']")
"""Parts of pydantic's places that are no keys of the recipe."""


def _explain(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = [str(part) for part in problem["loc"] if part not in _INNER]
    key = ".".join(place) or "recipe"
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(place[-1], [k.split(".")[-1] for k in all_keys()], n=1, cutoff=0.5)
        full = difflib.get_close_matches(key, all_keys(), n=1, cutoff=0.6)
        hint = full[0] if full else (near[0] if near else None)
        return f"{key}: unknown key" + (f"; the nearest known key is {hint}." if hint else ".")
    if problem["type"] == "missing":
        return f"{key}: this key is missing."
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("model_type", "model_attributes_type"):
        message = "expected keys and values here"
    elif problem["type"] in ("tuple_type", "list_type"):
        message = "expected a list here"
    found = problem.get("input")
    shown = f" (found {found!r})" if isinstance(found, str | int | float | bool) else ""
    return f"{key}: {message}{shown}."


def identity(recipe: Recipe) -> dict[str, Any]:
    """The keys that decide what is learned, with dots, and their values."""
    return _flatten(_without_execution(recipe))


def _without_execution(section: BaseModel) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("execution"):
            continue
        value = getattr(section, name)
        if isinstance(value, Frozen):
            kept[name] = _without_execution(value)
        elif isinstance(value, dict) and all(isinstance(item, Frozen) for item in value.values()):
            kept[name] = {key: _without_execution(item) for key, item in value.items()}
        else:
            kept[name] = section.model_dump(mode="json", include={name})[name]
    return kept


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat |= _flatten(item, f"{prefix}{key}.")
        else:
            flat[prefix + key] = item
    return flat


def identity_hash(recipe: Recipe) -> str:
    """A short fingerprint of `identity`."""
    text = json.dumps(identity(recipe), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def identity_differences(old: Recipe, new: Recipe) -> list[str]:
    """Identity keys in which two recipes differ, as `key: old -> new`."""
    before, after = identity(old), identity(new)
    return [
        f"{key}: {before.get(key, '(absent)')} -> {after.get(key, '(absent)')}"
        for key in sorted(before.keys() | after.keys())
        if not _same(before.get(key), after.get(key))
    ]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    return a == b
