"""Many devices: the processes of a run, the model spread over them, and tensors that are cut into rows."""

from flyweight.training.parallel.choice import Parallel, choose_parallel
from flyweight.training.parallel.ranks import ALONE, Ranks, end_process, is_loss, join_ranks, leave_ranks
from flyweight.training.parallel.spread import (
    MicroBatch,
    SpreadObjective,
    check_batches,
    micro_batches,
    recompute_blocks,
)

__all__ = [
    "ALONE",
    "MicroBatch",
    "Parallel",
    "Ranks",
    "SpreadObjective",
    "check_batches",
    "choose_parallel",
    "end_process",
    "is_loss",
    "join_ranks",
    "leave_ranks",
    "micro_batches",
    "recompute_blocks",
]
