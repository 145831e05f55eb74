"""What to do about a step that went wrong, decided from its numbers alone.

A step whose loss or gradient is not finite must not reach the weights. One whose loss is far above the
losses before it may be the first of a divergence, or only an odd batch: the recipe says what follows
(`training.guard`). Everything here is a pure function of the numbers that it was told and of its state,
which lies in every checkpoint: a run that goes on decides as one that was never interrupted.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from flyweight.recipe import Guard as Settings

_NORMAL = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""

_LEAST_SPREAD = 1e-3
"""Of the median: losses that hardly differ do not make every small rise a spike."""


@dataclass
class GuardState:
    """What the guard remembers of a run."""

    losses: list[float] = field(default_factory=list)
    """Of the last steps that were taken in this stage, oldest first, nats per target."""
    stage: list[int] = field(default_factory=list)
    """Which stage that is; another one starts with an empty window."""
    spiking: bool = False
    """Whether the step before was a spike: one warning is enough for several in a row."""
    in_a_row: int = 0
    """Steps skipped since the last one that was taken."""
    rollbacks: int = 0
    """Times that the run went back since it last got past where it failed."""
    failed_at: int = 0
    """The highest clock at which it failed since then."""
    back_to: int = 0
    """The clock that it last went back to."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a step, and why."""

    action: Literal["take", "warn", "skip", "roll back"]
    reason: str = ""
    deviation: float = 0.0

    @property
    def taken(self) -> bool:
        """Whether the step changes the weights."""
        return self.action in ("take", "warn")


def deviation(loss: float, losses: Sequence[float]) -> float:
    """The robust z-score of `loss`: its distance above the median of `losses` over 1.4826 times their median
    absolute deviation, which is taken to be at least a thousandth of the median.
    """
    median = statistics.median(losses)
    spread = _NORMAL * statistics.median(abs(value - median) for value in losses)
    return (loss - median) / max(spread, _LEAST_SPREAD * abs(median), 1e-12)


class Guard:
    """Judges every step of a run before its update.

    Args:
        settings: the recipe's `training.guard`.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self.state = GuardState()

    def judge(self, loss: float, grad_norm: float, stage: Sequence[int]) -> Verdict:
        """Decide about a step.

        Args:
            loss: mean over the step's targets.
            grad_norm: of the whole gradient, before clipping.
            stage: names the stage (segment, optimizer, mixture); the losses of another one do not compare.
        """
        state, settings = self.state, self._settings
        if list(stage) != state.stage:
            state.stage, state.losses, state.spiking = list(stage), [], False
        for what, value in (("loss", loss), ("gradient's norm", grad_norm)):
            if not math.isfinite(value):
                return self._skip(f"the {what} is {value}")
        verdict = self._spike(loss)
        if not verdict.taken:
            return verdict
        state.in_a_row = 0
        state.losses = [*state.losses, loss][-settings.spike_window :]
        return verdict

    def _spike(self, loss: float) -> Verdict:
        state, settings = self.state, self._settings
        if settings.spike == "ignore" or 2 * len(state.losses) < settings.spike_window:
            return Verdict("take")
        score = deviation(loss, state.losses)
        before, state.spiking = state.spiking, score > settings.spike_threshold
        if not state.spiking:
            return Verdict("take")
        reason = f"the loss is {loss:.4g}, {score:.1f} robust standard deviations above those before"
        if settings.spike == "warn":
            return Verdict("take" if before else "warn", reason, score)
        return self._skip(reason, score) if settings.spike == "skip" else Verdict("roll back", reason, score)

    def _skip(self, reason: str, score: float = 0.0) -> Verdict:
        self.state.in_a_row += 1
        if self.state.in_a_row < self._settings.rollback_after:
            return Verdict("skip", reason, score)
        times = self.state.in_a_row
        return Verdict("roll back", f"{reason}, the {_ordinal(times)} step in a row that is skipped", score)

    def took(self, clock: int) -> None:
        """A step was taken and the clock is now this; far enough past the last failure, all is forgiven."""
        state = self.state
        if state.rollbacks and clock > 2 * state.failed_at - state.back_to:
            state.rollbacks = 0

    @property
    def gives_up(self) -> bool:
        """Whether the run has gone back as often as it may without getting past where it failed."""
        return self.state.rollbacks >= self._settings.most_rollbacks

    def rolled_back(self, failed_at: int, back_to: int, then: dict[str, Any]) -> None:
        """The run went back; its window is again what it was `then`, the count of returns goes on."""
        before = self.state
        self.restore(then)
        self.state.in_a_row = 0
        self.state.rollbacks = before.rollbacks + 1
        self.state.failed_at = max(failed_at, before.failed_at if before.rollbacks else 0)
        self.state.back_to = back_to

    def to_dict(self) -> dict[str, Any]:
        """The state, for JSON."""
        return asdict(self.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `to_dict` gave; nothing is a fresh state."""
        self.state = GuardState(**state)


def _ordinal(number: int) -> str:
    suffix = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
