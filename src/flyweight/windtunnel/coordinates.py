"""The coordinate check: whether activations keep their size when the model gets wider.

µP promises that every activation, and every change that a step makes to it, is as large in a wide model as in a
narrow one; then one learning rate suits both. So models of several widths take the same first steps on the same
batch, and the mean absolute activation of each module is drawn against width: flat under µP, a slope without it
(arXiv 2203.03466, appendix D.1). A slip in initialisation, multiplier or rate shows as a slope of its own.

The batch is the same in every step, as in the check of µP's authors: theory's exponents are those of updates that are
aligned with what they are multiplied with. Updates from many fresh tokens are less so at first (arXiv 2407.05872,
section 3), and wide models then lag some steps behind narrow ones without anything being wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flyweight.base import UserError
from flyweight.model import Decoder, OptimizerKind
from flyweight.recipe import Recipe
from flyweight.training import OptimizerByRole
from flyweight.training.objective import Objective
from flyweight.windtunnel.widths import at_width

TOLERANCE = 0.1
"""The largest slope of log2 activation against log2 width that counts as flat."""

HIDDEN_MODULES = (
    "embedding",
    "query-key-value",
    "attention",
    "gate-up",
    "feed-forward",
    "stream",
    "final norm",
)
"""Modules whose activations have to be flat from the start on."""

EXCEPTIONS = {
    "logits": "at initialisation the rows of the readout know nothing of the hidden states: their products add up "
    "like a random walk, by the root of the width, and µP divides them by the width, which leaves -1/2. The first "
    "steps align them."
}
"""Modules that are not flat before the first steps, and why."""

_LEAVES = {
    "embed_tokens": "embedding",
    "qkv_proj": "query-key-value",
    "o_proj": "attention",
    "gate_up_proj": "gate-up",
    "down_proj": "feed-forward",
    "norm": "final norm",
}


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Mean absolute activations."""

    widths: tuple[int, ...]
    modules: tuple[str, ...]
    activations: np.ndarray
    """(modules, steps + 1, widths, seeds), averaged over layers, positions and channels; step 0 is before training."""

    @property
    def slopes(self) -> np.ndarray:
        """Slope of log2 activation, averaged over seeds, against log2 width: (modules, steps + 1)."""
        values = np.log2(self.activations.mean(axis=-1))
        modules, steps, widths = values.shape
        lines = np.polyfit(np.log2(self.widths), values.reshape(-1, widths).T, 1)
        return lines[0].reshape(modules, steps)

    @property
    def tolerance(self) -> float:
        """The largest slope that counts as flat."""
        return TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for programs."""
        return {
            "widths": list(self.widths),
            "slopes": dict(zip(self.modules, self.slopes.tolist(), strict=True)),
            "activations": dict(zip(self.modules, self.activations.mean(axis=-1).tolist(), strict=True)),
            "not_flat": self.drifting(),
            "exceptions": EXCEPTIONS,
        }

    def slope(self, module: str, step: int) -> float:
        """The slope of one module after `step` steps."""
        return float(self.slopes[self.modules.index(module), step])

    def drifting(self, tolerance: float = TOLERANCE) -> dict[str, float]:
        """Hidden modules that are not flat, with their mean slope after the first and all later steps.

        The mean, since a single step may catch widths at different moments of a fast change.
        """
        means = dict(zip(self.modules, self.slopes[:, 1:].mean(axis=1).tolist(), strict=True))
        return {
            name: mean for name, mean in means.items() if name in HIDDEN_MODULES and abs(mean) > tolerance
        }


def measure_coordinates(
    recipe: Recipe,
    tokens: Tensor,
    widths: Sequence[int],
    *,
    learning_rate: float,
    steps: int = 10,
    seeds: int = 3,
    optimizer: OptimizerKind = "adamw",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Coordinates:
    """Train the recipe's model at several widths on one batch, and watch its activations.

    Everything but the width is the recipe's: parametrization, optimizer settings, depth, head_dim. The rate is
    constant, there is no weight decay, and sums are in float32.

    Args:
        recipe: whose `parametrization` is checked.
        tokens: (B, T+1), the batch of every step.
        widths: values of hidden_size.
        learning_rate: the base rate; a large one shows slips early.
        steps: how many.
        seeds: initialisations to average over.
        optimizer: AdamW or Muon.
        progress: called with models done and models in all.

    Raises:
        UserError: fewer than two widths, or one at which the model has no whole heads, or a model that diverges.
    """
    if len(set(widths)) < 2:
        raise UserError(f"a coordinate check compares several widths; found {list(widths)}.")
    models = [at_width(recipe.model, width) for width in widths]
    found: list[list[dict[str, list[float]]]] = []
    for number, model in enumerate(models):
        found.append([])
        for seed in range(seeds):
            decoder = Decoder(model, recipe.parametrization).initialize(recipe.seed + seed)
            found[-1].append(_first_steps(decoder, recipe, tokens, learning_rate, steps, optimizer))
            progress(number * seeds + seed + 1, len(models) * seeds)
    modules = tuple(found[0][0])
    values = np.array([[[seen[module] for seen in row] for row in found] for module in modules])
    activations = values.transpose(0, 3, 1, 2)
    if not np.isfinite(activations).all():
        raise UserError(
            f"activations are no longer finite at a learning rate of {learning_rate:g}; try a lower one."
        )
    return Coordinates(tuple(widths), modules, activations)


def _first_steps(
    decoder: Decoder, recipe: Recipe, tokens: Tensor, rate: float, steps: int, kind: OptimizerKind
) -> dict[str, list[float]]:
    """The mean activation of each module before the first step and after each."""
    optimizer = OptimizerByRole(decoder, recipe.training, kind)
    rates = {role: rate * multiplier for role, multiplier in optimizer.multipliers.items()}
    objective = Objective(decoder, "float32")
    seen = {name: [value] for name, value in _activations(decoder, tokens).items()}
    for _ in range(steps):
        loss = objective(tokens, 0.0)
        (loss.total / tokens[:, 1:].numel()).backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), recipe.training.gradient_clip)
        optimizer.step(rates, weight_decay=0.0)
        for name, value in _activations(decoder, tokens).items():
            seen[name].append(value)
    return seen


@torch.no_grad()
def _activations(decoder: Decoder, tokens: Tensor) -> dict[str, float]:
    """Mean absolute activation of each kind of module, averaged over layers."""
    with _watched(decoder) as seen:
        hidden = decoder(tokens[:, :-1])
    seen["logits"] = [float(decoder.logits(hidden).abs().mean())]
    return {name: sum(values) / len(values) for name, values in seen.items()}


@contextmanager
def _watched(decoder: Decoder) -> Iterator[dict[str, list[float]]]:
    seen: dict[str, list[float]] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            seen.setdefault(name, []).append(float(output.abs().mean()))

        return hook

    modules = {name: _LEAVES.get(name.rpartition(".")[2]) for name, _ in decoder.named_modules()}
    modules |= {f"layers.{index}": "stream" for index in range(len(decoder.layers))}
    handles = [
        module.register_forward_hook(watch(kind))
        for name, module in decoder.named_modules()
        if (kind := modules[name]) is not None
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
