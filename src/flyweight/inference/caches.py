"""What models remember of the tokens they have seen, so that generation goes on from there.

A cache of B rows can be cut down to some of them and put beside another, so that rows that are finished make
room for new ones. Rows of different lengths end together: the shorter ones are padded on the left, and whoever
holds the cache knows where (`valid` of `LanguageModel.next_logits`). It can also be cut down to its first positions,
which another text may begin with as well.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor


class Cache(Protocol):
    """What generation asks of a cache."""

    def select(self, rows: Tensor, begin: int) -> Self:
        """A cache of the given `rows` (N,) int64, without the positions before `begin`."""
        ...

    def beside(self, other: Self) -> Self:
        """A cache of the rows of both, those of the shorter one padded on the left."""
        ...

    def beginning(self, length: int, room: int) -> Self:
        """A cache of the first `length` positions, with room for `room` altogether."""
        ...


class TokenCache:
    """The tokens themselves (B, S), for models that remember nothing else: all of it is computed again."""

    def __init__(self, tokens: Tensor) -> None:
        self.tokens = tokens

    def select(self, rows: Tensor, begin: int) -> TokenCache:
        """See `Cache`."""
        return TokenCache(self.tokens[rows, begin:])

    def beside(self, other: TokenCache) -> TokenCache:
        """See `Cache`."""
        length = max(self.tokens.shape[1], other.tokens.shape[1])
        return TokenCache(torch.cat([_pad_left(cache.tokens, length, 1) for cache in (self, other)]))

    def beginning(self, length: int, room: int) -> TokenCache:
        """See `Cache`."""
        return TokenCache(self.tokens[:, :length])


class TransformersCache:
    """A cache of transformers, which the first forward pass makes."""

    def __init__(self, past: Any = None) -> None:
        self.past = past

    @property
    def joins(self) -> bool:
        """Whether it can be cut and joined: every layer keeps all keys and values, and nothing else."""
        from transformers.cache_utils import DynamicLayer

        layers = getattr(self.past, "layers", None)
        return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)

    def select(self, rows: Tensor, begin: int) -> TransformersCache:
        """See `Cache`."""
        for layer in self.past.layers:
            layer.keys, layer.values = layer.keys[rows, :, begin:], layer.values[rows, :, begin:]
        return self

    def beside(self, other: TransformersCache) -> TransformersCache:
        """See `Cache`."""
        length = max(cache.past.layers[0].keys.shape[2] for cache in (self, other))
        for mine, theirs in zip(self.past.layers, other.past.layers, strict=True):
            mine.keys = torch.cat([_pad_left(layer.keys, length, 2) for layer in (mine, theirs)])
            mine.values = torch.cat([_pad_left(layer.values, length, 2) for layer in (mine, theirs)])
        return self

    def beginning(self, length: int, room: int) -> TransformersCache:
        """See `Cache`."""
        for layer in self.past.layers:
            layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]
        return self


def _pad_left(x: Tensor, length: int, dimension: int) -> Tensor:
    """`x` with zeros before it, so that it has `length` entries along `dimension`."""
    after = [0, 0] * (x.dim() - 1 - dimension)
    return F.pad(x, [*after, length - x.shape[dimension], 0])
