"""Keys and values of the tokens seen so far, so that each new token costs one step."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from flyweight.recipe import Model


class KVCache:
    """Room for `max_length` positions of every layer, allocated once.

    Keys are stored rotated and values un-rotated, as attention uses them; both are (L, B, K, max_length, C).
    `length` counts the positions that are filled; set it back to forget what came after. For inference
    only: no gradient flows through a cache.
    """

    def __init__(
        self,
        config: Model,
        batch: int,
        max_length: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (config.num_hidden_layers, batch, config.num_key_value_heads, max_length, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.max_length = max_length
        self.length = 0

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Store one layer's `key` and `value` (B, K, T, C) behind `length`; return all that it has.

        `length` itself moves only in `advance`, when every layer has stored the same positions.
        """
        end = self.length + key.shape[2]
        # An unequal batch would be broadcast silently by the assignment below.
        assert key.shape[0] == self.keys.shape[1], f"a cache for {self.keys.shape[1]} rows got {key.shape[0]}"
        assert end <= self.max_length, f"a cache of {self.max_length} positions was asked for {end}"
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def select(self, rows: Tensor, begin: int) -> KVCache:
        """A cache of the given `rows` (N,) int64, without the positions before `begin`; with the same room after."""
        selected = copy.copy(self)
        selected.keys = self.keys[:, rows, :, begin:].contiguous()
        selected.values = self.values[:, rows, :, begin:].contiguous()
        selected.max_length, selected.length = self.max_length - begin, self.length - begin
        return selected

    def beside(self, other: KVCache) -> KVCache:
        """A cache of the rows of both, those of the shorter one padded on the left, with the larger room."""
        length = max(self.length, other.length)
        room = max(cache.max_length - cache.length for cache in (self, other))
        joined = copy.copy(self)
        joined.keys = _side_by_side([(self.keys, self.length), (other.keys, other.length)], length, room)
        joined.values = _side_by_side(
            [(self.values, self.length), (other.values, other.length)], length, room
        )
        joined.max_length, joined.length = length + room, length
        return joined

    def beginning(self, length: int, room: int) -> KVCache:
        """A cache of the first `length` positions, with room for `room` altogether."""
        begun = copy.copy(self)
        begun.keys = _side_by_side([(self.keys, length)], length, room - length)
        begun.values = _side_by_side([(self.values, length)], length, room - length)
        begun.max_length, begun.length = room, length
        return begun

    def advance(self, tokens: int) -> None:
        """Count `tokens` more positions as filled."""
        self.length += tokens


def _side_by_side(parts: list[tuple[Tensor, int]], length: int, room: int) -> Tensor:
    """Each part's filled positions (its second entry says how many) end at `length`; `room` positions follow."""
    first = parts[0][0]
    rows = sum(part.shape[1] for part, _ in parts)
    joined = first.new_zeros(first.shape[0], rows, first.shape[2], length + room, first.shape[4])
    start = 0
    for part, filled in parts:
        end = start + part.shape[1]
        joined[:, start:end, :, length - filled : length] = part[:, :, :, :filled]
        start = end
    return joined
