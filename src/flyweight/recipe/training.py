"""The recipe's section on training: what is learned from what, when."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flyweight.recipe.frozen import Frozen
from flyweight.recipe.timeline import Timeline
from flyweight.recipe.units import Tokens, parse_percent, parse_tokens


class MixtureKnot(Frozen):
    """The weights of the sources at one clock."""

    at: Tokens
    """The clock, in tokens seen."""
    weights: dict[str, Annotated[float, Field(ge=0)]]
    """Share of the tokens by source; they add up to 1."""
    shape: Literal["step", "linear"] = "step"
    """How the weights move from the knot before to this one."""

    @property
    def excess(self) -> float:
        """By how much the weights miss 1."""
        return sum(self.weights.values()) - 1.0

    @model_validator(mode="after")
    def _weights_add_up(self) -> Self:
        if not abs(self.excess) <= 0.001:
            raise ValueError(
                f"the mixture weights at {self.at:,} tokens add up to {1 + self.excess:.6g}, not to 1"
            )
        return self


class OptimizerKnot(Frozen):
    """The optimizer from one clock on."""

    at: Tokens
    """The clock, in tokens seen, from which this optimizer runs, with fresh state."""
    kind: Literal["adamw", "muon"]
    """`adamw` for every parameter, or `muon` for hidden and output matrices and AdamW for the rest."""


class AdamW(Frozen):
    """AdamW with decoupled weight decay (arXiv 1711.05101)."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""


class Muon(Frozen):
    """Muon with updates scaled to AdamW's size, 0.2 * sqrt(max(rows, columns)) (arXiv 2502.16982)."""

    momentum: float = Field(default=0.95, ge=0, lt=1)
    """Decay of the momentum; Nesterov."""
    ns_steps: int = Field(default=5, ge=1)
    """Newton-Schulz iterations."""
    fused_projections: Literal["whole", "split"] = "whole"
    """Fused query-key-value and gate-up projections are orthogonalised as one matrix each, as Xmodel-2.5 did, or
    part by part, with the update's scale from each part's own shape."""


class Guard(Frozen):
    """What a run does about steps that go wrong. A step whose loss or gradient is not finite is always skipped:
    the weights stay, its data is passed over."""

    rollback_after: int = Field(default=3, ge=1)
    """Steps skipped in a row, for whatever reason, after which the run goes back to its last checkpoint and
    passes over all data that was drawn since."""
    most_rollbacks: int = Field(default=3, ge=1)
    """How often a run goes back without getting past where it failed (by as much as going back cost); one
    fault more ends it."""
    spike: Literal["ignore", "warn", "skip", "rollback"] = "warn"
    """What follows a step whose loss is far above those before: nothing, a line in the log, or, before the
    weights are changed by it, a skip of the step or a return to the last checkpoint."""
    spike_threshold: float = Field(default=8.0, gt=0)
    """How far above: in robust standard deviations (1.4826 times the median distance from the median)."""
    spike_window: int = Field(default=128, ge=8)
    """Steps before, since the stage began, whose losses are compared with; a spike is told from half of it on."""


RoleName = Literal["embedding", "hidden", "output", "readout", "gain"]


