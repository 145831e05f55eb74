"""Plain lines, for logs and pipes."""

from __future__ import annotations

from flyweight.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Notice,
    RunFinished,
    RunStarted,
    StageEntered,
    StepDone,
    Validated,
)
from flyweight.recipe import format_tokens
from flyweight.training.sinks.progress import Progress, duration, fault_line, one_line, waiting_for_data


class PlainLines:
    """One line an event."""

    def __init__(self) -> None:
        self._progress = Progress()

    def handle(self, event: Event) -> None:
        """See `Sink`."""
        self._progress.take(event)
        line = self._line(event)
        if line:
            print(line, flush=True)

    def _line(self, event: Event) -> str | None:
        if isinstance(event, RunStarted):
            where = "from the start" if event.resumed_from is None else f"from {event.resumed_from:,} tokens"
            plan = event.plan
            return (
                f"{event.name}: {format_tokens(event.parameters)} parameters, {event.tokens:,} tokens in "
                f"{event.steps:,} steps, {where}; {plan['hardware']}, {plan['precision']}"
            )
        if isinstance(event, StageEntered):
            return (
                f"stage from step {event.step:,}: {event.batch_size} x {event.sequence_length} tokens a step, "
                f"{event.optimizer}"
            )
        if isinstance(event, StepDone):
            peak = "" if event.share_of_peak is None else f" ({event.share_of_peak:.0%} of peak)"
            waiting = waiting_for_data(event)
            return (
                f"step {event.step:>6,}  {self._progress.share:6.1%}  loss {event.loss:.4f}  "
                f"lr {event.learning_rate:.2e}  grad {event.grad_norm:.2f}  "
                f"{event.tokens_per_second:,.0f} tokens/s{peak}{waiting}  {duration(self._progress.seconds_left)} left"
            )
        if isinstance(event, Validated):
            return f"bits per byte at {event.clock:,} tokens: {one_line(event.bits_per_byte)}"
        if isinstance(event, Evaluated):
            scores = {
                task: f"{score:.1%}" if score <= 1 else f"{score:.4g}" for task, score in event.scores.items()
            }
            return f"tasks at {event.clock:,} tokens: " + "  ".join(
                f"{task} {score}" for task, score in scores.items()
            )
        if isinstance(event, CheckpointSaved):
            return f"saved {event.path}" + (" (milestone)" if event.milestone else "")
        if isinstance(event, Notice):
            return f"note: {event.message}"
        if isinstance(event, RunFinished):
            return f"{event.reason} at {event.clock:,} tokens after {duration(event.seconds)}"
        return fault_line(event)

    def close(self) -> None:
        """See `Sink`."""
