"""FP8's two formats, casts into them by a scale, and the matrix product of what was cast.

E4M3 (largest 448) has the finer steps and holds weights and activations, E5M2 (largest 57,344) the wider
range and holds gradients: "FP8 Formats for Deep Learning" (arXiv 2209.05433, section 3), and Transformer
Engine's `hybrid` format. A tensor is cast as x * scale and comes back as x8 / scale, one scale a tensor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

E4M3 = torch.float8_e4m3fn
E5M2 = torch.float8_e5m2
LARGEST = {E4M3: 448.0, E5M2: 57344.0}
"""The largest finite value of each format."""
MULTIPLE = 16
"""Every dimension of a product is a multiple of this: cuBLASLt moves FP8 in pieces of 16 bytes."""
LARGEST_SCALE = 2.0**100
"""Keeps the scale of a tensor of nearly nothing, and its reciprocal, away from the ends of float32."""


def amax(x: Tensor) -> Tensor:
    """The largest absolute value of `x`, a float32 scalar; NaN where `x` holds one."""
    low, high = torch.aminmax(x)  # one pass over x, which x.abs().amax() is not
    return torch.maximum(high, -low).float()


def scale_from_amax(amax: Tensor, largest: float | Tensor, otherwise: Tensor | float = 1.0) -> Tensor:
    """largest / amax, elementwise, and `otherwise` where amax is 0 or not finite.

    Transformer Engine's rule with a margin of 0: scale = FP8_MAX / amax (its documentation, "Delayed Scaling").
    """
    usable = (amax > 0) & amax.isfinite()
    scale = (largest / torch.where(usable, amax, 1.0)).clamp(max=LARGEST_SCALE)
    return torch.where(usable, scale, otherwise)


def cast(x: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """x * scale in `dtype`; what is too large becomes the largest value, with its sign, and NaN stays NaN.

    The clamp is what makes it so: a bare cast to E5M2 gives infinity, and one to E4M3 NaN or 448 by device.
    """
    largest = LARGEST[dtype]
    return (x.float() * scale).clamp(-largest, largest).to(dtype)


def product(
    a: Tensor, b: Tensor, inverse_a: Tensor, inverse_b: Tensor, out_dtype: torch.dtype, fast: bool = False
) -> Tensor:
    """(inverse_a * a) (inverse_b * b)^T, (M, N) in `out_dtype`, of row-major FP8 a (M, K) and b (N, K).

    The one layout that every FP8 GPU takes: the sum runs along the contiguous dimension of both.

    Args:
        a: left operand; one of the two may be E5M2.
        b: right operand, transposed in the product.
        inverse_a: reciprocal of the scale that `a` was cast by, float32 scalar.
        inverse_b: the same of `b`.
        out_dtype: of the result; sums are float32 on CPU, and nearly so on GPUs.
        fast: let a Hopper GPU keep fewer bits of its partial sums, which is for forward passes only.
    """
    if a.device.type == "cpu":
        # Given one scale a tensor, torch hands two E4M3 operands to a plain loop of oneDNN: 6 million operations
        # a second were measured where one scale a row, the same numbers, gives billions.
        inverse_a = inverse_a.expand(a.shape[0], 1).contiguous()
        inverse_b = inverse_b.expand(1, b.shape[0]).contiguous()
    # On CPUs autocast would reach into it and round the scaled operands to bfloat16.
    with torch.autocast(a.device.type, enabled=False):
        return torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage]
            a, b.t(), scale_a=inverse_a, scale_b=inverse_b, out_dtype=out_dtype, use_fast_accum=fast
        )


def with_whole_rows(x: Tensor) -> Tensor:
    """`x` (M, D) with zero rows appended until M is a multiple of 16; they change no product and no amax."""
    missing = -x.shape[0] % MULTIPLE
    return F.pad(x, (0, 0, 0, missing)) if missing else x


def why_not_float8(device: torch.device) -> str | None:
    """Why FP8 products cannot be computed on `device`; None where they can. A probe that really runs."""
    one = torch.ones((), device=device)
    try:
        values = torch.ones(MULTIPLE, MULTIPLE, device=device)
        for dtype, out_dtype in ((E4M3, torch.bfloat16), (E5M2, torch.bfloat16), (E5M2, torch.float32)):
            found = product(cast(values, one, dtype), cast(values, one, E4M3), one, one, out_dtype)
            if not bool((found == MULTIPLE).all()):
                return f"torch {torch.__version__} computes FP8 products wrongly on this {device.type} device"
    except (RuntimeError, TypeError, NotImplementedError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return (
            f"torch {torch.__version__} computes no FP8 products on this {device.type} device ({reason[0]})"
        )
    return None
