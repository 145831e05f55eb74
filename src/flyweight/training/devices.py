"""What devices can compute at most: dense bfloat16 products with float32 sums, as their vendor states it.

Datasheets often print twice the number, for matrices of which half is zero; GeForce boards sum float16 products in
float16 twice as fast as in float32. Neither is what training does, so neither is here.

Each figure was compared on 2026-11-22 with public tables that quote the vendor's; of GeForce boards it is twice what
their CUDA cores do in float32, which those tables say of the 3090, 4080 and 4090. A board whose figure could not be
compared is not here.

Not here either: devices without bfloat16 units (V100, T4), on which we compute in float32; boards of which the vendor
gives no such number (A10G); parts of a GPU (MIG); laptops' GPUs, whose clocks depend on the laptop. For all of these,
and for CPUs, a matrix product is measured instead.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Peak(NamedTuple):
    """A device's peak, and who says so."""

    flops: float
    """Floating-point operations a second."""
    source: str


_H100 = "NVIDIA H100 Tensor Core GPU datasheet (half of the figure with sparsity)"
_H200 = "NVIDIA H200 Tensor Core GPU datasheet (half of the figure with sparsity)"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet"
_GA102 = "NVIDIA Ampere GA102 architecture whitepaper"
_ADA = "NVIDIA Ada GPU architecture whitepaper"
_BLACKWELL = "NVIDIA RTX Blackwell GPU architecture whitepaper"

_TERA = 1e12
_TABLE: tuple[tuple[str, float, str], ...] = (
    (r"NVIDIA H200", 989.4, _H200),
    (r"NVIDIA H100 (80GB|64GB|96GB) HBM[23]e?", 989.4, _H100),  # SXM
    (r"NVIDIA H100 PCIe", 756.5, _H100),
    (r"(NVIDIA )?A100-(SXM4|PCIE|PG509)-.*GB|NVIDIA A100 80GB PCIe", 312.0, _A100),
    (r"NVIDIA A10", 125.0, "NVIDIA A10 Tensor Core GPU datasheet"),
    (r"NVIDIA A40", 149.7, "NVIDIA A40 datasheet"),
    (r"NVIDIA L4", 121.0, "NVIDIA L4 Tensor Core GPU datasheet (half of the figure with sparsity)"),
    (r"NVIDIA L40S", 362.05, "NVIDIA L40S datasheet"),
    (r"NVIDIA GeForce RTX 3080", 59.5, _GA102),
    # The whitepaper came before this board; its tensor units sum in float32 at twice the rate of its CUDA cores:
    # 10,240 cores at 1.665 GHz give 34.1.
    (r"NVIDIA GeForce RTX 3080 Ti", 68.2, f"{_GA102}'s rates, at the board's cores and boost clock"),
    (r"NVIDIA GeForce RTX 3090", 71.0, _GA102),
    (r"NVIDIA GeForce RTX 3090 Ti", 80.0, _ADA),
    (r"NVIDIA GeForce RTX 4080", 97.5, _ADA),
    (r"NVIDIA GeForce RTX 4090", 165.2, _ADA),
    (r"NVIDIA GeForce RTX 5070", 61.7, _BLACKWELL),
    (r"NVIDIA GeForce RTX 5070 Ti", 87.9, _BLACKWELL),
    (r"NVIDIA GeForce RTX 5080", 112.6, _BLACKWELL),
    (r"NVIDIA GeForce RTX 5090", 209.5, _BLACKWELL),
)


def bfloat16_peak(name: str) -> Peak | None:
    """The peak of the device that torch calls `name`; None where it is not known."""
    for pattern, tera, source in _TABLE:
        if re.fullmatch(pattern, name):
            return Peak(tera * _TERA, source)
    return None
