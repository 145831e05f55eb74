"""The objective spread over ranks: the same weights on each (DDP), or each with some rows of every one (FSDP2).

Both average gradients over ranks. A step here takes the mean over all its targets, so each rank scales its sums
by the number of ranks over the targets of the whole step.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from flyweight.base import UserError
from flyweight.curriculum import Batch
from flyweight.model import Decoder
from flyweight.recipe import Recipe
from flyweight.training.objective import Loss, Objective
from flyweight.training.parallel.choice import Parallel
from flyweight.training.parallel.ranks import Ranks


class MicroBatch(NamedTuple):
    """Sequences of one forward and backward pass."""

    rows: Batch
    counts: bool
    """Whether they count: a rank with fewer sequences than another goes through its last passes for company."""
    last: bool
    """Whether gradients meet those of the other ranks in this pass."""


def micro_batches(batch: Batch, size: int, ranks: Ranks, sequences: int) -> Iterator[MicroBatch]:
    """The passes of this rank's part of a step of `sequences`; every rank makes equally many."""
    parts = batch.split(size)
    passes = len(parts) if ranks.alone else -(-ranks.share(sequences) // size)
    for number in range(passes):
        counts = number < len(parts)
        yield MicroBatch(parts[number if counts else 0], counts, number == passes - 1)


class SpreadObjective:
    """An objective as this process runs it.

    Args:
        objective: on its device, with FP8 layers and compiled blocks where it has them; its parameters are
            replaced under FSDP, so that optimizers are made afterwards.
        how: `none` for a run of one process.
        ranks: all processes of the run.
    """

    def __init__(self, objective: Objective, how: Parallel, ranks: Ranks):
        self.how = how
        self._module: Any = objective
        device = next(objective.parameters()).device
        if how == "ddp":
            from torch.nn.parallel import DistributedDataParallel

            devices = [device] if device.type == "cuda" else None
            # The amaxes of FP8 layers are each rank's own. From torch 2.13 on the word for it is another one.
            known = inspect.signature(DistributedDataParallel).parameters
            word = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
            options: dict[str, Any] = {"gradient_as_bucket_view": True, word: False}
            self._module = DistributedDataParallel(objective, device_ids=devices, **options)
        elif how == "fsdp":
            from torch.distributed.fsdp import fully_shard

            mesh = ranks.mesh(device.type)
            for block in objective.decoder.layers:
                fully_shard(block, mesh=mesh)
            fully_shard(objective, mesh=mesh)

    def __call__(self, *inputs: Any) -> Loss:
        """The summed loss of this rank's sequences; see `Objective`."""
        return self._module(*inputs)

    def one_pass(self, last: bool) -> AbstractContextManager[object]:
        """A context for one forward and backward pass; gradients meet those of the other ranks in the last one."""
        if self.how == "ddp" and not last:
            return self._module.no_sync()
        if self.how == "fsdp":
            self._module.set_requires_gradient_sync(last)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Within, the decoder runs by itself, on all ranks at once: what lies outside of blocks is whole."""
        if self.how != "fsdp":
            yield
            return
        self._module.unshard()
        try:
            yield
        finally:
            self._module.reshard()


def recompute_blocks(decoder: Decoder) -> None:
    """Keep of each block in a forward pass only its input, and compute the rest again in the backward pass.

    Activations of one block and the residual stream between blocks are then all that a pass needs, for a third
    more arithmetic (arXiv 1604.06174). It goes inside FSDP's hooks, which bring the weights back once for both,
    and around a compiled block.
    """
    for block in decoder.layers:
        block.forward = _recomputed(block.forward)  # type: ignore[method-assign]


def _recomputed(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*inputs: Any) -> Tensor:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        # Nothing in a block is drawn at random.
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)  # type: ignore[return-value]

    return run


def check_batches(recipe: Recipe, ranks: Ranks) -> None:
    """See that every rank has a sequence of every step.

    Raises:
        UserError: the smallest batch of the recipe has fewer sequences than there are ranks.
    """
    smallest = int(min(knot.value for knot in recipe.training.batch_size.knots))
    if smallest < ranks.world_size:
        raise UserError(
            f"training.batch_size is {smallest:,} sequences at its smallest, fewer than the {ranks.world_size} "
            f"processes of this run; start at most {smallest:,} processes, or raise it."
        )
