"""A linear layer that trains in FP8.

Forward y = x W^T from E4M3, backward dx = g W and dW = g^T x from E5M2 gradients, as Transformer Engine's
`hybrid` format does. The parameter stays what it was, float32 under its own name: a checkpoint, an export or
an evaluation sees an ordinary layer, and in eval mode it is one.

Shapes: M (rows: every position of a micro-batch), I (in), O (out).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from flyweight.model.layers import Linear
from flyweight.training.precision.formats import (
    E4M3,
    E5M2,
    LARGEST,
    amax,
    cast,
    product,
    scale_from_amax,
    with_whole_rows,
)


class Recorded(NamedTuple):
    """One tensor's part of delayed scaling: the scale to cast it by, and where its amax is noted."""

    scale: Tensor
    """Float32 scalar; 0 as long as nothing was recorded."""
    amax: Tensor
    """Float32 scalar, the largest of the step so far."""
    settled: bool
    """Whether the scale is known to be more than 0, so that casting need not wait for the amax."""


def scaled_cast(x: Tensor, dtype: torch.dtype, recorded: Recorded | None) -> tuple[Tensor, Tensor]:
    """`x` in FP8 and the reciprocal of its scale.

    Without `recorded` the scale is that of the tensor itself (dynamic); so it is with it, until something was
    recorded. Transformer Engine starts from a scale of 1, at which a language model's gradients, often below
    E5M2's smallest value of 1.5e-5, would all be 0 in the first step.
    """
    largest = amax(x)
    if recorded is None:
        scale = scale_from_amax(largest, LARGEST[dtype])
    elif recorded.settled:
        scale = recorded.scale
    else:
        scale = torch.where(recorded.scale > 0, recorded.scale, scale_from_amax(largest, LARGEST[dtype]))
    if recorded is not None:
        recorded.amax.copy_(torch.maximum(recorded.amax, largest))
    return cast(x, scale, dtype), scale.reciprocal()


class CastWeight(NamedTuple):
    """A weight in E4M3, in both layouts that products need, and the reciprocal of its scale."""

    rows: Tensor
    """(O, I), for the forward pass."""
    columns: Tensor
    """(I, O), for the gradient of the input."""
    inverse: Tensor


class _Float8Product(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        rows: Tensor,
        columns: Tensor,
        inverse_weight: Tensor,
        input_scale: Tensor | None,
        input_amax: Tensor | None,
        gradient_scale: Tensor | None,
        gradient_amax: Tensor | None,
        settled: bool,
    ) -> Tensor:
        length = x.shape[0]
        x8, inverse_x = scaled_cast(with_whole_rows(x), E4M3, _recorded(input_scale, input_amax, settled))
        ctx.save_for_backward(x8, inverse_x, columns, inverse_weight)
        # Not among the saved tensors: these change in place, on purpose, while other passes are under way.
        ctx.gradient_scale, ctx.gradient_amax, ctx.settled = gradient_scale, gradient_amax, settled
        ctx.dtypes = x.dtype, weight.dtype
        return product(x8, rows, inverse_x, inverse_weight, torch.bfloat16, fast=True)[:length]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x8, inverse_x, columns, inverse_weight = ctx.saved_tensors
        gradient = gradients[0]
        length = gradient.shape[0]
        recorded = _recorded(ctx.gradient_scale, ctx.gradient_amax, ctx.settled)
        g8, inverse_g = scaled_cast(with_whole_rows(gradient), E5M2, recorded)
        x_dtype, weight_dtype = ctx.dtypes
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = product(g8, columns, inverse_g, inverse_weight, torch.bfloat16)[:length].to(x_dtype)
        if ctx.needs_input_grad[1]:
            grad_weight = product(
                g8.t().contiguous(), x8.t().contiguous(), inverse_g, inverse_x, weight_dtype
            )
        return grad_x, grad_weight, None, None, None, None, None, None, None, None


def _recorded(scale: Tensor | None, amax: Tensor | None, settled: bool) -> Recorded | None:
    return None if scale is None or amax is None else Recorded(scale, amax, settled)


class Float8Linear(Linear):
    """x W^T in FP8 while training, (..., I) to (..., O) in bfloat16; an ordinary `Linear` in eval mode.

    Args:
        linear: the layer it stands for, whose parameter it takes over; I and O are multiples of 16.
        delayed: whether scales come from the amaxes of earlier steps, which `Float8Layers` keeps, or from
            each tensor as it is.
    """

    def __init__(self, linear: Linear, delayed: bool) -> None:
        with torch.device("meta"):
            super().__init__(linear.in_features, linear.out_features)
        self.weight = linear.weight
        self.train(linear.training)
        self.delayed = delayed
        self.settled = False
        for name in ("input", "weight", "gradient"):
            for value in ("scale", "amax"):
                zero = torch.zeros((), device=self.weight.device) if delayed else None
                self.register_buffer(f"{name}_{value}", zero, persistent=False)
        self.keeps_cast = True
        self._cast: CastWeight | None = None
        self._cast_version: int | None = None

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        x = input
        if not self.training:
            return super().forward(x)
        rows, columns, inverse = self._cast_weight()
        y = _Float8Product.apply(
            x.reshape(-1, self.in_features),
            self.weight,
            rows,
            columns,
            inverse,
            self.input_scale,
            self.input_amax,
            self.gradient_scale,
            self.gradient_amax,
            self.settled,
        )
        return y.view(*x.shape[:-1], self.out_features)  # type: ignore[union-attr]

    def _cast_weight(self) -> CastWeight:
        """The weight in FP8: cast once a step, since it is the same for all micro-batches."""
        # The version moves with every change in place, so that a weight loaded or updated in between is never
        # taken for the old one; a compiled graph cannot read it and relies on `forget_weight`.
        version = None if torch.compiler.is_compiling() else self.weight._version
        if self._cast is None or self._cast_version != version:
            with torch.no_grad():
                recorded = _recorded(self.weight_scale, self.weight_amax, self.settled)  # type: ignore[arg-type]
                rows, inverse = scaled_cast(self.weight.detach(), E4M3, recorded)
                found = CastWeight(rows, rows.t().contiguous(), inverse)
            if not self.keeps_cast:
                return found
            self._cast, self._cast_version = found, version
        return self._cast

    def forget_weight(self) -> None:
        """Cast the weight anew in the next pass."""
        self._cast = None
