"""Causal attention for training on CPUs: batched matrix products over blocks of queries.

A CPU's matrix units take bfloat16 products of some hundred rows in almost no time. What torch's fused kernel
saves there, memory for the weights, short sequences have to spare, and its backward pass, which computes the
weights again in small tiles, is several times slower. So here the weights are computed once and kept: a block
of 128 queries meets the keys up to its end, one product for all query heads of a group, and only the square on
the diagonal is masked.

The numbers are those of plain attention in the inputs' dtype: scores rounded to it, softmax in float32 inside.

It is one operator to torch.compile, whose own softmax is slower on CPUs than the library's.

Shapes: B (batch), T (sequence), H (query heads), K (key/value heads), G (H/K), C (head_dim).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

BLOCK = 128
"""Queries of a block: more of them waste products above the diagonal, fewer are too small for matrix units."""

LONGEST = 1024
"""Longer sequences keep too many weights: 2 bytes times B*H*T*T/2 in every layer."""


class _Block(NamedTuple):
    start: int
    """The first query."""
    stop: int
    """One past the last query, and one past the last key that these queries see."""
    place: int
    """Where the block's weights begin among those of one key/value head, for G = 1."""


def _blocks(length: int) -> Iterator[_Block]:
    place = 0
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        yield _Block(start, stop, place)
        place += (stop - start) * stop


def weights_per_head(length: int) -> int:
    """Weights that are kept of one query head of a sequence of `length`: about length^2 / 2."""
    return sum((block.stop - block.start) * block.stop for block in _blocks(length))


