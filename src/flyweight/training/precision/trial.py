"""A layer's time in FP8 against bfloat16, at the size it is used at."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from flyweight.model.layers import Linear
from flyweight.training.precision.layer import Float8Linear

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


class Gain(NamedTuple):
    """Seconds of one forward and backward pass, and the shape at which they were taken."""

    bfloat16: float
    float8: float
    measured: LayerShape

    @property
    def ratio(self) -> float:
        """How many times faster FP8 is."""
        return self.bfloat16 / self.float8

    def sentence(self, kind: str, shape: LayerShape) -> str:
        """For the record of a run."""
        cut = "" if self.measured == shape else f", tried at {self.measured} and given up there"
        return (
            f"FP8: {kind} ({shape}{cut}), forward and backward: {1e3 * self.float8:.3g} ms in FP8, "
            f"{1e3 * self.bfloat16:.3g} ms in bfloat16."
        )


class Trial(NamedTuple):
    """Under which circumstances layers are tried."""

    device: torch.device
    delayed: bool
    """Which scaling."""
    passes: int
    """Micro-batches in a step, which share one cast of each FP8 weight; autocast casts in every pass."""
    compiled: bool

    def gain(self, shape: LayerShape) -> Gain:
        """FP8 against bfloat16 for `shape`: small sizes first, to find out soon where FP8 crawls."""
        for size in _TRIAL_SIZES:
            cut = shape.cut(size)
            if cut == shape:
                break
            gain = self._replace(compiled=False).measure(cut, rounds=2)
            if gain.float8 > _HOPELESS_SECONDS and gain.ratio * _HOPELESS_RATIO < 1:
                return gain
        return self.measure(shape, rounds=_ROUNDS)

    def measure(self, shape: LayerShape, rounds: int) -> Gain:
        """Best times of a pass through a layer of this shape, in both precisions, taken in turns."""
        x = torch.randn(shape.rows, shape.inputs, device=self.device, requires_grad=True)
        gradient = torch.randn(shape.rows, shape.outputs, device=self.device, dtype=torch.bfloat16)
        plain = Linear(shape.inputs, shape.outputs).to(self.device)
        with torch.no_grad():
            plain.weight.normal_(0, shape.inputs**-0.5)
        float8 = Float8Linear(plain, self.delayed)
        float8.settled = self.delayed
        for name, value in float8.named_buffers():
            if name.endswith("_scale"):
                value.fill_(16.0)
        if self.compiled:
            plain.compile(dynamic=False)
            float8.compile(dynamic=False)
        best = {"bfloat16": float("inf"), "first": float("inf"), "later": float("inf")}
        for round_ in range(rounds + 1):
            for name in best:
                if name == "first":
                    float8.forget_weight()
                seconds = self._seconds(plain if name == "bfloat16" else float8, x, gradient)
                if round_:  # what the first one makes, such as kernels, is there from then on
                    best[name] = min(best[name], seconds)
        mean = (best["first"] + (self.passes - 1) * best["later"]) / self.passes
        return Gain(best["bfloat16"], mean, shape)

    def _seconds(self, layer: Linear, x: Tensor, gradient: Tensor) -> float:
        self._wait()
        begin = time.perf_counter()
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            y = layer(x)
        y.backward(gradient)
        self._wait()
        x.grad = layer.weight.grad = None
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
