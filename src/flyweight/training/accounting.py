"""What training took: the figures of a line of the log, added up over its steps."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch


@dataclass
class Window:
    """What happened since the last log line; tensors stay on the device until it is written."""

    cross_entropy: list[torch.Tensor]
    z: list[torch.Tensor]
    grad_norm: list[torch.Tensor]
    targets: int = 0
    """Scored: what losses are means over."""
    positions: int = 0
    """What the clock counts."""
    flops: float = 0.0
    since: float = 0.0

    @classmethod
    def new(cls) -> Window:
        """Nothing yet; its time begins now."""
        return cls([], [], [], since=time.perf_counter())
