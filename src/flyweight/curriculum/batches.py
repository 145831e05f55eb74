"""From sequences to tensors of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import Protocol

import numpy as np
import torch

from flyweight.curriculum.order import Sequence


class Stream(Protocol):
    """A source's training tokens as a ring."""

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from `start`, positions taken modulo the stream's length."""
        ...


def read_batch(sequences: ListOf[Sequence], streams: Mapping[str, Stream]) -> torch.Tensor:
    """Tokens (B, T+1), int64: inputs are [:, :-1], targets [:, 1:]."""
    rows = [streams[item.source].read(item.start, item.length + 1) for item in sequences]
    return torch.from_numpy(np.stack(rows).astype(np.int64, copy=False))
