"""Which layers train in FP8 on this machine: those that gain from it, by trial, or all that can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from flyweight.base import UserError
from flyweight.model import Decoder
from flyweight.model.layers import Linear
from flyweight.recipe import Recipe
from flyweight.training.precision.formats import MULTIPLE, why_not_float8
from flyweight.training.precision.trial import LayerShape, Trial

WORTHWHILE = 1.05
"""FP8 costs accuracy, so it has to be faster than bfloat16 by more than timing noise."""


@dataclass(frozen=True)
class Float8Choice:
    """What `execution.fp8` came to on this machine."""

    scaling: Literal["off", "dynamic", "delayed"]
    layers: tuple[str, ...]
    """Names of the layers within each block."""
    notes: tuple[str, ...]
    """Which layers and why, for people."""


def choose_float8(
    recipe: Recipe, device: torch.device, precision: str, *, rows: int, passes: int, compiled: bool
) -> Float8Choice:
    """Decide which layers of the recipe's blocks train in FP8 on `device`.

    Args:
        recipe: its `execution.fp8` says how scales are found, and whether layers are chosen by trial.
        device: where the run trains.
        precision: of everything else; FP8 stands only beside bfloat16.
        rows: positions in a micro-batch.
        passes: micro-batches in a step, which share one cast of each weight.
        compiled: whether blocks are compiled; then so are the layers that are tried.

    Raises:
        UserError: `layers: all`, and this device or torch computes no FP8 products, or no layer's size allows it.
    """
    wanted = recipe.execution.fp8
    if wanted.scaling == "off":
        return Float8Choice("off", (), ())
    forced = wanted.forced
    reason = why_not_float8(device)
    if reason is None and precision != "bfloat16":
        reason = f"this {device.type} device computes {precision} faster than bfloat16"
    if reason is not None:
        if forced:
            raise UserError(
                f"execution.fp8.layers is `all`, but {reason}; set execution.fp8.layers=auto, which leaves "
                f"FP8 out where it does not work, or execution.fp8.scaling=off."
            )
        return Float8Choice("off", (), (f"FP8: no layer, since {reason}.",))
    shapes = layer_shapes(recipe, rows)
    fitting = {kind: shape for kind, shape in shapes.items() if _fits(shape)}
    notes = [
        f"FP8: {kind} ({shape.inputs:,} to {shape.outputs:,}) stays in bfloat16, since FP8 products need sizes "
        f"divisible by {MULTIPLE}."
        for kind, shape in shapes.items()
        if kind not in fitting
    ]
    if forced and not fitting:
        raise UserError(
            f"execution.fp8.layers is `all`, but no layer's sizes are divisible by {MULTIPLE}, which FP8 products "
            f"need; change model.hidden_size and model.intermediate_size, or set execution.fp8.scaling=off."
        )
    kinds = tuple(fitting)
    if forced:
        notes.append("FP8: all layers that can, without a trial, as execution.fp8.layers asks.")
    else:
        trial = Trial(device, wanted.scaling == "delayed", passes, compiled)
        gains = {shape: trial.gain(shape) for shape in set(fitting.values())}
        kinds = tuple(kind for kind, shape in fitting.items() if gains[shape].ratio >= WORTHWHILE)
        notes += [gains[shape].sentence(kind, shape) for kind, shape in fitting.items()]
    total = f"FP8 with {wanted.scaling} scaling" if kinds else "FP8"
    notes.append(f"{total}: {', '.join(kinds) or 'no layer'}; the other layers compute in bfloat16.")
    return Float8Choice(wanted.scaling if kinds else "off", kinds, tuple(notes))


def layer_shapes(recipe: Recipe, rows: int) -> dict[str, LayerShape]:
    """The linear layers of a block by name, and their shapes at this many rows."""
    model = recipe.model.model_copy(update={"num_hidden_layers": 1})
    with torch.device("meta"):
        block = Decoder(model, recipe.parametrization).layers[0]
    return {
        name: LayerShape(rows, module.in_features, module.out_features)
        for name, module in block.named_modules()
        if isinstance(module, Linear)
    }


def _fits(shape: LayerShape) -> bool:
    return shape.inputs % MULTIPLE == 0 and shape.outputs % MULTIPLE == 0
