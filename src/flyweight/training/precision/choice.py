"""Which layers train in FP8 on this machine: those that gain from it, by trial, or all that can."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from flyweight.base import UserError
from flyweight.model import Decoder
from flyweight.model.layers import Linear
from flyweight.recipe import Recipe
from flyweight.training.precision.formats import MULTIPLE, why_not_float8
from flyweight.training.precision.layer import Float8Linear

WORTHWHILE = 1.05
"""FP8 costs accuracy, so it has to be faster than bfloat16 by more than timing noise."""
_TRIAL_SIZES = (64, 512)
"""Dimensions are cut to these in trials before the one at full size."""
_HOPELESS_SECONDS, _HOPELESS_RATIO = 0.01, 3.0
"""A trial that took longer than both of these, in seconds and times bfloat16, ends the matter.

No cost of starting a kernel takes so long. Where FP8 is computed by a plain loop, the full size would take minutes.
"""
_ROUNDS = 5


class LayerShape(NamedTuple):
    """A linear layer as it is used: rows of a micro-batch, and the parameter's two sizes."""

    rows: int
    inputs: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.inputs:,} to {self.outputs:,}"

    def cut(self, size: int) -> LayerShape:
        """The same with no dimension over `size`."""
        return LayerShape(*(min(value, size) for value in self))


@dataclass(frozen=True)
class Float8Choice:
    """What `execution.fp8` came to on this machine."""

    scaling: Literal["off", "dynamic", "delayed"]
    layers: tuple[str, ...]
    """Names of the layers within each block."""
    notes: tuple[str, ...]
    """Which layers and why, for people."""


def choose_float8(
    recipe: Recipe, device: torch.device, precision: str, rows: int, passes: int
) -> Float8Choice:
    """Decide which layers of the recipe's blocks train in FP8 on `device`.

    Args:
        recipe: its `execution.fp8` says how scales are found, and whether layers are chosen by trial.
        device: where the run trains.
        precision: of everything else; FP8 stands only beside bfloat16.
        rows: positions in a micro-batch.
        passes: micro-batches in a step, which share one cast of each weight.

    Raises:
        UserError: `layers: all`, and this device or torch computes no FP8 products, or no layer's size allows it.
    """
    wanted = recipe.execution.fp8
    if wanted.scaling == "off":
        return Float8Choice("off", (), ())
    forced = wanted.layers == "all"
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
        gains = {
            shape: _gain(shape, passes, device, wanted.scaling == "delayed")
            for shape in set(fitting.values())
        }
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


class _Gain(NamedTuple):
    """Seconds of one forward and backward pass, and the shape at which they were taken."""

    bfloat16: float
    float8: float
    measured: LayerShape

    @property
    def ratio(self) -> float:
        return self.bfloat16 / self.float8

    def sentence(self, kind: str, shape: LayerShape) -> str:
        cut = "" if self.measured == shape else f", tried at {self.measured} and given up there"
        return (
            f"FP8: {kind} ({shape}{cut}), forward and backward: {1e3 * self.float8:.3g} ms in FP8, "
            f"{1e3 * self.bfloat16:.3g} ms in bfloat16."
        )


def _gain(shape: LayerShape, passes: int, device: torch.device, delayed: bool) -> _Gain:
    """Time FP8 against bfloat16, at small sizes first, so that a device where FP8 crawls is soon found out."""
    for size in (*_TRIAL_SIZES, max(shape)):
        cut = shape.cut(size)
        gain = time_layer(cut, passes, device, delayed, rounds=_ROUNDS if cut == shape else 2)
        hopeless = gain.float8 > _HOPELESS_SECONDS and gain.ratio * _HOPELESS_RATIO < 1
        if cut == shape or hopeless:
            return gain
    raise AssertionError("the last trial is at the full shape")


def time_layer(shape: LayerShape, passes: int, device: torch.device, delayed: bool, rounds: int) -> _Gain:
    """Best times of one pass through a layer in both precisions, taken in turns.

    The cast of the weight counts by its share: once a step in FP8, once a pass under autocast.
    """
    x = torch.randn(shape.rows, shape.inputs, device=device, requires_grad=True)
    gradient = torch.randn(shape.rows, shape.outputs, device=device, dtype=torch.bfloat16)
    plain = Linear(shape.inputs, shape.outputs).to(device)
    with torch.no_grad():
        plain.weight.normal_(0, shape.inputs**-0.5)
    float8 = Float8Linear(plain, delayed)
    for name, value in float8.named_buffers():
        if name.endswith("_scale"):
            value.fill_(16.0)
    float8.settled = delayed

    def run(layer: Linear) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            layer(x).backward(gradient)
        x.grad = layer.weight.grad = None

    def cast_weight() -> None:
        float8.forget_weight()
        float8._cast_weight()

    best = [float("inf")] * 3
    for round_ in range(rounds + 1):
        for index, work in enumerate((lambda: run(plain), lambda: run(float8), cast_weight)):
            seconds = _seconds(work, device)
            if round_:  # the first makes kernels and buffers
                best[index] = min(best[index], seconds)
    return _Gain(best[0], best[1] + best[2] / passes, shape)


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
