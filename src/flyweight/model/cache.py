"""Keys and values of the tokens seen so far, so that each new token costs one step."""

from __future__ import annotations

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

    def advance(self, tokens: int) -> None:
        """Count `tokens` more positions as filled."""
        self.length += tokens
