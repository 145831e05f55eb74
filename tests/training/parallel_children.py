"""What the processes of parallel tests do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.corpus import open_corpus
from flyweight.recipe import recipe_from_dict
from flyweight.training import loop, train
from flyweight.training.parallel import Ranks


def train_here(
    ranks: Ranks, recipe: dict[str, Any], corpus: str, run: str, options: dict[str, Any]
) -> tuple[int, list[list[int]]]:
    """Train; the clock reached, and the first tokens of every sequence that this rank read, by step."""
    read: list[list[int]] = []
    original = loop.read_batch

    def recording(sequences: Any, streams: Any) -> Any:
        batch = original(sequences, streams)
        read.append(batch[:, :4].flatten().tolist())
        return batch

    loop.read_batch = recording
    result = train(
        recipe_from_dict(recipe), open_corpus(Path(corpus)), Path(run), sinks=[], ranks=ranks, **options
    )
    return result.clock, read


def refused(ranks: Ranks, recipe: dict[str, Any], corpus: str, run: str) -> tuple[str, str]:
    """Train, and come back with the kind and the text of the error."""
    try:
        train(recipe_from_dict(recipe), open_corpus(Path(corpus)), Path(run), sinks=[], ranks=ranks)
    except UserError as error:
        return type(error).__name__, str(error)
    return "", ""
