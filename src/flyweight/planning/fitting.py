"""How large a micro-batch fits into a device that is not at hand."""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.curriculum import Schedule
from flyweight.recipe import Recipe
from flyweight.training.activations import Carried
from flyweight.training.memory import largest_micro_batch, step_memory
from flyweight.training.objective import chunk_logits
from flyweight.training.optimizers.muon_methods import most_stacked_bytes
from flyweight.training.room import USABLE, does_not_fit


@dataclass(frozen=True)
class Fit:
    """The largest micro-batch of each sequence length that fits into a device."""

    device_memory: int
    """Bytes of the device, of which a share of `usable` is planned with."""
    usable: float
    micro_batches: dict[int, int]
    """By sequence length: sequences in one forward pass, at most a whole step; 0 where none fits."""
    problem: str | None
    """What to do where not even one sequence fits."""


def planned_way(recipe: Recipe) -> Carried:
    """How a recipe will probably be carried out: on a GPU in bfloat16 where it leaves that to the machine."""
    execution = recipe.execution
    device = execution.device.partition(":")[0]
    device_type = "cuda" if device == "auto" else device
    return Carried(
        precision="float32" if execution.precision == "float32" else "bfloat16",
        device_type=device_type,
        # Documents are kept apart without a mask on GPUs.
        attention="flex" if recipe.training.document_masking and device_type == "cuda" else "sdpa",
        compiled=execution.compile == "on",
        checkpointed=execution.activation_checkpointing,
        chunk_logits=chunk_logits(device_type),
        muon_stack_bytes=most_stacked_bytes(device_type),
    )


def fit_into(recipe: Recipe, schedule: Schedule, carried: Carried, device_memory: int) -> Fit:
    """What of `recipe` fits into `device_memory` bytes."""
    found: dict[int, int] = {}
    problem = None
    for segment in schedule.segments:
        length = segment.sequence_length
        room = USABLE * device_memory
        fits = largest_micro_batch(recipe, carried, segment, room, segment.batch_size)
        if fits == 0 and problem is None:
            needed = step_memory(recipe, carried, 1, length, segment.batch_size).total
            problem = does_not_fit(needed, length, int(room), carried)
        found[length] = min(fits, found.get(length, fits))
    return Fit(device_memory, USABLE, found, problem)
