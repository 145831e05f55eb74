"""The training loss: cross-entropy with z-loss over chunks of positions.

The logits of a whole batch in float32 are the largest tensor of a small model's training: 8 x 512
positions of a 4,096-word vocabulary are 64 MB, of a 129,280-word one 2 GB. Here they exist a chunk
at a time, and the gradient is taken in the same pass, so that nothing is kept or computed again.

torch's own `linear_cross_entropy` (2.13 on) does the same without a z-loss; at GPT-S-5M's shape on a CPU it took
1.8 times as long as the passes below and summed in bfloat16 (docs/log.md, 2026-11-22), so it is not used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flyweight.inference import Precision, autocast
from flyweight.model import Decoder
from flyweight.model.documents import Documents

CHUNK_LOGITS = 1 << 22
"""Logits that exist at once on a CPU (float32: 16 MB): what its caches hold part of."""

CHUNK_LOGITS_ON_GPU = 1 << 28
"""On other devices, whose products want thousands of rows (bfloat16: 512 MB, and as much for the gradient)."""


def chunk_logits(device_type: str) -> int:
    """How many logits exist at once on this kind of device."""
    return CHUNK_LOGITS if device_type == "cpu" else CHUNK_LOGITS_ON_GPU


class Loss(NamedTuple):
    """Sums over the scored targets; divide by the targets of the global batch."""

    total: Tensor
    """Cross-entropy plus z-loss; this one carries the gradient."""
    cross_entropy: Tensor
    """Negative log-likelihood in nats."""
    z: Tensor
    """Sum of squared log-partitions, without the coefficient."""


class _Chunk(NamedTuple):
    """What the loss of some positions comes to."""

    cross_entropy: Tensor
    z: Tensor
    gradient: Tensor
    """Of the total with respect to the products of hidden states and readout, (positions, V), in their dtype."""


def _chunk_in_passes(
    logits: Tensor, targets: Tensor, multiplier: float, z_coefficient: Tensor, scored: Tensor | None
) -> _Chunk:
    """The loss of `logits` (positions, V) before their multiplier, one pass over memory after another, in place."""
    dtype, target = logits.dtype, targets[:, None]
    logits = logits.float()
    if multiplier != 1.0:
        logits *= multiplier
    of_target = logits.gather(1, target).squeeze(1)
    largest = logits.amax(dim=-1)
    exponentials = logits.sub_(largest[:, None]).exp_()
    partition = exponentials.sum(dim=-1)
    log_partition = partition.log() + largest
    # d/dlogits of (lse - logit_target + c lse^2) is softmax * (1 + 2 c lse) - onehot, and all of it
    # times the multiplier; one factor a row, since every pass over the logits costs as much as exp.
    factor = multiplier * (1 + 2 * z_coefficient * log_partition) / partition
    gradient = exponentials.mul_(factor[:, None])
    gradient.scatter_add_(1, target, torch.full_like(target, -multiplier, dtype=torch.float32))
    losses, squares = log_partition - of_target, log_partition.square()
    if scored is not None:
        losses, squares = losses * scored, squares * scored
        gradient.mul_(scored[:, None])
    return _Chunk(losses.sum(), squares.sum(), gradient.to(dtype))


def _chunk_at_once(
    logits: Tensor, targets: Tensor, multiplier: float, z_coefficient: Tensor, scored: Tensor | None
) -> _Chunk:
    """The same without anything in place, as torch.compile fuses it: one pass for the sums, one for the gradient."""
    scaled = logits.float() * multiplier
    log_partition = torch.logsumexp(scaled, dim=-1)
    of_target = logits.gather(1, targets[:, None]).squeeze(1).float() * multiplier
    factor = multiplier * (1 + 2 * z_coefficient * log_partition)
    softmax = torch.exp(scaled - log_partition[:, None])
    is_target = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    gradient = softmax * factor[:, None] - torch.where(is_target, multiplier, 0.0)
    losses, squares = log_partition - of_target, log_partition.square()
    if scored is not None:
        losses, squares, gradient = losses * scored, squares * scored, gradient * scored[:, None]
    return _Chunk(losses.sum(), squares.sum(), gradient.to(logits.dtype))


@functools.cache
def _compiled_chunk() -> Callable[..., _Chunk]:
    return torch.compile(_chunk_at_once, dynamic=False)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        multiplier: float,
        z_coefficient: float,
        compute_dtype: torch.dtype,
        compiled: bool,
        scored: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        positions, vocabulary = hidden.shape[0], weight.shape[0]
        chunks = -(-positions * vocabulary // chunk_logits(hidden.device.type))
        size = -(-positions // chunks)
        loss_of = _compiled_chunk() if compiled else _chunk_in_passes
        readout = weight.to(compute_dtype)
        inputs = hidden.to(compute_dtype)
        grad_hidden = torch.empty_like(inputs)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        cross_entropy = torch.zeros((), dtype=torch.float32, device=hidden.device)
        z = torch.zeros_like(cross_entropy)
        coefficient = torch.full_like(cross_entropy, z_coefficient)  # a number would be compiled in
        for begin in range(0, positions, size):
            part = slice(begin, begin + size)
            counts = None if scored is None else scored[part].float()
            chunk = loss_of(inputs[part] @ readout.T, targets[part], multiplier, coefficient, counts)
            cross_entropy += chunk.cross_entropy
            z += chunk.z
            grad_hidden[part] = chunk.gradient @ readout
            _add_product(grad_weight, chunk.gradient.T, inputs[part])
        ctx.save_for_backward(grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype))
        ctx.mark_non_differentiable(cross_entropy, z)
        return cross_entropy + z_coefficient * z, cross_entropy, z

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], grad_weight * grads[0], None, None, None, None, None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add `left` @ `right` to the float32 `total`, without rounding the product first where the device can."""
    if left.dtype != torch.float32 and _returns_float32(left.device.type, left.dtype):
        total += torch.mm(left, right, out_dtype=torch.float32)  # pyright: ignore[reportCallIssue]
    else:
        total += left @ right