class _Heads:
    """Views of the operator's tensors, block by block; queries and results lie with each block in one piece."""

    def __init__(self, query: Tensor, keys: Tensor) -> None:
        self.batch, self.heads, self.length, self.size = query.shape
        self.key_heads = keys.shape[1]
        self.groups = self.batch * self.key_heads
        self.group = self.heads // self.key_heads

    def gather(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """`x` (B, H, T, C) times `scale`, block after block, B*H*T*C numbers."""
        flat = x.new_empty(x.numel())
        for block in _blocks(self.length):
            source = self._cut(x, block)
            torch.mul(source, scale, out=self.rows(flat, block).view(source.shape))
        return flat

    def scatter(self, flat: Tensor) -> Tensor:
        """What lies block after block, as (B, H, T, C)."""
        result = flat.new_empty(self.batch, self.heads, self.length, self.size)
        for block in _blocks(self.length):
            target = self._cut(result, block)
            target.copy_(self.rows(flat, block).view(target.shape))
        return result

    def _cut(self, x: Tensor, block: _Block) -> Tensor:
        return x.unflatten(1, (self.key_heads, self.group))[..., block.start : block.stop, :]

    def rows(self, flat: Tensor, block: _Block) -> Tensor:
        """A block of what `gather` gave, (B*K, G*rows, C)."""
        size = self.groups * self.group * self.size
        part = flat[size * block.start : size * block.stop]
        return part.view(self.groups, self.group * (block.stop - block.start), self.size)

    def keys(self, x: Tensor) -> Tensor:
        """Keys or values (B, K, T, C) as (B*K, T, C)."""
        return x.reshape(self.groups, self.length, self.size)

    def weights(self, flat: Tensor, block: _Block) -> Tensor:
        """The block's part of the weights, (B*K, G*rows, stop)."""
        scale = self.groups * self.group
        count = (block.stop - block.start) * block.stop
        part = flat[scale * block.place : scale * (block.place + count)]
        return part.view(self.groups, self.group * (block.stop - block.start), block.stop)

    def mask(self, scores: Tensor, block: _Block, mask: Tensor | None, above: Tensor) -> None:
        """Take what a query does not see out of `scores`: the keys after it, where there is no mask.

        `above` (BLOCK, BLOCK) is -inf above the diagonal and 0 elsewhere.
        """
        rows = block.stop - block.start
        if mask is not None:
            part = mask[:, None, block.start : block.stop, : block.stop]
            scores.view(self.batch, -1, rows, block.stop).add_(part)
            return
        square = scores.view(self.groups, self.group, rows, block.stop)[..., block.start :]
        square += above[:rows, :rows]


@torch.library.custom_op("flyweight::block_attention", mutates_args=())
def _forward(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    heads = _Heads(query, keys)
    queries, keys, values = heads.gather(query, scale), heads.keys(keys), heads.keys(values)
    above = torch.full((BLOCK, BLOCK), float("-inf"), dtype=query.dtype, device=query.device).triu_(1)
    result = torch.empty_like(queries)
    flat = query.new_empty(heads.groups * heads.group * weights_per_head(heads.length))
    for block in _blocks(heads.length):
        scores = torch.bmm(heads.rows(queries, block), keys[:, : block.stop].transpose(1, 2))
        heads.mask(scores, block, mask, above)
        weights = heads.weights(flat, block)
        torch.ops.aten._softmax.out(scores, -1, False, out=weights)
        torch.bmm(weights, values[:, : block.stop], out=heads.rows(result, block))
    return heads.scatter(result), flat


@_forward.register_fake
def _(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    batch, heads, length, _size = query.shape
    return query.new_empty(query.shape), query.new_empty(batch * heads * weights_per_head(length))


@torch.library.custom_op("flyweight::block_attention_backward", mutates_args=())
def _backward(
    gradient: Tensor, query: Tensor, keys: Tensor, values: Tensor, flat: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    heads = _Heads(query, keys)
    queries, gradients = heads.gather(query, scale), heads.gather(gradient)
    all_keys, all_values = heads.keys(keys), heads.keys(values)
    of_query = torch.empty_like(queries)
    # In float32 at least, since every block adds to the keys and values before it. The last one meets them all.
    exact = torch.promote_types(query.dtype, torch.float32)
    of_keys = of_values = all_keys
    for block in reversed(list(_blocks(heads.length))):
        weights, upper = heads.weights(flat, block), heads.rows(gradients, block)
        of_weights = torch.bmm(upper, all_values[:, : block.stop].transpose(1, 2))
        of_scores = torch.ops.aten._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        torch.bmm(of_scores, all_keys[:, : block.stop], out=heads.rows(of_query, block))
        to_keys = torch.bmm(of_scores.transpose(1, 2), heads.rows(queries, block))
        to_values = torch.bmm(weights.transpose(1, 2), upper)
        if block.stop == heads.length:
            of_keys, of_values = to_keys.to(exact), to_values.to(exact)
        else:
            of_keys[:, : block.stop] += to_keys
            of_values[:, : block.stop] += to_values
    return (
        heads.scatter(of_query.mul_(scale)),
        of_keys.to(keys.dtype).view(keys.shape),
        of_values.to(values.dtype).view(values.shape),
    )


@_backward.register_fake
def _(
    gradient: Tensor, query: Tensor, keys: Tensor, values: Tensor, flat: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), keys.new_empty(keys.shape), values.new_empty(values.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, keys, values, ctx.scale, _ = inputs
    ctx.save_for_backward(query, keys, values, output[1])
    ctx.set_materialize_grads(False)  # nothing comes back for the weights, which are as large as all the rest


def _gradients(ctx: Any, gradient: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return (None,) * 5
    query, keys, values, flat = ctx.saved_tensors
    return (*_backward(gradient, query, keys, values, flat, ctx.scale), None, None)


_forward.register_autograd(_gradients, setup_context=_save)


def block_attention(
    query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None = None
) -> Tensor:
    """softmax(scale * query keys^T + causal mask) values.

    Args:
        query: (B, H, T, C), T at most LONGEST by custom, since all weights are kept for the backward pass.
        keys: (B, K, T, C), K a divisor of H; query head h reads key/value head h*K//H.
        values: (B, K, T, C).
        scale: factor of the scores.
        mask: (B, T, T), added to the scores: 0 where a query sees a key, which must not be after it, and -inf
            elsewhere. All keys up to the query where left out.

    Returns:
        (B, H, T, C) in the inputs' dtype.
    """
    return _forward(query, keys, values, scale, mask)[0]
