"""What a Hugging Face folder of somebody else may not do: run code unasked, or name files elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flyweight.base import UserError, path_inside, read_json

_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def check_folder(folder: Path, config: Any, *, trust_remote_code: bool) -> None:
    """Look at a folder before transformers does.

    Args:
        folder: of the model.
        config: the content of its config.json.
        trust_remote_code: the user has read its code and lets it run.

    Raises:
        UserError: code that would run without trust, be it in the folder or fetched from the hub (a kernel), or an
            index of weights that names files outside of the folder.
    """
    for index in _INDICES:
        if (folder / index).is_file():
            _check_index(folder, folder / index)
    if trust_remote_code:
        return
    if isinstance(config, dict) and "auto_map" in config:
        raise UserError(
            f"{folder}: this model brings its own Python code, which runs only when you trust it; read "
            f"{', '.join(sorted(file.name for file in folder.glob('*.py'))) or 'it'}, then ask for it "
            f"with --trust-remote-code."
        )
    for key, value in _implementations(config):
        if "/" in value:
            raise UserError(
                f"{folder}: its configuration asks for {key} {value!r}, which is compiled code from the hub and runs "
                f"only when you trust it; take the line out, or ask for it with --trust-remote-code."
            )


def _check_index(folder: Path, file: Path) -> None:
    index = read_json(file, "index of a model's weights")
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise UserError(f"{file}: expected a weight_map with the file of every weight.")
    for name in {str(place) for place in places.values()}:
        path_inside(folder, name, file)


def _implementations(config: Any) -> Iterator[tuple[str, str]]:
    """Every `attn_implementation` and its like, those of parts of the model included."""
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if key.endswith("_implementation"):
            named = value.values() if isinstance(value, dict) else [value]
            yield from ((key.lstrip("_"), name) for name in named if isinstance(name, str))
        else:
            yield from _implementations(value)
