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
import torch.distributed as dist
from torch import Tensor

from flyweight.training.optimizers.cut_matrices import Exchange, held_rows
from flyweight.training.optimizers.newton_schulz import Method, orthogonalize
from flyweight.training.parallel.tensors import is_cut, local

EPS = 1e-7
"""Added to the norm."""

RMS = 0.2
"""Root mean square of an update at rate 1, about that of AdamW's (arXiv 2502.16982, section 2.2)."""

Methods = Mapping[tuple[int, ...], Method]
"""How matrices of each shape (R, C) are orthogonalised."""


class _Matrix(NamedTuple):
    """A whole parameter, or the rows of one that are orthogonalised on their own: views into it.

    Under FSDP they are those of its rows that lie on this rank.
    """

    weight: Tensor
    gradient: Tensor
    momentum: Tensor
    rows: int
    """Of the whole matrix."""
    held: tuple[int, ...]
    """How many of them each rank holds; nothing where this process holds all."""


class Muon(torch.optim.Optimizer):
    """Muon over two-dimensional parameters; state has the shape of the parameter, under `momentum_sum`.

    Parameters that FSDP has cut into rows keep their state in rows; each matrix is put together on one rank and
    orthogonalised there.

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
                        by_shape.setdefault((matrix.rows, matrix.weight.shape[1]), []).append(matrix)
            for shape, matrices in by_shape.items():
                method = self.methods.get(shape, Method())
                at_once = method.stack * max(1, len(matrices[0].held))  # as many on each rank
                for begin in range(0, len(matrices), at_once):
                    part = matrices[begin : begin + at_once]
                    self._update(part, method, group["lr"], group["weight_decay"])

    def _matrices(self, parameter: Tensor) -> Iterable[_Matrix]:
        state = self.state[parameter]
        if "momentum_sum" not in state:
            state["momentum_sum"] = torch.zeros_like(parameter)
        tensors = [local(tensor) for tensor in (parameter, parameter.grad, state["momentum_sum"])]  # type: ignore[arg-type]
        parts = self.rows.get(parameter, (parameter.shape[0],))
        held: list[tuple[int, ...]] = [()] * len(parts)
        here = list(parts)
        if is_cut(parameter):
            self._group = parameter.device_mesh.get_group()  # type: ignore[attr-defined]
            rank, world_size = dist.get_rank(self._group), dist.get_world_size(self._group)
            held = held_rows(parameter.shape[0], parts, world_size)
            here = [rows[rank] for rows in held]
        return map(_Matrix, *(tensor.split(here) for tensor in tensors), parts, held)

    def _update(self, matrices: list[_Matrix], method: Method, rate: float, decay: float) -> None:
        """One update of matrices of one shape that are stacked, so that one pass over memory serves them all."""
        shape = (matrices[0].rows, matrices[0].weight.shape[1])
        if matrices[0].held:
            updates = self._of_cut(matrices, method)
        else:
            stacked = matrices[0].weight.new_empty(len(matrices), *shape)
            for slot, matrix in zip(stacked, matrices, strict=True):
                self._nesterov(matrix, slot)
            updates = list(self._orthogonal(stacked, method))
        weights = [matrix.weight for matrix in matrices]
        if decay:
            torch._foreach_mul_(weights, 1 - rate * decay)  # pyright: ignore[reportPrivateImportUsage]
        scale = RMS * math.sqrt(max(shape))
        torch._foreach_add_(weights, updates, alpha=-rate * scale)  # pyright: ignore[reportPrivateImportUsage]

    def _nesterov(self, matrix: _Matrix, out: Tensor) -> Tensor:
        """Move the momentum on; U of it, before it is normalised."""
        _, gradient, momentum, *_ = matrix
        torch.add(gradient, momentum, alpha=self.momentum, out=momentum)
        return torch.add(gradient, momentum, alpha=self.momentum, out=out)

    def _orthogonal(self, stacked: Tensor, method: Method) -> Tensor:
        """O of each U (N, R, C), which is overwritten."""
        stacked.div_(torch.linalg.vector_norm(stacked, dim=(1, 2), keepdim=True).add_(EPS))
        # One matrix goes through plain products: batched ones of one have kernels of their own.
        inputs = (stacked if len(stacked) > 1 else stacked[0]).to(self.dtype)
        return orthogonalize(inputs, self.steps, method).view_as(stacked)

    def _of_cut(self, matrices: list[_Matrix], method: Method) -> list[Tensor]:
        """This rank's rows of O, of matrices of which each is put together and orthogonalised on one rank."""
        exchange = Exchange([matrix.held for matrix in matrices], matrices[0].weight.shape[1], self._group)
        whole = exchange.to_owners(
            [self._nesterov(matrix, torch.empty_like(matrix.weight)) for matrix in matrices]
        )
        return exchange.from_owners(self._orthogonal(whole, method) if len(whole) else whole.to(self.dtype))
