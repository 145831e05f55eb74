"""The training loss: cross-entropy with z-loss over chunks of positions.

The logits of a whole batch in float32 are the largest tensor of a small model's training: 8 x 512
positions of a 4,096-word vocabulary are 64 MB, of a 129,280-word one 2 GB. Here they exist a chunk
at a time, and the gradient is taken in the same pass, so that nothing is kept or computed again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flyweight.inference import Precision, autocast
from flyweight.model import Decoder
from flyweight.model.documents import Documents

CHUNK_LOGITS = 1 << 22
"""Logits that exist at once (float32: 16 MB)."""


class Loss(NamedTuple):
    """Sums over the scored targets; divide by the targets of the global batch."""

    total: Tensor
    """Cross-entropy plus z-loss; this one carries the gradient."""
    cross_entropy: Tensor
    """Negative log-likelihood in nats."""
    z: Tensor
    """Sum of squared log-partitions, without the coefficient."""


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
        scored: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        positions, vocabulary = hidden.shape[0], weight.shape[0]
        chunk = max(1, CHUNK_LOGITS // vocabulary)
        readout = weight.to(compute_dtype)
        inputs = hidden.to(compute_dtype)
        grad_hidden = torch.empty_like(inputs)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        cross_entropy = torch.zeros((), dtype=torch.float32, device=hidden.device)
        z = torch.zeros_like(cross_entropy)
        for begin in range(0, positions, chunk):
            part = slice(begin, begin + chunk)
            logits = (inputs[part] @ readout.T).float()
            if multiplier != 1.0:
                logits *= multiplier
            target = targets[part, None]
            of_target = logits.gather(1, target).squeeze(1)
            largest = logits.amax(dim=-1)
            exponentials = logits.sub_(largest[:, None]).exp_()
            partition = exponentials.sum(dim=-1)
            log_partition = partition.log() + largest
            losses, squares = log_partition - of_target, log_partition.square()
            counts = None if scored is None else scored[part].float()
            if counts is not None:
                losses, squares = losses * counts, squares * counts
            cross_entropy += losses.sum()
            z += squares.sum()
            # d/dlogits of (lse - logit_target + c lse^2) is softmax * (1 + 2 c lse) - onehot, and all of it
            # times the multiplier; one factor a row, since every pass over the logits costs as much as exp.
            factor = multiplier * (1 + 2 * z_coefficient * log_partition) / partition
            gradient = exponentials.mul_(factor[:, None])
            gradient.scatter_add_(1, target, torch.full_like(target, -multiplier, dtype=torch.float32))
            if counts is not None:
                gradient.mul_(counts[:, None])
            gradient = gradient.to(compute_dtype)
            grad_hidden[part] = gradient @ readout
            grad_weight += gradient.T @ inputs[part]
        ctx.save_for_backward(grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype))
        ctx.mark_non_differentiable(cross_entropy, z)
        return cross_entropy + z_coefficient * z, cross_entropy, z

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_hidden * grads[0], grad_weight * grads[0], None, None, None, None, None


def training_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    logits_multiplier: float = 1.0,
    z_coefficient: float = 0.0,
    compute_dtype: torch.dtype = torch.float32,
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
        scored: (B, T) bool, which targets count; all where left out.
    """
    total, cross_entropy, z = _ChunkedCrossEntropy.apply(  # type: ignore[misc]
        hidden.flatten(0, -2),
        weight,
        targets.flatten(),
        logits_multiplier,
        z_coefficient,
        compute_dtype,
        None if scored is None else scored.flatten(),
    )
    return Loss(total, cross_entropy, z)


class Objective(nn.Module):
    """A decoder with its loss: the one module that a training step runs forward and backward.

    Whatever lays a model out over several devices wraps this: every parameter, the readout included, is used
    within one forward pass.
    """

    def __init__(self, decoder: Decoder, precision: Precision) -> None:
        super().__init__()
        self.decoder = decoder
        self.precision: Precision = precision

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
            scored=None if documents is None else documents.scored,
        )
