"""Attention over blocks of queries against torch's own, and what makes it causal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from flyweight.model.block_attention import BLOCK, block_attention


def draw(
    length: int, heads: int, groups: int, dtype: torch.dtype, batch: int = 2, size: int = 16
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length + heads)
    shapes = [(batch, heads, length, size), *[(batch, groups, length, size)] * 2]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def with_gradients(kernel, inputs: list[Tensor], scale: float) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = kernel(*leaves, scale)
    upper = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).view(y.shape).to(y.dtype)
    return [y.detach(), *torch.autograd.grad(y, leaves, upper)]


def reference(query: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    return F.scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scale, enable_gqa=True)


@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (4, 4), (3, 1)])
def test_values_and_gradients_are_those_of_torch(length: int, heads: int, groups: int) -> None:
    inputs = draw(length, heads, groups, torch.float64)
    found, expected = (with_gradients(kernel, inputs, 0.3) for kernel in (block_attention, reference))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_inputs_may_be_views_as_the_block_makes_them() -> None:
    fused = torch.randn(2, 40, 10, 16, dtype=torch.float64)

    def split(kernel) -> Tensor:
        query, keys, values = fused.transpose(1, 2).split([6, 2, 2], dim=1)
        return kernel(query, keys, values, 0.25)

    torch.testing.assert_close(split(block_attention), split(reference))


def test_bfloat16_errs_no_more_than_twice_as_much_as_torch() -> None:
    exact = with_gradients(reference, draw(300, 6, 2, torch.float64), 0.25)
    inputs = draw(300, 6, 2, torch.bfloat16)
    errors = [
        [float((x.double() - y).norm() / y.norm()) for x, y in zip(found, exact, strict=True)]
        for found in (with_gradients(kernel, inputs, 0.25) for kernel in (block_attention, reference))
    ]
    for mine, theirs in zip(*errors, strict=True):
        assert mine < 2 * theirs + 1e-3
        assert mine < 0.03


def test_what_follows_changes_nothing_before() -> None:
    query, keys, values = draw(200, 4, 2, torch.float32)
    before = block_attention(query, keys, values, 0.25)
    for x in (query, keys, values):
        x[:, :, 150:] = 100.0
    assert torch.equal(block_attention(query, keys, values, 0.25)[:, :, :150], before[:, :, :150])
    torch.testing.assert_close(before[:, :, 0], values[:, :, 0].repeat_interleave(2, dim=1))


def test_large_scores_do_not_overflow() -> None:
    query, keys, values = draw(64, 2, 1, torch.float32)
    found = with_gradients(block_attention, [query * 1e3, keys * 1e3, values], 1.0)
    assert all(x.isfinite().all() for x in found)


def test_it_is_a_sound_operator() -> None:
    inputs = [x.requires_grad_() for x in draw(130, 4, 2, torch.float32)]
    torch.library.opcheck(torch.ops.flyweight.block_attention.default, (*inputs, 0.5))
