"""What the wind tunnel reads without a run."""

from __future__ import annotations

from torch import Tensor

from flyweight.corpus import OpenCorpus
from flyweight.curriculum import Order, read_batch
from flyweight.recipe import Recipe

BATCH_TOKENS = 1024
"""Tokens of the batch of a check."""


def first_batch(recipe: Recipe, corpus: OpenCorpus) -> Tensor:
    """The recipe's first sequences, about BATCH_TOKENS tokens of them: (B, T+1)."""
    order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
    length = order.schedule.segments[0].sequence_length
    return read_batch(order.sequences(0, max(1, BATCH_TOKENS // length)), corpus.train).tokens
