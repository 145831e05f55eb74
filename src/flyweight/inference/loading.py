"""From a path to a language model, whatever lies there."""

from __future__ import annotations

from pathlib import Path

from flyweight.base import UserError
from flyweight.inference.chat_format import chat_format
from flyweight.inference.checkpoint import (
    checkpoint_title,
    find_checkpoint,
    load_decoder,
    load_tokenizer,
    read_state,
)
from flyweight.inference.device import pick_device
from flyweight.inference.huggingface import CONFIG_FILE, GGUF, HuggingFaceModel
from flyweight.inference.language_model import DecoderModel, LanguageModel
from flyweight.inference.precision import Precision
from flyweight.recipe import Recipe


def load_model(
    path: str | Path,
    device: str = "auto",
    precision: Precision = "float32",
    *,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """The language model at `path`.

    Args:
        path: a checkpoint, a run folder (its newest checkpoint), `RUN@TOKENS`, a Hugging Face folder or a .gguf
            file.
        device: see `pick_device`.
        precision: float32 is the reference in which results are quoted.
        trust_remote_code: let a Hugging Face folder run the Python code that it brings.

    Raises:
        UserError: nothing loadable at `path`, or no such device.
    """
    chosen = pick_device(device)
    folder = Path(path)
    if (folder / CONFIG_FILE).is_file() or (folder.suffix == GGUF and folder.is_file()):
        return HuggingFaceModel(folder, chosen, precision, trust_remote_code=trust_remote_code)
    if folder.is_file():
        raise UserError(
            f"{folder}: this is a file; expected a checkpoint, a run folder, a Hugging Face folder or a .gguf file."
        )
    checkpoint = find_checkpoint(path)
    state = read_state(checkpoint)
    clock = state["clock"]
    decoder, recipe = load_decoder(checkpoint, chosen)
    tokenizer = load_tokenizer(checkpoint, recipe)
    return DecoderModel(
        decoder,
        tokenizer,
        precision,
        max_length=trained_length(recipe, clock),
        name=checkpoint_title(recipe, clock, state.get("average")),
        chat=chat_format(recipe, tokenizer),
    )


def trained_length(recipe: Recipe, clock: int) -> int:
    """The longest sequence that training has shown the model up to `clock`.

    Beyond it, positions are strange to the model, even where `max_position_embeddings` allows them.
    """
    knots = recipe.training.sequence_length.knots
    return max(int(knot.value) for knot in knots if knot.at <= max(clock - 1, 0))
