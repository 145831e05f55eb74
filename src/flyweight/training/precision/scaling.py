"""The FP8 layers of a decoder, and the history that delayed scaling takes their scales from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from flyweight.model import Decoder
from flyweight.model.layers import Linear
from flyweight.training.precision.formats import E4M3, E5M2, LARGEST, scale_from_amax
from flyweight.training.precision.layer import Float8Linear

HISTORY = 128
"""Steps whose amaxes decide a delayed scale; as in Xmodel-2.5's scripts."""

_TENSORS = {"input": E4M3, "weight": E4M3, "gradient": E5M2}


class Float8Layers:
    """The FP8 layers of one decoder; none of them where FP8 is off.

    With delayed scaling, the amaxes of a step's micro-batches are noted in the layers. `end_step` enters their
    maximum in the history, once an optimizer step, and sets the scales of the next step from the maximum over
    the last 128 entries (Transformer Engine's `DelayedScaling`, `amax_compute_algo="max"`, margin 0).

    An amax that is not finite is entered as 0, which says nothing: in Transformer Engine it would hold the
    scale as it is for the 128 steps that it stays in the history.
    """

    def __init__(self, layers: dict[str, Float8Linear], delayed: bool) -> None:
        self.layers = layers
        self.delayed = delayed and bool(layers)
        if not self.delayed:
            return
        values = list(layers.values())
        self._scales = [getattr(layer, f"{name}_scale") for layer in values for name in _TENSORS]
        self._amaxes = [getattr(layer, f"{name}_amax") for layer in values for name in _TENSORS]
        device = self._scales[0].device
        largest = [LARGEST[dtype] for _ in values for dtype in _TENSORS.values()]
        self._largest = torch.tensor(largest, device=device)
        self.history = torch.zeros(HISTORY, len(largest), device=device)
        """(128, three a layer: input, weight, gradient), the newest step first."""

    def keep_no_cast(self) -> None:
        """Cast weights anew in every pass: FSDP gathers them for a pass, and what is cast must not outlive it."""
        for layer in self.layers.values():
            layer.keeps_cast = False

    def end_step(self) -> None:
        """To be called once after each optimizer step: roll the history, set the scales, drop cast weights."""
        self._forget_weights()
        if not self.delayed:
            return
        found = torch.stack(self._amaxes)
        found = max_over_ranks(torch.where(found.isfinite(), found, 0.0))
        self.history = torch.cat((found[None], self.history[:-1]))
        scales = scale_from_amax(self.history.amax(dim=0), self._largest, torch.stack(self._scales))
        self._set_scales(scales)
        self._clear_amaxes()

    def discard_step(self) -> None:
        """Forget what was noted since the last step's end: for passes that were no step, or one not taken."""
        self._forget_weights()
        if self.delayed:
            self._clear_amaxes()

    def state_tensors(self) -> dict[str, Tensor]:
        """History (128, 3) and scale (3,) of each layer, by its name: input, weight, gradient.

        Empty without delayed scaling. The scale is kept beside the history that it comes from, because it
        outlives it: it stays where the whole history says nothing.
        """
        if not self.delayed:
            return {}
        history = self.history.unflatten(1, (-1, len(_TENSORS)))
        scales = torch.stack(self._scales).unflatten(0, (-1, len(_TENSORS)))
        tensors = {f"{name}/history": history[:, index] for index, name in enumerate(self.layers)}
        return tensors | {f"{name}/scale": scales[index] for index, name in enumerate(self.layers)}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` returned. A layer that was not in FP8 there starts without a history."""
        if not self.delayed:
            return
        own = self.state_tensors()
        device = self.history.device
        merged = {name: tensors.get(name, value).to(device) for name, value in own.items()}
        self.history = torch.cat([merged[f"{name}/history"] for name in self.layers], dim=1)
        self._set_scales(torch.cat([merged[f"{name}/scale"] for name in self.layers]))
        self.discard_step()

    def reset(self) -> None:
        """Stand as at the beginning of a run, without a history."""
        for layer in self.layers.values():
            layer.settled = False
        self.load_state_tensors(
            {name: torch.zeros_like(value) for name, value in self.state_tensors().items()}
        )

    def _clear_amaxes(self) -> None:
        for amax in self._amaxes:
            amax.zero_()

    def _forget_weights(self) -> None:
        for layer in self.layers.values():
            layer.forget_weight()

    def _set_scales(self, scales: Tensor) -> None:
        for own, value in zip(self._scales, scales.unbind(), strict=True):
            own.copy_(value)
        if not all(layer.settled for layer in self.layers.values()):
            # Asked of the device only until every tensor has its scale, ordinarily once.
            settled = bool((scales > 0).all())
            for layer in self.layers.values():
                layer.settled = settled


def max_over_ranks(amaxes: Tensor) -> Tensor:
    """The elementwise maximum of `amaxes` over all processes; itself in a run of one."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(amaxes, op=dist.ReduceOp.MAX)
    return amaxes


def convert_to_float8(
    decoder: Decoder, scaling: Literal["off", "dynamic", "delayed"], kinds: Sequence[str]
) -> Float8Layers:
    """Let the layers of these kinds, in every block, train in FP8; names and parameters stay the same.

    Args:
        decoder: on its device; changed in place.
        scaling: how scales are found.
        kinds: names within a block, such as `mlp.down_proj`.
    """
    found = {}
    if scaling != "off":
        for index, block in enumerate(decoder.layers):
            for kind in kinds:
                parent, _, name = kind.rpartition(".")
                holder = block.get_submodule(parent)
                linear = getattr(holder, name)
                assert isinstance(linear, Linear), kind
                layer = Float8Linear(linear, delayed=scaling == "delayed")
                setattr(holder, name, layer)
                found[f"layers.{index}.{kind}"] = layer
    return Float8Layers(found, delayed=scaling == "delayed")
