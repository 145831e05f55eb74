"""Muon: momentum whose matrices are orthogonalised before they are applied.

For a matrix W (R, C) with gradient G, momentum m, learning rate r and weight decay d:

    M <- m M + G                     the buffer, a sum and not a mean
    U  = G + m M                     Nesterov
    O  = NewtonSchulz(U / (||U|| + eps))
    W <- W (1 - r d) - r 0.2 sqrt(max(R, C)) O

as in Moonlight (arXiv 2502.16982, equations 1 to 4) and in the training code of Xmodel-2.5. The factor of O
gives the update about the size of AdamW's, so that learning rates carry over; decay takes the plain rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flyweight.training.optimizers.newton_schulz import Method, orthogonalize

EPS = 1e-7
"""Added to the norm."""

RMS = 0.2
"""Root mean square of an update at rate 1, about that of AdamW's (arXiv 2502.16982, section 2.2)."""

Methods = Mapping[tuple[int, ...], Method]
"""How matrices of each shape (R, C) are orthogonalised."""


class _Matrix(NamedTuple):
    """A whole parameter, or the rows of one that are orthogonalised on their own: views into it."""

    weight: Tensor
    gradient: Tensor
    momentum: Tensor


class Muon(torch.optim.Optimizer):
    """Muon over two-dimensional parameters; state has the shape of the parameter, under `momentum_sum`.

    Args:
        params: parameters, or groups with their own `lr` and `weight_decay`.
        momentum: m above.
        steps: Newton-Schulz iterations.
        dtype: what Newton-Schulz computes in.
        methods: how, by shape; shapes not named are done one by one, fused.
        rows: of parameters that are orthogonalised in parts, the rows of each part.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        momentum: float = 0.95,
        steps: int = 5,
        dtype: torch.dtype = torch.float32,
        methods: Methods | None = None,
        rows: Mapping[Tensor, Sequence[int]] | None = None,
    ):
        super().__init__(params, {"lr": 0.0, "weight_decay": 0.0})
        self.momentum, self.steps, self.dtype = momentum, steps, dtype
        self.methods = dict(methods or {})
        self.rows = dict(rows or {})
        for group in self.param_groups:
            for parameter in group["params"]:
                assert parameter.ndim == 2, f"Muon takes matrices, not {tuple(parameter.shape)}"
                assert parameter not in self.rows or sum(self.rows[parameter]) == parameter.shape[0]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None, "the loop computes the gradients"
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[_Matrix]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    for matrix in self._matrices(parameter):
                        by_shape.setdefault(tuple(matrix.weight.shape), []).append(matrix)
            for shape, matrices in by_shape.items():
                method = self.methods.get(shape, Method())
                for begin in range(0, len(matrices), method.stack):
                    part = matrices[begin : begin + method.stack]
                    self._update(part, method, group["lr"], group["weight_decay"])

    def _matrices(self, parameter: Tensor) -> Iterable[_Matrix]:
        state = self.state[parameter]
        if "momentum_sum" not in state:
            state["momentum_sum"] = torch.zeros_like(parameter)
        whole = _Matrix(parameter, parameter.grad, state["momentum_sum"])  # type: ignore[arg-type]
        if parameter not in self.rows:
            return [whole]
        return map(_Matrix._make, zip(*(tensor.split(self.rows[parameter]) for tensor in whole), strict=True))

    def _update(self, matrices: list[_Matrix], method: Method, rate: float, decay: float) -> None:
        """One update of matrices of one shape that are stacked, so that one pass over memory serves them all."""
        stacked = matrices[0].weight.new_empty(len(matrices), *matrices[0].weight.shape)
        for slot, (_, gradient, momentum) in zip(stacked, matrices, strict=True):
            torch.add(gradient, momentum, alpha=self.momentum, out=momentum)
            torch.add(gradient, momentum, alpha=self.momentum, out=slot)
        stacked.div_(torch.linalg.vector_norm(stacked, dim=(1, 2), keepdim=True).add_(EPS))
        # One matrix goes through plain products: batched ones of one have kernels of their own.
        inputs = (stacked if len(matrices) > 1 else stacked[0]).to(self.dtype)
        updates = orthogonalize(inputs, self.steps, method)
        weights = [matrix.weight for matrix in matrices]
        if decay:
            torch._foreach_mul_(weights, 1 - rate * decay)  # pyright: ignore[reportPrivateImportUsage]
        scale = RMS * math.sqrt(max(stacked.shape[1:]))
        torch._foreach_add_(  # pyright: ignore[reportPrivateImportUsage]
            weights, updates.view_as(stacked).unbind(), alpha=-rate * scale
        )
