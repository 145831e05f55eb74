"""Timeline: whatever changes during training, as a pure function of tokens seen."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from flyweight.recipe.units import Tokens

Shape = Literal["step", "linear", "cosine", "1-sqrt", "exponential", "half-life"]


class _Value(BaseModel):
    """Strict and frozen like a section of the recipe, but a value: it has no keys of its own there."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Knot(_Value):
    """A point that the timeline passes through, and how it gets there from the knot before."""

    at: Tokens
    """The clock, in tokens seen, at which `value` holds."""

    value: float = Field(allow_inf_nan=False)
    """The value at this knot."""

    shape: Shape = "step"
    """How the value moves from the knot before to this one; `step` holds the old value, then jumps."""

    half_life: Tokens | None = None
    """Only with `shape: half-life`: the tokens in which the value halves. `value` is then a floor."""

    @model_validator(mode="after")
    def _half_life_where_it_belongs(self) -> Knot:
        if (self.shape == "half-life") != (self.half_life is not None):
            raise ValueError("`half_life` goes with `shape: half-life`, and only with it")
        if self.half_life == 0:
            raise ValueError("`half_life` must be more than 0 tokens")
        return self


class WSD(_Value):
    """Warmup, stable, decay: 0 to `peak` in a line, `peak` held, then `final` by `decay`.

    The shapes of the decay, with r from 0 to 1 over the decay and t tokens into it:
    `linear`; `cosine`; `1-sqrt` (1 - sqrt(r)); `exponential` (2 * 0.5^r - 1, as in Megatron-LM);
    `half-life` (0.5^(t/T), as in MiniCPM, arXiv 2404.06395, with `final` as the floor).
    """

    peak: float
    """The value after the warm-up."""

    warmup: Tokens
    """Tokens over which the value rises in a line from 0 to `peak`."""

    decay_start: Tokens
    """The clock at which the decay begins."""

    end: Tokens
    """The clock at which the decay ends; the run's tokens when left out."""

    decay: Literal["linear", "cosine", "1-sqrt", "exponential", "half-life"] = "linear"
    """The shape of the decay."""

    final: float = Field(default=0.0, ge=0)
    """The value at the end of the decay."""

    half_life: Tokens | None = None
    """Only with `decay: half-life`: the tokens in which the value halves."""

    def knots(self) -> list[dict[str, Any]]:
        """The same schedule as a list of knots."""
        if self.decay_start < self.warmup:
            raise ValueError(
                f"the decay starts at {self.decay_start:,} tokens, before the warm-up ends at {self.warmup:,}"
            )
        if self.end <= self.decay_start:
            raise ValueError(
                f"the decay ends at {self.end:,} tokens, not after its start at {self.decay_start:,}; "
                f"places in percent, such as 80%, move with training.tokens, and --scaled keeps every schedule's "
                f"fractions"
            )
        rise = [{"at": 0, "value": 0.0}, {"at": self.warmup, "value": self.peak, "shape": "linear"}]
        if self.warmup == 0:
            rise = [{"at": 0, "value": self.peak}]
        hold = [{"at": self.decay_start, "value": self.peak}] if self.decay_start > self.warmup else []
        fall: dict[str, Any] = {"at": self.end, "value": self.final, "shape": self.decay}
        if self.half_life is not None:
            fall["half_life"] = self.half_life
        return [*rise, *hold, fall]


class Timeline(_Value):
    """A pure function of tokens seen, through its knots; constant before the first and after the last.

    In a recipe it is written as a number (constant), as a list of knots, or as `wsd: {...}`. Two
    knots at the same place are a jump: the value arrives at the first and goes on from the second.
    """

    knots: tuple[Knot, ...]
    """The points that the value passes through, in order; the first is at 0."""

    @model_validator(mode="before")
    @classmethod
    def _from_short_forms(cls, value: Any) -> Any:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"knots": [{"at": 0, "value": value}]}
        if isinstance(value, list | tuple):
            return {"knots": value}
        if isinstance(value, dict) and "wsd" in value:
            if len(value) > 1:
                raise ValueError(
                    f"beside `wsd` there is {sorted(set(value) - {'wsd'})}; expected `wsd` alone"
                )
            return {"knots": WSD.model_validate(value["wsd"]).knots()}
        return value

    @model_validator(mode="after")
    def _knots_in_order(self) -> Timeline:
        if not self.knots or self.knots[0].at != 0:
            raise ValueError("the first knot of a timeline must be at 0")
        if self.knots[0].shape != "step":
            raise ValueError("the first knot of a timeline has nothing to come from, so no `shape`")
        for before, after in zip(self.knots, self.knots[1:], strict=False):
            if after.at < before.at:
                raise ValueError(f"knots out of order: {after.at:,} tokens comes after {before.at:,}")
            if after.at == before.at and after.shape != "step":
                raise ValueError(f"two knots at {after.at:,} tokens are a jump, so the second has no `shape`")
        return self

    @classmethod
    def constant(cls, value: float) -> Timeline:
        """The same value for ever."""
        return cls.model_validate(value)

    @cached_property
    def _positions(self) -> np.ndarray:
        return np.array([knot.at for knot in self.knots], dtype=np.int64)

    def values(self, tokens: np.ndarray) -> np.ndarray:
        """The value at every clock in `tokens` (integers or floats, any shape), as float64."""
        index = np.searchsorted(self._positions, tokens, side="right") - 1
        result = np.empty(np.shape(tokens), dtype=np.float64)
        for i, knot in enumerate(self.knots):
            here = index == i
            if not here.any():
                continue
            following = self.knots[i + 1] if i + 1 < len(self.knots) else None
            result[here] = _between(knot, following, np.asarray(tokens)[here])
        return result

    def at(self, tokens: int | float) -> float:
        """The value at the clock `tokens`."""
        return float(self.values(np.array([tokens]))[0])

    @property
    def is_stepwise(self) -> bool:
        """Whether the value changes by jumps only."""
        return all(knot.shape == "step" for knot in self.knots)

    @property
    def maximum(self) -> float:
        """The largest value; every shape is monotone between knots, so it lies at one of them."""
        return max(knot.value for knot in self.knots)

    def stretched(self, ratio: float) -> Timeline:
        """The same curve over `ratio` times the tokens."""
        return Timeline(
            knots=tuple(
                Knot(
                    at=round(knot.at * ratio),
                    value=knot.value,
                    shape=knot.shape,
                    half_life=None if knot.half_life is None else max(1, round(knot.half_life * ratio)),
                )
                for knot in self.knots
            )
        )


def _between(knot: Knot, following: Knot | None, tokens: np.ndarray) -> np.ndarray | float:
    """Values at clocks `tokens` in [knot.at, following.at)."""
    if following is None or following.shape == "step":
        return knot.value
    into = tokens - np.float64(knot.at)
    ratio = into / np.float64(following.at - knot.at)
    if following.shape == "half-life":
        assert following.half_life is not None
        return np.maximum(following.value, knot.value * 0.5 ** (into / following.half_life))
    progress = {
        "linear": lambda r: r,
        "cosine": lambda r: 0.5 * (1 - np.cos(np.pi * r)),
        "1-sqrt": np.sqrt,
        "exponential": lambda r: 2 - 2 * 0.5**r,
    }[following.shape](ratio)
    # In this form the value at the knot itself is exact: progress is exactly 0 there.
    return knot.value + (following.value - knot.value) * progress
