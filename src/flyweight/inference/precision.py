"""In which precision matrix products are computed."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import Literal, cast

import torch
from torch.nn import functional as F

Precision = Literal["float32", "bfloat16"]

_ROUNDS = 5
_WORTHWHILE = 1.1
"""bfloat16 costs accuracy, so it has to be faster than float32 by more than timing noise."""


def choose_precision(wanted: Literal["auto", "float32", "bfloat16"], device: torch.device) -> Precision:
    """`wanted`, or with `auto` what `device` computes fastest.

    CUDA: bfloat16 where the hardware has it. MPS: float32. CPU: measured, because bfloat16 is about
    twice as fast as float32 with hardware support and many times slower without.
    """
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return "bfloat16" if fast else "float32"
    if device.type == "cpu":
        ratio = cpu_bfloat16_speedup(torch.get_num_threads())
        return "bfloat16" if ratio > _WORTHWHILE else "float32"
    return "float32"


@functools.cache
def cpu_bfloat16_speedup(threads: int) -> float:
    """How many times faster this CPU computes a linear layer under bfloat16 autocast than in float32.

    Takes about 50 ms, or a few times that where bfloat16 is emulated. The two are timed in turns and
    the best of each counts, so that a busy machine slows both alike. `threads`, the number that torch
    uses now, is the key under which the answer is kept.
    """
    inputs, weight = torch.randn(512, 512), torch.randn(512, 512)
    best: dict[Precision, float] = {"float32": float("inf"), "bfloat16": float("inf")}
    with torch.no_grad():
        for _ in range(_ROUNDS):
            for precision in best:
                with autocast(torch.device("cpu"), cast(Precision, precision)):
                    start = time.perf_counter()
                    F.linear(inputs, weight)
                    best[precision] = min(best[precision], time.perf_counter() - start)
    return best["float32"] / best["bfloat16"]


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """A context in which matrix products run in `precision`; weights stay as they are."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
