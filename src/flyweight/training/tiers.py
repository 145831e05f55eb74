"""How the decoder's blocks are carried out: which attention kernel, and whether torch.compile pays.

Both are decided once, by the rules below, and frozen in the execution plan: they change the last bits of every
sum.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from flyweight.base import UserError
from flyweight.curriculum import Schedule
from flyweight.inference import Precision
from flyweight.model import AttentionKernel, Decoder, flops_per_token
from flyweight.model.attention import attend
from flyweight.model.block_attention import LONGEST, block_attention
from flyweight.recipe import Recipe

COMPILE_SECONDS = 60.0
"""What compiling costs for each shape of a batch, about: 36 to 55 s were measured for GPT-S-5M on one core."""

COMPILE_GAIN = 0.25
"""The share of the time that compiled blocks save, at least: 0.27 to 0.38 were measured on CPUs."""

EAGER_SHARE = 0.2
"""Of a device's peak, what blocks reach without compiling; only to guess how long a run will take."""

ATTENTION_REASONS: dict[str, str] = {
    "sdpa": "attention: torch's scaled_dot_product_attention",
    "blocks": "attention: products over blocks of queries, which is faster here than torch's kernel",
}

_RECOMPILE_LIMIT = 64
"""Shapes that a long schedule may bring; torch gives up after 8."""


def choose_attention(length: int, precision: Precision, device: torch.device) -> AttentionKernel:
    """The kernel for training on sequences of `length`.

    In bfloat16 on a CPU products over blocks took 0.59 to 0.93 of the time of torch's kernel, forward and
    backward, in float32 1.1 to 1.4 times as much (docs/log.md, 2026-11-22). So it is a rule and no race, which two
    runs of one recipe might see end differently; what is tried is that the kernel works here. On other devices
    torch's fused kernels (FlashAttention on CUDA) have no rival.
    """
    if device.type != "cpu" or precision != "bfloat16" or length > LONGEST or not _blocks_work():
        return "sdpa"
    return "blocks"


def _blocks_work() -> bool:
    """Whether blocks of queries give what torch's kernel gives, forward and backward."""
    inputs = [torch.linspace(-2, 2, heads * 160 * 8).view(1, heads, 160, 8).bfloat16() for heads in (2, 1, 1)]
    found: list[list[Tensor]] = []
    kernels: tuple[Callable[[Tensor, Tensor, Tensor, float], Tensor], ...] = (attend, block_attention)
    for kernel in kernels:
        leaves = [x.clone().requires_grad_() for x in inputs]
        try:
            y = kernel(leaves[0], leaves[1], leaves[2], 0.3)
            found.append([y.detach(), *torch.autograd.grad(y.float().square().sum(), leaves)])
        except RuntimeError:
            return False
    return all(
        torch.allclose(mine, theirs, atol=0.05 * float(theirs.abs().max()))
        for theirs, mine in zip(*found, strict=True)
    )


def choose_compile(recipe: Recipe, device: torch.device, peak_flops: float) -> tuple[bool, str]:
    """Whether to compile the blocks, and why, for people.

    The rule of `auto`: the time that compiling saves, COMPILE_GAIN of the whole run as guessed from its
    arithmetic, is more than twice what it costs, COMPILE_SECONDS for each batch shape of the schedule.

    Raises:
        UserError: the recipe asks for it, and it cannot be done here.
    """
    wanted = recipe.execution.compile
    if wanted == "off":
        return False, "not compiled: the recipe says so"
    if wanted == "auto":
        seconds, shapes = _guess(recipe, peak_flops)
        if device.type == "mps":
            return False, "not compiled: torch.compile is not ready for this device"
        if seconds * COMPILE_GAIN < 2 * COMPILE_SECONDS * shapes:
            minutes = max(1, round(seconds / 60))
            return False, (
                f"not compiled: the run will take about {minutes:,} minute{'s' * (minutes > 1)}, and compiling pays "
                f"from about {round(2 * COMPILE_SECONDS * shapes / COMPILE_GAIN / 60):,} on"
            )
    if (problem := _compiler_problem(device)) is not None:
        if wanted == "on":
            raise UserError(
                f"execution.compile: torch.compile does not work here ({problem}); install a C++ compiler, or set "
                f"it to `auto` or `off`."
            )
        return False, f"not compiled: torch.compile does not work here ({problem})"
    return True, "each block is compiled by torch.compile, once for each shape of a batch"


def _guess(recipe: Recipe, peak_flops: float) -> tuple[float, int]:
    """Seconds that the run takes without compiling, and its batch shapes."""
    segments = Schedule.of(recipe.training).segments
    arithmetic = sum(
        segment.steps * segment.step_tokens * flops_per_token(recipe.model, segment.sequence_length)
        for segment in segments
    )
    return arithmetic / (EAGER_SHARE * peak_flops), len({segment.sequence_length for segment in segments})


def _compiler_problem(device: torch.device) -> str | None:
    """Why torch.compile does not work here, found by compiling something small; None if it does."""
    try:
        function = torch.compile(lambda x: torch.sin(x) + 1, dynamic=False)
        function(torch.ones(16, device=device))
    except Exception as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    return None


def without_compiling(recipe: Recipe) -> Recipe:
    """The same recipe for a trial of seconds, which must not begin with a minute of compiling."""
    return recipe.model_copy(update={"execution": recipe.execution.model_copy(update={"compile": "off"})})


def accelerate(decoder: Decoder, attention: AttentionKernel, compiled: bool) -> None:
    """Set up `decoder`'s blocks as the plan says.

    Each block is compiled, not the model: all blocks share one compilation, which takes seconds instead of
    minutes. Names in the state dict stay as they are.
    """
    decoder.use_attention(attention)
    if compiled:
        # Made for models that are compiled whole: it would cut a block wherever a bucket of DDP is full.
        torch._dynamo.config.optimize_ddp = False  # type: ignore[attr-defined]
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _RECOMPILE_LIMIT)  # type: ignore[attr-defined]
        for block in decoder.layers:
            # Not the call around it: the hooks with which FSDP gathers weights stay outside.
            block.forward = torch.compile(block.forward, dynamic=False)  # type: ignore[method-assign]


def uncompiled() -> AbstractContextManager[object]:
    """A context in which compiled blocks run as they are written: every length would be compiled anew."""
    return torch.compiler.set_stance("force_eager")