@functools.cache
def _returns_float32(device_type: str, dtype: torch.dtype) -> bool:
    """Whether products of `dtype` can be had in float32, as they are summed; cuBLAS can, CPUs cannot."""
    ones = torch.ones(16, 16, device=device_type, dtype=dtype)
    try:
        return bool((torch.mm(ones, ones, out_dtype=torch.float32) == 16).all())  # pyright: ignore[reportCallIssue]
    except (RuntimeError, TypeError, NotImplementedError):
        return False


def training_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    logits_multiplier: float = 1.0,
    z_coefficient: float = 0.0,
    compute_dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    scored: Tensor | None = None,
) -> Loss:
    """Cross-entropy of `targets` plus z_coefficient times the squared log-partition, summed over what is scored.

    The z-loss is PaLM's (arXiv 2204.02311, section 5): it keeps the softmax's normaliser near 1.

    Args:
        hidden: (B, T, D) after the final norm.
        weight: (V, D), the readout.
        targets: (B, T), int64.
        logits_multiplier: logits are hidden @ weight.T times this.
        z_coefficient: of the squared log-partition.
        compute_dtype: of the matrix products; the softmax is float32 always.
        compiled: let torch.compile fuse the passes over the logits.
        scored: (B, T) bool, which targets count; all where left out.
    """
    total, cross_entropy, z = _ChunkedCrossEntropy.apply(  # type: ignore[misc]
        hidden.flatten(0, -2),
        weight,
        targets.flatten(),
        logits_multiplier,
        z_coefficient,
        compute_dtype,
        compiled,
        None if scored is None else scored.flatten(),
    )
    return Loss(total, cross_entropy, z)


class Objective(nn.Module):
    """A decoder with its loss: the one module that a training step runs forward and backward.

    Whatever lays a model out over several devices wraps this: every parameter, the readout included, is used
    within one forward pass.
    """

    def __init__(self, decoder: Decoder, precision: Precision, compiled: bool = False) -> None:
        super().__init__()
        self.decoder = decoder
        self.precision: Precision = precision
        self.compiled = compiled

    def forward(self, tokens: Tensor, z_coefficient: float, documents: Documents | None = None) -> Loss:
        """The summed loss of sequences `tokens` (B, T+1): inputs are [:, :-1], targets [:, 1:].

        With documents, each is computed as if it stood alone, and targets across their borders are not scored.
        """
        with autocast(tokens.device, self.precision):
            hidden = self.decoder(tokens[:, :-1], documents=documents)
        return training_loss(
            hidden,
            self.decoder.readout_weight,
            tokens[:, 1:],
            logits_multiplier=self.decoder.multipliers.logits,
            z_coefficient=z_coefficient,
            compute_dtype=torch.bfloat16 if self.precision == "bfloat16" else torch.float32,
            compiled=self.compiled,
            scored=None if documents is None else documents.scored,
        )
