"""Finding and reading checkpoints; damage and foreign formats are told in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from flyweight.base import UserError, read_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import layout
from flyweight.model import Decoder
from flyweight.recipe import Recipe, format_tokens, parse_tokens, recipe_from_dict


def list_checkpoints(run: Path) -> list[tuple[int, Path]]:
    """The (clock, folder) pairs of a run folder, oldest first."""
    folder = run / layout.CHECKPOINTS_FOLDER
    children = folder.iterdir() if folder.is_dir() else ()
    found = [(layout.checkpoint_clock(child.name), child) for child in children if child.is_dir()]
    return sorted((clock, child) for clock, child in found if clock is not None)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder that `path` names.

    Args:
        path: a checkpoint folder; a run folder, for its newest checkpoint; or `RUN@TOKENS`
            (`runs/mine@2M`), for the newest at or before that clock.

    Raises:
        UserError: nothing of the kind there, or a checkpoint of a newer format.
    """
    folder, limit = _split(str(path))
    if not folder.exists():
        raise UserError(
            f"{folder}: no such folder; expected a checkpoint, a run folder, or RUN@TOKENS such as "
            f"runs/mine@2M."
        )
    if limit is None and ((folder / layout.STATE_FILE).exists() or (folder / layout.MODEL_FILE).exists()):
        read_state(folder)
        return folder
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        files = sorted(folder.glob("*.gguf"))
        hint = (
            f"{files[0]} lies there: name the file."
            if files
            else "expected a checkpoint or a run folder with one."
        )
        raise UserError(f"{folder}: there is no checkpoint here; {hint}")
    fitting = [child for clock, child in checkpoints if limit is None or clock <= limit]
    if not fitting:
        raise UserError(
            f"{path}: no checkpoint at or before {limit:,} tokens; this run has "
            f"{', '.join(f'{clock:,}' for clock, _ in checkpoints)}."
        )
    read_state(fitting[-1])
    return fitting[-1]


def _split(text: str) -> tuple[Path, int | None]:
    """The folder and the clock of `RUN@TOKENS`; a folder whose own name holds an @ wins."""
    run, at, tokens = text.rpartition("@")
    if not at or Path(text).exists():
        return Path(text), None
    try:
        return Path(run), parse_tokens(tokens)
    except ValueError:
        raise UserError(
            f"{text}: expected RUN@TOKENS such as runs/mine@2M, found {tokens!r} after the @."
        ) from None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's state.json, after a look at its format and at the files beside it.

    Raises:
        UserError: a newer format, a file that is missing or broken.
    """
    state = read_json(checkpoint / layout.STATE_FILE, "checkpoint state")
    version = state.get("format") if isinstance(state, dict) else None
    if not isinstance(version, int):
        raise UserError(
            f"{checkpoint / layout.STATE_FILE}: no format number; this is not a Flyweight checkpoint."
        )
    if version > layout.CHECKPOINT_FORMAT:
        raise UserError(
            f"{checkpoint}: this checkpoint has format {version}, this Flyweight reads up to "
            f"{layout.CHECKPOINT_FORMAT}; a newer Flyweight is needed."
        )
    if not isinstance(state.get("clock"), int):
        raise UserError(f"{checkpoint / layout.STATE_FILE}: the clock is missing; the checkpoint is damaged.")
    for name in layout.NEEDED_TO_READ:
        if not (checkpoint / name).is_file():
            raise UserError(
                f"{checkpoint}: {name} is missing; the checkpoint is incomplete, use another one."
            )
    return state


def read_checkpoint_recipe(path: str | Path) -> Recipe:
    """The recipe inside the checkpoint that `path` names (see `find_checkpoint`)."""
    checkpoint = find_checkpoint(path)
    file = checkpoint / layout.RECIPE_FILE
    data = read_json(file, "recipe of the checkpoint")
    if not isinstance(data, dict):
        raise UserError(f"{file}: expected a recipe (keys and values), found {type(data).__name__}.")
    return recipe_from_dict(data, str(file))


def read_tensors(file: Path, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        UserError: the file is missing, cut short, or not a safetensors file.
    """
    try:
        return load_file(file, device=str(device))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; the checkpoint is incomplete, use another one.") from None
    except SafetensorError as error:
        raise UserError(
            f"{file}: damaged or cut short ({error}); use another checkpoint of the run (RUN@TOKENS)."
        ) from None


def load_decoder(path: str | Path, device: torch.device | str = "cpu") -> tuple[Decoder, Recipe]:
    """The model of a checkpoint, in float32 on `device`, and its recipe.

    The decoder's configuration has the base of the rotary positions that the checkpoint was trained with last, which
    the recipe may move (`training.rope_theta`).

    Raises:
        UserError: what `find_checkpoint` raises; weights that are damaged or do not fit the recipe.
    """
    checkpoint = find_checkpoint(path)
    recipe = read_checkpoint_recipe(checkpoint)
    tensors = read_tensors(checkpoint / layout.MODEL_FILE)
    base = read_state(checkpoint).get("rope_theta") or recipe.model.rope_theta
    decoder = Decoder(recipe.model.model_copy(update={"rope_theta": base}), recipe.parametrization)
    expected = decoder.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        wanted = tuple(expected[name].shape) if name in expected else "nothing"
        if found != wanted:
            raise UserError(
                f"{checkpoint / layout.MODEL_FILE}: the weights do not fit the checkpoint's recipe: "
                f"{name} is {found}, expected {wanted}."
            )
    decoder.load_state_dict(tensors)
    return decoder.to(device).eval(), recipe


def load_tokenizer(checkpoint: Path, recipe: Recipe) -> TextTokenizer:
    """The tokenizer of a checkpoint folder."""
    return TextTokenizer.load(checkpoint / layout.TOKENIZER_FILE, recipe.tokenizer.end_of_text)


def checkpoint_title(recipe: Recipe, clock: int, average: Mapping[str, Any] | None = None) -> str:
    """How results name the model of a checkpoint: `gpt-s-5m@2.5M`; of an average, `gpt-s-5m@2.5M-mean-of-3`.

    Args:
        recipe: of the checkpoint.
        clock: of the checkpoint.
        average: `average` of its state.
    """
    title = f"{recipe.name}@{format_tokens(clock)}"
    if not average:
        return title
    return f"{title}-ema" if average["kind"] == "ema" else f"{title}-mean-of-{len(average['clocks'])}"


def average_in_words(average: Mapping[str, Any]) -> str:
    """What the weights of a checkpoint are an average of, from `average` of its state."""
    if average["kind"] == "ema":
        return f"exponential moving average with a half-life of {average['half_life']:,} tokens"
    return f"mean of the checkpoints at {', '.join(f'{clock:,}' for clock in average['clocks'])} tokens"
