"""Tensors that are cut into rows over the ranks, as FSDP2 cuts parameters, gradients and what is derived from them.

Rank r of W holds rows r * ceil(R / W) up to the next rank's first; the last ranks may hold fewer or none. They
are told by `to_local`, so that a run of one process needs none of torch.distributed.tensor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def is_cut(tensor: Tensor) -> bool:
    """Whether this process holds only some rows of `tensor`."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What this process holds of `tensor`, without a copy: all of it, or its rows."""
    return tensor.to_local() if is_cut(tensor) else tensor  # type: ignore[attr-defined]


def whole(tensor: Tensor) -> Tensor:
    """All of `tensor`, from all ranks."""
    return tensor.full_tensor() if is_cut(tensor) else tensor  # type: ignore[attr-defined]


def rows_of(count: int, rank: int, world_size: int) -> tuple[int, int]:
    """The rows (first, end) of `count` that a rank holds."""
    size = -(-count // world_size)
    return min(rank * size, count), min((rank + 1) * size, count)


def own_rows(tensor: Tensor) -> tuple[int, int]:
    """The rows (first, end) of `tensor` that this process holds."""
    if not is_cut(tensor):
        return 0, tensor.shape[0]
    mesh: Any = tensor.device_mesh  # type: ignore[attr-defined]
    return rows_of(tensor.shape[0], mesh.get_local_rank(), mesh.size())


@torch.no_grad()
def fill(target: Tensor, value: Tensor) -> None:
    """Copy `value`, which is whole, into what this process holds of `target`."""
    if is_cut(target):
        first, end = own_rows(target)
        value = value[first:end]
    local(target).copy_(value)


def cut_like(value: Tensor, model: Tensor) -> Tensor:
    """`value`, which is whole, on the device of `model`, and cut as `model` is if it has its shape."""
    if not is_cut(model) or value.shape != model.shape:
        return value.to(model.device)
    result = torch.empty_like(model, dtype=value.dtype)
    fill(result, value)
    return result


def clip(parameters: list[Tensor], limit: float) -> Tensor:
    """Scale the gradients so that their norm is at most `limit`; the norm before, over all ranks."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = whole(torch.nn.utils.get_total_norm(gradients))
    torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm
