"""How a run is spread over its processes."""

from __future__ import annotations

from typing import Literal

import torch

from flyweight.model import parameter_counts
from flyweight.recipe import Recipe

Parallel = Literal["none", "ddp", "fsdp"]
"""One process; the same weights on each; some rows of every weight on each."""

REPLICATED_BYTES = 16
"""A parameter with its gradient and the two moments of AdamW, in float32."""

AVERAGE_BYTES = 4
"""A parameter in the moving average of the weights, where one is kept."""

REPLICATED_SHARE = 0.5
"""Of a device's memory that these may take; activations need the rest."""


def choose_parallel(recipe: Recipe, device: torch.device, world_size: int) -> tuple[Parallel, str | None]:
    """How to spread the run, and why, for people; no word about a run of one process.

    The rule of `auto`: DDP, which moves the least, as long as parameters, gradients and optimizer state take at
    most half of the memory of a GPU. On CPUs it is always DDP: processes of one machine share its memory anyway.
    """
    if world_size == 1:
        return "none", None
    wanted = recipe.execution.parallel
    if wanted != "auto":
        return wanted, f"{world_size} processes: {_WORDS[wanted]}, as the recipe says"
    if device.type != "cuda":
        return "ddp", f"{world_size} processes: {_WORDS['ddp']}"
    average = AVERAGE_BYTES if recipe.execution.ema_half_life else 0
    need = (REPLICATED_BYTES + average) * parameter_counts(recipe.model)["total"]
    room = torch.cuda.get_device_properties(device).total_memory
    chosen: Parallel = "ddp" if need <= REPLICATED_SHARE * room else "fsdp"
    return chosen, (
        f"{world_size} processes: {_WORDS[chosen]}; weights, gradients and optimizer state take {need / 2**30:.1f} GiB "
        f"of the {room / 2**30:.0f} GiB of a device"
    )


_WORDS = {
    "ddp": "each holds all weights (DDP)",
    "fsdp": "each holds some rows of every weight (FSDP2)",
}
