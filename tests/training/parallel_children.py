"""What the processes of parallel tests do."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import faulty_child

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

    def recording(sequences: Any, streams: Any, **options: Any) -> Any:
        batch = original(sequences, streams, **options)
        read.append(batch.tokens[:, :4].flatten().tolist())
        return batch

    loop.read_batch = recording
    result = train(
        recipe_from_dict(recipe), open_corpus(Path(corpus)), Path(run), sinks=[], ranks=ranks, **options
    )
    return result.clock, read


def train_with_fault(
    ranks: Ranks, recipe: dict[str, Any], corpus: str, run: str, fault: str, victim: int, step: int
) -> tuple[str, int]:
    """Train; at a step, rank `victim` sends itself a signal, or batches that are no numbers come now and then."""
    if fault == "poison":
        faulty_child.install("poison", 9)
    original, reads = loop.read_batch, []

    def striking(sequences: Any, streams: Any, **options: Any) -> Any:
        reads.append(1)
        if ranks.rank == victim and len(reads) == step:
            if fault == "shard":
                raise UserError("shard: cannot be read.")
            os.kill(os.getpid(), getattr(signal, fault))
        return original(sequences, streams, **options)

    loop.read_batch = striking
    try:
        result = train(recipe_from_dict(recipe), open_corpus(Path(corpus)), Path(run), sinks=[], ranks=ranks)
    except UserError as error:
        return f"{type(error).__name__}: {error}", 0
    return "finished" if result.finished else "stopped", result.clock


def train_beside_a_slow_disk(ranks: Ranks, recipe: dict[str, Any], corpus: str, run: str) -> None:
    """Train; reading a batch takes every rank but the first 0.1 s."""
    original = loop.read_batch

    def slow(sequences: Any, streams: Any, **options: Any) -> Any:
        time.sleep(0.1 if ranks.rank else 0.0)
        return original(sequences, streams, **options)

    loop.read_batch = slow
    train(recipe_from_dict(recipe), open_corpus(Path(corpus)), Path(run), sinks=[], ranks=ranks)


def refused(ranks: Ranks, recipe: dict[str, Any], corpus: str, run: str) -> tuple[str, str]:
    """Train, and come back with the kind and the text of the error."""
    try:
        train(recipe_from_dict(recipe), open_corpus(Path(corpus)), Path(run), sinks=[], ranks=ranks)
    except UserError as error:
        return type(error).__name__, str(error)
    return "", ""
