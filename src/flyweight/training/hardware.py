"""The device that a run trains on: what it is called, and the most it computes."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch

from flyweight.inference import Precision
from flyweight.training.devices import bfloat16_peak


def known_or_measured_peak(device: torch.device, precision: Precision) -> tuple[float, str]:
    """Operations a second, and where that is from: the vendor's figure where we know it, else a product."""
    if device.type == "cuda" and precision == "bfloat16":
        known = bfloat16_peak(torch.cuda.get_device_name(device))
        if known is not None:
            return known
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    return measure_peak(device, dtype), "a matrix product measured here"


def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The best rate of a few large products, in floating-point operations a second."""
    size = 8192 if device.type == "cuda" else 1536
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(6):
        _synchronise(device)
        begin = time.perf_counter()
        torch.mm(a, a)
        _synchronise(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - begin))
    return best


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def hardware_name(device: torch.device) -> str:
    """What a table calls this device: the GPU's own name, or the processor and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    threads = torch.get_num_threads()
    name = f"{cpu}, {threads} thread" + ("s" if threads > 1 else "")
    return f"Apple GPU ({name})" if device.type == "mps" else name
