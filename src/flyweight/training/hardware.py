"""The device that a run trains on: what it is called, the most it computes, and its host's memory."""

from __future__ import annotations

import ctypes
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


def keep_freed_memory(keep: bool = True) -> bool:
    """Have malloc give out again what this process freed, and not return it to the system first; glibc only.

    Each step allocates what the last one freed. By itself glibc maps every tensor above 32 MiB anew, and the system
    then clears it page by page as it is first written: a tenth of the time of a step on a CPU (docs/log.md,
    2026-11-22). The price is that memory of the largest step stays with the process until it ends.

    Args:
        keep: False for what glibc does by itself after some steps.

    Returns:
        Whether it could be set.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold, most_mapped = -1, -3, -4  # M_* of malloc.h
    if keep:
        wanted = {most_mapped: 0, trim_threshold: 2**31 - 1}
    else:
        wanted = {most_mapped: 65536, mmap_threshold: 2**25, trim_threshold: 2**26}
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(key, value) == 1 for key, value in wanted.items()])
