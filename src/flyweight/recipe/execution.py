"""`execution:` of a recipe: how a run is carried out, which changes nothing of what is learned but rounding."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from flyweight.recipe.frozen import Frozen
from flyweight.recipe.units import Tokens


class Float8(Frozen):
    """Matrix products of the blocks in FP8: E4M3 forward, E5M2 for gradients, one scale a tensor."""

    scaling: Literal["off", "dynamic", "delayed"] = "off"
    """`dynamic`: scales from each tensor as it is; `delayed`: from the largest value of the last 128 steps."""
    layers: Literal["auto", "all"] = "auto"
    """`auto`: those that a trial on this device finds faster than in bfloat16; `all`: all that can, or an error."""

    @property
    def forced(self) -> bool:
        """Whether FP8 is wanted without a trial; it brings bfloat16 for the rest."""
        return self.scaling != "off" and self.layers == "all"


class Execution(Frozen):
    """How the run is carried out; nothing here changes what is learned, but for rounding."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`bfloat16` is autocast over float32 weights; `auto` takes what this device computes fastest."""
    fp8: Float8 = Float8()
    """Linear layers of the blocks in FP8, beside bfloat16; float32 weights stay what is trained and saved."""
    micro_batch: PositiveInt | Literal["auto"] = "auto"
    """Sequences in one forward pass."""
    threads: PositiveInt | Literal["auto"] = "auto"
    """CPU threads of torch."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the blocks with torch.compile; `auto` does so where the run is long enough to gain by it."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes: `ddp` keeps all weights on each device, `fsdp` some rows of every weight; `auto` takes
    `ddp` as long as weights, gradients and optimizer state fill at most half of a GPU."""
    activation_checkpointing: bool = False
    """Compute each block again in the backward pass instead of keeping its activations: less memory, more time."""
    workers: PositiveInt | Literal["auto"] = "auto"
    """Processes that prepare the corpus; `auto` is one a core."""
    log_every: int = Field(default=10, ge=1)
    """Steps between two log lines."""
    checkpoint_every: Tokens = 0
    """Tokens between two checkpoints; 0: only at the end and when interrupted."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints are kept beside the milestones."""
    async_checkpoints: bool = True
    """Write checkpoints in the background, from a copy in host memory, while training goes on."""
    milestones: tuple[Tokens, ...] = ()
    """Checkpoints at these clocks are never deleted."""
    ema_half_life: Tokens = 0
    """Keep an exponential moving average of the weights in the checkpoints, in which weights of this many tokens ago
    count half; training does not see it, `flyweight average` does. 0: none."""
    deterministic: bool = False
    """Ask torch for deterministic kernels where it has a choice, and let no trial of speed choose how Muon's
    products are computed."""
    trackers: Literal["auto"] | tuple[Literal["tensorboard", "trackio", "wandb"], ...] = "auto"
    """Trackers that are told what the run does; `auto` is TensorBoard where it is installed. Trackio and Weights &
    Biases keep to this machine, unless WANDB_MODE, WANDB_API_KEY or TRACKIO_SPACE_ID say otherwise."""

    @model_validator(mode="before")
    @classmethod
    def _earlier_key(cls, value: Any) -> Any:
        """Recipes of run folders may be older than `trackers`."""
        if not isinstance(value, dict) or "tensorboard" not in value:
            return value
        if "trackers" in value or not isinstance(value["tensorboard"], bool):
            raise ValueError("`tensorboard` became `trackers`: [tensorboard] or []; keep `trackers` alone")
        rest = {key: item for key, item in value.items() if key != "tensorboard"}
        return {**rest, "trackers": "auto" if value["tensorboard"] else ()}

    @model_validator(mode="after")
    def _float8_beside_bfloat16(self) -> Self:
        if self.fp8.scaling != "off" and self.precision == "float32":
            raise ValueError(
                f"fp8.scaling is {self.fp8.scaling!r} and precision 'float32': FP8 layers stand beside bfloat16; "
                f"set precision to bfloat16 or auto, or fp8.scaling to off"
            )
        return self
