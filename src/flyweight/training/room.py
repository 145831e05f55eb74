"""How large a micro-batch may be: what fills the device, if that fits into its memory."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from flyweight.base import UserError
from flyweight.curriculum import Schedule
from flyweight.recipe import Recipe, format_bytes
from flyweight.training.activations import Carried
from flyweight.training.memory import largest_micro_batch, step_memory

FILLS = {"cpu": 4096, "mps": 8192, "cuda": 131_072}
"""Tokens in one forward pass that fill a device; more gain nothing. On CPUs 4, 8 and 16 x 512 tokens were within a
tenth of each other; small models on large GPUs gain up to about 128K."""

USABLE = 0.85
"""Of the free memory: the rest is for what allocators waste, for libraries, and for what the planner is off by."""

_CGROUP = Path("/sys/fs/cgroup")


def micro_tokens(recipe: Recipe, carried: Carried, free: int | None) -> int:
    """Tokens of a micro-batch: as many as fill the device, or as fit into it in every stretch of the run.

    Args:
        recipe: what is trained.
        carried: how it is carried out.
        free: bytes that are free on the device; None where that is not known, and everything is taken to fit.

    Raises:
        UserError: not even one sequence fits.
    """
    most = FILLS[carried.device_type]
    if free is None:
        return most
    for segment in Schedule.of(recipe.training).segments:
        length = segment.sequence_length
        filling = min(segment.batch_size, max(1, most // length))
        fits = largest_micro_batch(recipe, carried, segment, USABLE * free, filling)
        if fits == 0:
            needed = step_memory(recipe, carried, 1, length, segment.batch_size).total
            if needed > free:
                raise UserError(does_not_fit(needed, length, free, carried))
            fits = 1  # it may well fit, if only just
        if fits < filling:
            most = min(most, fits * length)
    return most


def does_not_fit(needed: int, length: int, free: int, carried: Carried) -> str:
    """What to tell who wants to train more than the device holds."""
    what = "of memory" if carried.device_type == "cpu" else "of the device's memory"
    helps = ["shorter training.sequence_length"]
    if not carried.checkpointed:
        helps.append("activation checkpointing, which computes activations again instead of keeping them")
    helps.append("sharding over several devices (FSDP)")
    return (
        f"training needs about {format_bytes(needed)} {what} even with one sequence of {length:,} tokens in a forward "
        f"pass, and {format_bytes(free)} are free; what helps: {', '.join(helps)}, or a smaller model."
    )


def free_bytes(device: torch.device) -> int | None:
    """Memory that a run on `device` may take; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return _free_beside_cpu()


def _free_beside_cpu() -> int | None:
    """What Linux calls available, within the limit of the control group; elsewhere what the machine has."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (ValueError, OSError):
            return None
    try:
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no such files, or `max`
        return available
    return min(available, max(0, limit - used))
