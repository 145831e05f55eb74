"""The small parts of a block: linear maps, RMSNorm, rotary positions, SwiGLU.

Shapes: B (batch), T (sequence), D (hidden), H (heads), C (head_dim), F (intermediate).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """x W^T without a bias; `Decoder.initialize` or a checkpoint gives W its values."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def reset_parameters(self) -> None:
        """Draw nothing: values that are replaced anyway would cost time and move the global generator."""


class Embedding(nn.Embedding):
    """A table of rows; `Decoder.initialize` or a checkpoint gives it its values."""

    def reset_parameters(self) -> None:
        """Draw nothing, as in `Linear`."""


class RMSNorm(nn.Module):
    """x / rms(x), taken in float32 and cast back to x's dtype, then times the gain (arXiv 1910.07467).

    Casting before the gain is Llama's order; transformers' classes, which releases fold onto, do the same.
    """

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of `x` (..., size)."""
        return F.rms_norm(x.float(), (x.shape[-1],), eps=self.eps).to(x.dtype) * self.weight


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), with gate and up in one matrix (arXiv 2002.05202)."""

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.gate_up_proj = Linear(hidden_size, 2 * intermediate_size)
        self.down_proj = Linear(intermediate_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)


def rotary_tables(positions: Tensor, head_dim: int, rope_theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of RoPE's angles, each (..., C/2) in float32, at `positions` (...).

    Angle i of position p is p * rope_theta^(-2i/C) (arXiv 2104.09864, equation 15). The tables are computed
    anew in every forward pass, once for all layers: that is cheap, and no buffer has to survive a change of
    dtype, a meta device or a sequence longer than foreseen.
    """
    even = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    angles = positions.float()[..., None] * (1.0 / rope_theta ** (even / head_dim))
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair (i, i + C/2) of `x` (B, H, T, C) by its angle: transformers' "rotate half" order.

    The tables are (T, C/2), or (B, 1, T, C/2) where sequences stand at positions of their own.
    The result is float32 as the tables are, whatever `x` is: in bfloat16 late positions would run together.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def scaled(x: Tensor, factor: float) -> Tensor:
    """`x` times `factor`; no work at all where the factor is 1."""
    return x if factor == 1.0 else x * factor
