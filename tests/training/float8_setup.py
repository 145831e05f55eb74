"""A linear layer that trains in FP8, and its float32 twin."""

from __future__ import annotations

import torch

from flyweight.model.layers import Linear
from flyweight.training.precision import Float8Layers, Float8Linear

INPUTS, OUTPUTS = 64, 48


def make_layer(delayed: bool, seed: int = 0) -> tuple[Float8Linear, Float8Layers]:
    torch.manual_seed(seed)
    plain = Linear(INPUTS, OUTPUTS)
    with torch.no_grad():
        plain.weight.normal_(0, INPUTS**-0.5)
    layer = Float8Linear(plain, delayed=delayed)
    return layer, Float8Layers({"one": layer}, delayed=delayed)


def backward(layer: torch.nn.Module, x: torch.Tensor, gradient: torch.Tensor):
    """Output and the gradients of input and weight; under autocast, as in training."""
    x = x.clone().requires_grad_()
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    weight.grad = None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    y.backward(gradient)
    assert x.grad is not None
    assert weight.grad is not None
    return y.detach(), x.grad, weight.grad
