"""What an export is made of: everything that a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.corpus import TextTokenizer
from flyweight.inference import DecoderModel, load_decoder, load_tokenizer, read_state
from flyweight.model import Decoder
from flyweight.recipe import Recipe


@dataclass(frozen=True)
class Source:
    """A checkpoint, read."""

    folder: Path
    state: dict[str, Any]
    decoder: Decoder
    recipe: Recipe
    tokenizer: TextTokenizer
    fingerprint: str
    """Of the weights, as results of an evaluation name it."""


def read_source(folder: Path) -> Source:
    """What lies in a checkpoint's folder.

    Raises:
        UserError: it is damaged.
    """
    state = read_state(folder)
    decoder, recipe = load_decoder(folder)
    tokenizer = load_tokenizer(folder, recipe)
    return Source(folder, state, decoder, recipe, tokenizer, DecoderModel(decoder, tokenizer).fingerprint)
