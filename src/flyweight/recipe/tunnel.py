"""`tunnel:` of a recipe: how its hyper-parameters are searched for on a small model."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from flyweight.recipe.frozen import Frozen
from flyweight.recipe.units import Tokens


class Knob(Frozen):
    """The values that a search may give to one number of the recipe: a range, or a few choices."""

    low: float | None = None
    """The least value."""
    high: float | None = None
    """The largest value."""
    step: float | None = Field(default=None, gt=0)
    """Only `low` and whole steps above it."""
    log: bool = False
    """Search evenly in the logarithm."""
    choices: tuple[float, ...] = ()
    """Only these values; then there is no range."""

    @model_validator(mode="after")
    def _range_or_choices(self) -> Self:
        if self.choices:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("`choices` stand alone, without low, high, step and log")
            if len(set(self.choices)) < 2:
                raise ValueError(
                    f"`choices` are {list(self.choices)}; expected two different values at least"
                )
            return self
        if self.low is None or self.high is None:
            raise ValueError("a knob has `low` and `high`, or `choices`")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a knob goes from {self.low:g} to {self.high:g}; expected low below high")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic knob starts at {self.low:g}; expected more than 0")
        if self.log and self.step is not None:
            raise ValueError("a logarithmic knob has no `step`")
        return self

    def holds(self, value: float) -> bool:
        """Whether this is one of the values."""
        if self.choices or self.low is None or self.high is None:
            return value in self.choices
        if not self.low <= value <= self.high:
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-6

    def values(self) -> int | None:
        """How many values there are; None where they are without number."""
        if self.choices:
            return len(self.choices)
        if self.step is None or self.low is None or self.high is None:
            return None
        return int((self.high - self.low) / self.step + 1e-9) + 1


TABLE_5: dict[str, dict[str, Any]] = {
    "parametrization.scale_emb": {"low": 2, "high": 20, "step": 1},
    "parametrization.dim_model_base": {"choices": [32, 64, 128, 256, 512, 1024]},
    "parametrization.scale_depth": {"low": 1, "high": 5, "step": 0.1},
    "training.learning_rate": {"low": 0.001, "high": 0.1, "step": 0.001},
}
"""The ranges of Xmodel-2 (arXiv 2412.19638, table 5)."""


class Proxy(Frozen):
    """What the small model has other than the recipe; all else is the recipe's, its parametrization above all."""

    hidden_size: PositiveInt | None = None
    """Width; heads and feed-forward width follow in proportion. The recipe's own where left out."""
    num_hidden_layers: PositiveInt | None = None
    """Depth."""
    tokens: Tokens = 2_000_000
    """Tokens of a trial; every schedule keeps its fractions of the run."""
    sequence_length: PositiveInt | None = None
    """Tokens of a sequence, throughout."""
    batch_size: PositiveInt | None = None
    """Sequences of a step, throughout; where left out the recipe's own shrinks with the run."""


class Ratio(Frozen):
    """Which sources are mixed into the decay, and how much of them is tried."""

    sources: tuple[str, ...] = Field(min_length=1)
    """Sources whose shares are searched, such as instruction data; the others keep their proportions."""
    low: float = Field(default=0.0, ge=0, lt=1)
    """The least total share of them."""
    high: float = Field(default=0.9, gt=0, le=1)
    """The largest."""
    trials: PositiveInt = 40
    """Branches in all."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weights of the sources' bits per byte in the objective; `tunnel.weights` where left out."""
    tasks: dict[str, float] = Field(default_factory=dict)
    """Weights of tasks in the objective: of 1 less the score, beside the sources' weights (1 each where left out).
    Names as in `evaluation.benchmarks`."""
    items: PositiveInt = 200
    """At most this many items of each subset of these tasks."""
    data: str | None = None
    """Folder with the tasks' local files; the hub when left out."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if len(set(self.sources)) < len(self.sources):
            raise ValueError(f"`sources` are {list(self.sources)}; expected each of them once")
        if self.low >= self.high:
            raise ValueError(f"shares go from {self.low:g} to {self.high:g}; expected low below high")
        _check_weights(self.weights)
        _check_weights(self.tasks)
        return self


class Tunnel(Frozen):
    """The search: what is tried on which model, by which sampler, for how long."""

    proxy: Proxy = Proxy()
    """The small model."""
    space: dict[str, Knob] = Field(
        default_factory=lambda: {name: Knob.model_validate(values) for name, values in TABLE_5.items()},
        min_length=1,
    )
    """What is searched: keys of the recipe, and their values; those of Xmodel-2's table 5 where left out. Of a
    timeline the highest value is meant: the whole of it is scaled."""
    trials: PositiveInt = 60
    """Trials in all."""
    sampler: Literal["tpe", "gp", "random"] = "tpe"
    """`tpe`: tree-structured Parzen estimator, as Xmodel-2.5; `gp`: Gaussian process; `random`."""
    startup_trials: PositiveInt = 10
    """Random trials before the sampler learns from them."""
    prune: Literal["none", "median"] = "median"
    """`median`: a trial ends where it is worse than half of the others at the same point."""
    rungs: PositiveInt = 4
    """Equal parts of a trial, after each of which but the last it may be pruned."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Weights of the sources' bits per byte in the objective; all alike where left out."""
    ratio: Ratio | None = None
    """What `flyweight tunnel ratio` searches."""
    confirm: int = Field(default=3, ge=0)
    """How many of the best trials are trained again with other seeds."""
    seeds: PositiveInt = 3
    """Seeds of each that is confirmed, its first one included."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        _check_weights(self.weights)
        return self


def _check_weights(weights: dict[str, float]) -> None:
    sound = all(math.isfinite(weight) and weight >= 0 for weight in weights.values())
    if weights and not (sound and sum(weights.values()) > 0):
        raise ValueError(f"`weights` are {weights}; expected none below 0 and one above")
