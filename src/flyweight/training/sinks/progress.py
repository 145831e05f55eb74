"""What the terminal views know about a run: gathered from its events."""

from __future__ import annotations

from dataclasses import dataclass, field

from flyweight.events import (
    Event,
    LossSpike,
    RolledBack,
    RunStarted,
    StageEntered,
    StepDone,
    StepSkipped,
    Validated,
)

_SMOOTHING = 0.8


@dataclass
class Progress:
    """The state of a run as its events have told it so far."""

    started: RunStarted | None = None
    stage: StageEntered | None = None
    last: StepDone | None = None
    validated: Validated | None = None
    losses: list[float] = field(default_factory=list)
    speed: float = 0.0
    """Tokens a second, smoothed over log lines."""
    skipped: int = 0
    """Steps whose data was passed over."""
    rollbacks: int = 0
    """Times that the run went back to a checkpoint."""

    def take(self, event: Event) -> None:
        """Take one event in."""
        if isinstance(event, RunStarted):
            self.started = event
        elif isinstance(event, StageEntered):
            self.stage = event
        elif isinstance(event, Validated):
            self.validated = event
        elif isinstance(event, StepDone):
            self.speed = (
                _SMOOTHING * self.speed + (1 - _SMOOTHING) * event.tokens_per_second
                if self.speed
                else event.tokens_per_second
            )
            self.losses.append(event.loss)
            self.last = event
        elif isinstance(event, StepSkipped):
            self.skipped += 1
        elif isinstance(event, RolledBack):
            self.rollbacks += 1

    @property
    def clock(self) -> int:
        """Tokens seen."""
        if self.last is not None:
            return self.last.clock
        return (self.started.resumed_from or 0) if self.started else 0

    @property
    def share(self) -> float:
        """Of the run's tokens, how much is done, 0 to 1."""
        return self.clock / self.started.tokens if self.started else 0.0

    @property
    def seconds_left(self) -> float | None:
        """At the present speed."""
        if self.started is None or not self.speed:
            return None
        return max(0, self.started.tokens - self.clock) / self.speed


def duration(seconds: float | None) -> str:
    """`3 d 4 h`, `2 h 05 min`, `4 min 10 s`, `12 s`."""
    if seconds is None:
        return "?"
    seconds = round(seconds)
    minutes, hours = seconds // 60, seconds // 3600
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {seconds % 60:02d} s" if minutes else f"{seconds} s"


def waiting_for_data(event: StepDone) -> str:
    """The share of the time that training waited for batches; nothing where it is too small to matter."""
    share = event.data_seconds / event.seconds if event.seconds else 0.0
    return f", {share:.0%} waiting for data" if share >= 0.01 else ""


def fault_line(event: Event) -> str | None:
    """What a view says about a step that went wrong; None for every other event."""
    if isinstance(event, LossSpike):
        return (
            f"loss spike at {event.clock:,} tokens: {event.loss:.4f}, {event.deviation:.1f} robust standard "
            f"deviations above the steps before"
        )
    if isinstance(event, StepSkipped):
        return (
            f"step {event.step + 1:,} skipped at {event.clock:,} tokens: {event.reason}; sequences {event.first:,} to "
            f"{event.end - 1:,} of the order are passed over"
        )
    if isinstance(event, RolledBack):
        return (
            f"back from {event.failed_at:,} to {event.clock:,} tokens: {event.reason}; sequences {event.first:,} to "
            f"{event.end - 1:,} of the order are passed over"
        )
    return None


def one_line(values: dict[str, float], digits: int = 3) -> str:
    """`english 1.234  python 0.987`."""
    return "  ".join(f"{name} {value:.{digits}f}" for name, value in values.items())
