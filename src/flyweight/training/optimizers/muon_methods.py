"""Which way of orthogonalising is fastest here, by a short trial for every shape.

The ways differ in the last bits, so a run keeps what its first attempt found, in its execution plan.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from flyweight.training.optimizers.muon import Methods
from flyweight.training.optimizers.newton_schulz import Form, Method, orthogonalize

Shape = tuple[int, ...]

# A stack in float32: on CPUs about what stays in the caches between its passes, elsewhere what its
# temporaries may take of the device's memory.
_STACK_BYTES = {"cpu": 4 << 20}
_STACK_BYTES_ELSEWHERE = 256 << 20

_WORTH_A_TRIAL = 64**3
"""Below S x S x max(R, C) of this the rule is as good."""

_GAIN = 0.9
"""What is not faster by this much is not worth leaving the simpler way."""
_ROUNDS = 5
_SECONDS = 1.0
"""For one race: fewer rounds of large matrices, at least one."""
_WAYS: tuple[tuple[Form, bool], ...] = (
    ("fused", False),
    ("separate", False),
    ("separate", True),
    ("gram", False),
    ("gram", True),
)
"""Forms, each with all of its symmetric products or half of them; the simplest first."""


def most_stacked_bytes(device_type: str) -> int:
    """Bytes of a stack of several matrices at most, in float32; a single matrix may be larger."""
    return _STACK_BYTES.get(device_type, _STACK_BYTES_ELSEWHERE)


def usual_method(shape: Shape, count: int, device: torch.device) -> Method:
    """What was fastest wherever it was measured: stacked, and steps on X X^T where the matrix is long."""
    return Method(_largest_stack(shape, count, device), "gram" if max(shape) >= 2 * min(shape) else "fused")


def measured_methods(
    shapes: Mapping[Shape, int], steps: int, dtype: torch.dtype, device: torch.device
) -> dict[Shape, Method]:
    """The fastest method found for each shape; of small ones the usual one.

    Args:
        shapes: (R, C) and how many matrices of it there are.
        steps: Newton-Schulz iterations.
        dtype: what they compute in.
        device: where.
    """
    return {
        shape: _fastest(shape, count, steps, dtype, device)
        if min(shape) ** 2 * max(shape) >= _WORTH_A_TRIAL
        else usual_method(shape, count, device)
        for shape, count in shapes.items()
    }


def _largest_stack(shape: Shape, count: int, device: torch.device) -> int:
    limit = most_stacked_bytes(device.type)
    most = max(1, limit // (4 * shape[0] * shape[1]))
    return -(-count // -(-count // min(most, count)))  # equal stacks, as far as possible


def _fastest(shape: Shape, count: int, steps: int, dtype: torch.dtype, device: torch.device) -> Method:
    """The best of every way, stacked and not."""
    stack = _largest_stack(shape, count, device)
    generator = torch.Generator("cpu").manual_seed(0)
    matrices = torch.randn(stack, *shape, generator=generator).to(device)
    matrices = (matrices / matrices.norm(dim=(1, 2), keepdim=True)).to(dtype)
    methods = [Method(size, form, half) for form, half in _WAYS for size in sorted({1, stack})]
    return _race(methods, matrices, steps)


def _race(methods: list[Method], matrices: Tensor, steps: int) -> Method:
    """The fastest by its best round, or the first where no other is clearly faster.

    They run in turns, so that all meet the same noise. The first round warms up, and counts only where there
    is no time for a second one.
    """
    best = dict.fromkeys(methods, float("inf"))
    begin = time.perf_counter()
    for round_ in range(_ROUNDS + 1):
        for method in methods:
            seconds = _seconds(method, matrices, steps)
            best[method] = min(best[method] if round_ != 1 else float("inf"), seconds)
        if time.perf_counter() - begin > _SECONDS:
            break
    fastest = min(methods, key=lambda method: best[method])
    return fastest if best[fastest] < _GAIN * best[methods[0]] else methods[0]


def _seconds(method: Method, matrices: Tensor, steps: int) -> float:
    parts = [matrices] if method.stack > 1 else list(matrices)
    # A neighbour on the same core lengthens the wall's time and not the process's own.
    alone = matrices.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    _wait(matrices.device)
    begin = clock()
    for part in parts:
        orthogonalize(part, steps, method)
    _wait(matrices.device)
    return clock() - begin


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def methods_to_plain(methods: Methods) -> dict[str, dict[str, Any]]:
    """As JSON holds them: `192x672` and the method's fields."""
    return {f"{rows}x{columns}": asdict(method) for (rows, columns), method in methods.items()}


def methods_from_plain(plain: Mapping[str, Mapping[str, Any]]) -> dict[Shape, Method]:
    """What `methods_to_plain` returned, read back."""
    methods = {}
    for name, fields in plain.items():
        rows, columns = name.split("x")
        methods[int(rows), int(columns)] = Method(**fields)
    return methods