class Training(Frozen):
    """What is learned from what, when. Every value that changes is a timeline over tokens."""

    tokens: Tokens = Field(gt=0)
    """Tokens to train on; the run takes as many whole steps as fit."""
    sequence_length: Timeline
    """Tokens in a sequence; changes by steps only."""
    batch_size: Timeline
    """Sequences in a step; changes by steps only."""
    mixture: tuple[MixtureKnot, ...] = Field(min_length=1)
    """Weights of the sources over tokens."""
    learning_rate: Timeline
    """The rate that the parametrization scales by role; read at the middle of each step."""
    role_learning_rate: dict[RoleName, Timeline] = Field(default_factory=dict)
    """Rates of single roles, given outright; they replace the parametrization's."""
    optimizer: tuple[OptimizerKnot, ...] = (OptimizerKnot(at=0, kind="adamw"),)
    """Which optimizer runs when; state is fresh after each change."""
    adamw: AdamW = AdamW()
    """Settings of AdamW."""
    muon: Muon = Muon()
    """Settings of Muon."""
    weight_decay: Timeline = Timeline.constant(0.1)
    """Decoupled weight decay of matrices; gains are never decayed."""
    z_loss: Timeline = Timeline.constant(0.0)
    """Coefficient of the mean squared log-partition added to the loss (PaLM, arXiv 2204.02311)."""
    document_masking: bool = False
    """Keep the documents in a sequence apart: positions restart with each, attention stops at their borders, and
    the first token of a document is no target of the one before it."""
    rope_theta: Timeline | None = None
    """Base of the rotary positions over tokens, in place of `model.rope_theta`; a checkpoint is evaluated and
    exported with the base that its last step was trained with."""
    gradient_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    guard: Guard = Guard()
    """What happens to steps whose loss or gradient is not finite, or whose loss spikes."""

    @model_validator(mode="before")
    @classmethod
    def _resolve_percentages(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "tokens" not in value:
            return value
        value = {
            key: [{"at": 0, "kind": item}] if key == "optimizer" and isinstance(item, str) else item
            for key, item in value.items()
        }
        try:
            total = parse_tokens(value["tokens"])
        except ValueError:
            return value  # told by the field itself, under its own name
        return {key: _resolve(item, total) for key, item in value.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, timeline, least in (
            ("sequence_length", self.sequence_length, 2),
            ("batch_size", self.batch_size, 1),
        ):
            if not timeline.is_stepwise:
                raise ValueError(f"`{name}` changes by steps only; a knot of it has another shape")
            for knot in timeline.knots:
                if knot.value != int(knot.value) or knot.value < least:
                    raise ValueError(f"`{name}` is {knot.value:g} at {knot.at:,} tokens; expected a whole "
                                     f"number of at least {least}")  # fmt: skip
        rates = {f"role_learning_rate.{role}": rate for role, rate in self.role_learning_rate.items()}
        rates |= {
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "z_loss": self.z_loss,
        }
        for name, timeline in rates.items():
            for knot in timeline.knots:
                if knot.value < 0:
                    raise ValueError(f"`{name}` is {knot.value:g} at {knot.at:,} tokens; expected 0 or more")
        for knot in self.rope_theta.knots if self.rope_theta else ():
            if knot.value <= 0:
                raise ValueError(
                    f"`rope_theta` is {knot.value:g} at {knot.at:,} tokens; expected more than 0"
                )
        for name in ("mixture", "optimizer"):
            positions = [knot.at for knot in getattr(self, name)]
            if not positions or positions[0] != 0 or positions != sorted(set(positions)):
                raise ValueError(f"the knots of `{name}` must start at 0 and go up; found {positions}")
        names = [set(knot.weights) for knot in self.mixture]
        for knot, found in zip(self.mixture, names, strict=True):
            if found != names[0]:
                odd = sorted(found ^ names[0])
                raise ValueError(
                    f"the mixture at {knot.at:,} tokens and the one at 0 name different sources: {odd}"
                )
        return self

    @property
    def first_step_tokens(self) -> int:
        """Tokens of the run's first step."""
        return int(self.batch_size.knots[0].value * self.sequence_length.knots[0].value)

    def mixture_timelines(self) -> dict[str, Timeline]:
        """The weight of each source as a timeline, normalised to add up to 1 at every knot."""
        return {
            name: Timeline.model_validate(
                [
                    {
                        "at": knot.at,
                        "value": knot.weights[name] / (1 + knot.excess),
                        **({"shape": knot.shape} if index else {}),
                    }
                    for index, knot in enumerate(self.mixture)
                ]
            )
            for name in self.mixture[0].weights
        }


def _resolve(value: Any, total: int, key: str = "") -> Any:
    """Percentages at places where a clock stands become tokens; a schedule without an end ends with the run."""
    if isinstance(value, dict):
        if key == "wsd" and "end" not in value:
            value = {**value, "end": total}
        return {k: _resolve(v, total, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(item, total, key) for item in value]
    if key in ("at", "warmup", "decay_start", "end", "half_life"):
        percent = parse_percent(value)
        if percent is not None:
            return round(percent * total)
    return value
