"""Starting from a finished model: an export of ours, or a stock Llama or Qwen3 in a Hugging Face folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor

from flyweight.base import UserError, path_inside, read_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import read_tensors
from flyweight.model import from_stock, why_not_ours
from flyweight.recipe import Recipe

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def is_model_folder(path: str) -> bool:
    """Whether `path` is a Hugging Face model's folder, and no run or checkpoint of ours."""
    return (Path(path) / _CONFIG).is_file()


def import_weights(folder: Path, recipe: Recipe) -> dict[str, Tensor]:
    """The weights of the model in `folder` as those of the recipe's decoder, float32.

    Raises:
        UserError: another architecture than the recipe's, files that are missing or damaged.
    """
    config = read_json(folder / _CONFIG, "configuration of a Hugging Face model")
    if not isinstance(config, dict):
        raise UserError(f"{folder / _CONFIG}: expected keys and values, found {type(config).__name__}.")
    odd = why_not_ours(config, recipe.model, recipe.parametrization)
    if odd:
        more = f"; and {len(odd) - 4} more" if len(odd) > 4 else ""
        raise UserError(
            f"{folder}: a run of this recipe cannot start from that model: {'; '.join(odd[:4])}{more}. The "
            f"recipe's model must be the same."
        )
    own = config.get("model_type") == "flyweight"
    try:
        return from_stock(_read(folder), recipe.model, recipe.parametrization, own_class=own)
    except ValueError as error:
        raise UserError(f"{folder}: its weights do not fit its {_CONFIG}: {error}.") from None


def _read(folder: Path) -> dict[str, Tensor]:
    if (folder / _WEIGHTS).exists():
        return _tensors(folder / _WEIGHTS)
    if not (folder / _INDEX).exists():
        raise UserError(
            f"{folder}: neither {_WEIGHTS} nor {_INDEX} is here; weights in pickled files (.bin) are not read, "
            f"save the model again with transformers' save_pretrained."
        )
    index = read_json(folder / _INDEX, "index of a model's weights")
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(p, str) for p in places.values()):
        raise UserError(
            f"{folder / _INDEX}: the index names no files; expected a weight_map with the file of every weight."
        )
    files = [path_inside(folder, name, folder / _INDEX) for name in sorted(set(places.values()))]
    return {key: value for file in files for key, value in _tensors(file).items()}


def _tensors(file: Path) -> dict[str, Tensor]:
    """What `read_tensors` reads; what is wrong is no run's, so that other advice is due."""
    what = "no such file"
    if file.is_file():
        try:
            return read_tensors(file)
        except UserError:
            what = "damaged or cut short"
    raise UserError(f"{file}: {what}; save or download the model again, with all its files.")


def check_tokenizer(folder: Path, tokenizer: TextTokenizer) -> None:
    """Raise a UserError where the model in `folder` reads other tokens than the shards hold."""
    theirs = TextTokenizer.load(folder, tokenizer.end_of_text_text)
    if _essence(theirs.backend) != _essence(tokenizer.backend):
        raise UserError(
            f"{folder}: that model has another tokenizer than these token shards; prepare them with "
            f"tokenizer.kind=existing tokenizer.path={folder}."
        )


def _essence(backend: Tokenizer) -> dict[str, Any]:
    """A tokenizer without what only adds tokens around a text, cuts it or pads it."""
    content = json.loads(backend.to_str())
    return {
        key: content[key] for key in content.keys() - {"post_processor", "truncation", "padding", "version"}
    }
