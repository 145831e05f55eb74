"""The one event stream of a run: what the loop says, and how the record is read back."""

from flyweight.events.record import EVENTS_FILE, EventWriter, read_events
from flyweight.events.spent import Spent, run_spent
from flyweight.events.types import (
    CheckpointSaved,
    Evaluated,
    Event,
    LossSpike,
    Notice,
    RolledBack,
    RunFinished,
    RunStarted,
    Sampled,
    StageEntered,
    StepDone,
    StepSkipped,
    Validated,
)

__all__ = [
    "EVENTS_FILE",
    "CheckpointSaved",
    "Evaluated",
    "Event",
    "EventWriter",
    "LossSpike",
    "Notice",
    "RolledBack",
    "RunFinished",
    "RunStarted",
    "Sampled",
    "Spent",
    "StageEntered",
    "StepDone",
    "StepSkipped",
    "Validated",
    "read_events",
    "run_spent",
]
