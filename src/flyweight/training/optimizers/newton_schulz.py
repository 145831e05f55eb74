"""Orthogonalisation by Newton-Schulz iterations, in the several ways that compute the same thing.

A step maps X to a X + b (X X^T) X + c (X X^T)^2 X: every singular value s becomes a s + b s^3 + c s^5. The
published coefficients (Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks",
2024) make the slope at zero steep and let the values end anywhere between about 0.7 and 1.2 instead of at 1.

Shapes: N (matrices in a stack), R (rows), C (columns), S = min(R, C).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

A, B, C = 3.4445, -4.7750, 2.0315
"""The coefficients of X, of (X X^T) X and of (X X^T)^2 X."""

Form = Literal["fused", "separate", "gram"]


@dataclass(frozen=True)
class Method:
    """In which of the equivalent ways matrices of one shape are orthogonalised; the last bits depend on it."""

    stack: int = 1
    """Matrices in one batched product; 1: one by one."""
    form: Form = "fused"
    """`fused`: a product adds up as it goes. `separate`: products and sums apart. `gram`: the same, with up to
    three steps taken on X X^T alone."""
    half: bool = False
    """Whether products that are symmetric are computed on and below the diagonal only, and mirrored."""

    def __post_init__(self) -> None:
        assert self.stack >= 1
        assert not (self.half and self.form == "fused"), "a fused sum has no half product"


def orthogonalize(matrices: Tensor, steps: int, method: Method) -> Tensor:
    """Newton-Schulz iterations on matrices (R, C) or (N, R, C), in their own dtype.

    Args:
        matrices: of a Frobenius norm of at most about 1.
        steps: iterations.
        method: how; its `stack` is the caller's affair.
    """
    if method.form == "fused":
        return _fused(matrices, steps)
    return _separate(matrices, steps, _STEPS_ON_GRAM if method.form == "gram" else 1, method.half)


def _fused(x: Tensor, steps: int) -> Tensor:
    add_product = torch.addmm if x.ndim == 2 else torch.baddbmm
    tall = x.shape[-2] > x.shape[-1]
    for _ in range(steps):
        gram = x.mT @ x if tall else x @ x.mT
        p = add_product(gram, gram, gram, beta=B, alpha=C)
        x = add_product(x, x, p, beta=A) if tall else add_product(x, p, x, beta=A)
    return x


_STEPS_ON_GRAM = 3
"""Steps between two looks at X itself. What is small in X is lost in X X^T, and a step multiplies it by a^2:
after three the result is still as close to the exact one as that of single steps is, after five it is not."""


def _separate(x: Tensor, steps: int, at_once: int, half: bool) -> Tensor:
    """X after k steps is Q X, with Q a polynomial in the first X X^T alone.

    So `at_once` steps need two R x C x S products, and between them S x S x S ones, which is less work where
    the matrix is far from square. Polynomials in one matrix commute: all of these are symmetric.

    In exact arithmetic, that is. In bfloat16 each polynomial undoes what rounding did in the step before, so X must
    meet them in their order: P3 P2 P1 X, and X P1 P2 P3 where it is tall, which is X Q^T. From X Q came singular values
    of 2 to 3 on gradients of a real model, and of 10^5 where one singular value is nearly all.
    """
    tall = x.shape[-2] > x.shape[-1]
    for begin in range(0, steps, at_once):
        count = min(at_once, steps - begin)
        gram = symmetric_product(x.mT, x, half) if tall else symmetric_product(x, x.mT, half)
        q: Tensor | None = None
        for step in range(count):
            p = _polynomial(gram, symmetric_product(gram, gram, half))
            q = p if q is None else symmetric_product(p, q, half)
            if step < count - 1:
                gram = symmetric_product(symmetric_product(gram, p, half), p, half)
        assert q is not None
        x = x @ q.mT if tall else q @ x
    return x


def _polynomial(gram: Tensor, square: Tensor) -> Tensor:
    """a I + b G + c G^2. Summed in float32 and rounded once: with three roundings to bfloat16 the result is
    three times further from the exact one, since errors of the diagonal go the same way in every step."""
    p = square.float().mul_(C).add_(gram, alpha=B)
    p.diagonal(dim1=-2, dim2=-1).add_(A)
    return p.to(gram.dtype)


_LEAST_BLOCK = 96
"""Diagonal blocks are not cut below this: smaller products run too far below the device's peak."""


def symmetric_product(left: Tensor, right: Tensor, half: bool) -> Tensor:
    """`left` (..., S, K) times `right` (..., K, S), of which the caller knows that it is symmetric.

    With `half`, the blocks on and below the diagonal are computed and the others mirrored: 3/4 of the work
    with one cut, 5/8 with two, towards 1/2.
    """
    if not half:
        return left @ right
    out = left.new_empty(*left.shape[:-1], left.shape[-2])
    _fill_symmetric(left, right, out, 0, left.shape[-2])
    return out


def _fill_symmetric(left: Tensor, right: Tensor, out: Tensor, begin: int, end: int) -> None:
    if end - begin < 2 * _LEAST_BLOCK:
        rows = slice(begin, end)
        out[..., rows, rows] = left[..., rows, :] @ right[..., :, rows]
        return
    middle = (begin + end) // 2
    upper, lower = slice(begin, middle), slice(middle, end)
    _fill_symmetric(left, right, out, begin, middle)
    _fill_symmetric(left, right, out, middle, end)
    block = left[..., lower, :] @ right[..., :, upper]
    out[..., lower, upper] = block
    out[..., upper, lower] = block.mT
