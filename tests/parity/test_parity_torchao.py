"""Our FP8 layer beside torchao's: the same formats and scales, so the same numbers but for the order of sums."""

from __future__ import annotations

import warnings

import pytest
import torch

from flyweight.model.layers import Linear
from flyweight.training.precision import Float8Linear

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    float8 = pytest.importorskip("torchao.float8", reason="torchao is not installed", exc_type=ImportError)

INPUTS, OUTPUTS, ROWS = 96, 64, 48


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def pass_through(module: torch.nn.Module, weight: torch.Tensor, x: torch.Tensor, gradient: torch.Tensor):
    leaf, weight.grad = x.clone().requires_grad_(), None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(leaf)
    y.backward(gradient.to(y.dtype))
    assert leaf.grad is not None
    assert weight.grad is not None
    return y.detach().float(), leaf.grad.float(), weight.grad.float()


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_output_and_gradients_are_those_of_torchaos_tensorwise_layer(size):
    torch.manual_seed(0)
    plain = Linear(INPUTS, OUTPUTS)
    with torch.no_grad():
        plain.weight.normal_(0, INPUTS**-0.5)
    theirs = torch.nn.Sequential(torch.nn.Linear(INPUTS, OUTPUTS, bias=False))
    theirs.load_state_dict({"0.weight": plain.weight.detach().clone()})
    float8.convert_to_float8_training(theirs, config=float8.Float8LinearConfig())
    assert type(theirs[0]).__name__ == "Float8Linear"
    ours = Float8Linear(plain, delayed=False)
    x, gradient = torch.randn(ROWS, INPUTS) * size, torch.randn(ROWS, OUTPUTS) * size
    x, gradient = x.bfloat16().float(), gradient.bfloat16().float()
    mine = pass_through(ours, ours.weight, x, gradient)
    other = pass_through(theirs, theirs[0].weight, x, gradient)
    exact = x @ plain.weight.detach().T
    for found, expected in zip(mine, other, strict=True):
        # torchao takes the weight's largest value in bfloat16, so that a few values round to the next FP8 number.
        assert relative(found, expected) < 0.02
    assert abs(relative(mine[0], exact) / relative(other[0], exact) - 1) < 0.1
