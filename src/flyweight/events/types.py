"""The events that a run emits. Clocks count tokens seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    kind: ClassVar[str]


@dataclass(frozen=True)
class RunStarted(Event):
    """An attempt begins, from nothing (`resumed_from` None) or at a clock."""

    kind: ClassVar[str] = "run_started"
    name: str
    recipe_hash: str
    resumed_from: int | None
    steps: int
    tokens: int
    parameters: int
    plan: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class StageEntered(Event):
    """Batch, sequence length or optimizer differ from the step before."""

    kind: ClassVar[str] = "stage_entered"
    step: int
    clock: int
    batch_size: int
    sequence_length: int
    optimizer: str


@dataclass(frozen=True)
class StepDone(Event):
    """A line of the log: the mean over the steps since the line before. `clock` is the clock after them;
    `realised` the run's sequences by source so far. Records of earlier versions lack the fields with defaults."""

    kind: ClassVar[str] = "step"
    step: int
    clock: int
    loss: float
    z_loss: float
    grad_norm: float
    learning_rate: float
    weight_decay: float
    z_loss_coefficient: float
    batch_size: int
    sequence_length: int
    seconds: float
    """Of these steps; validations and checkpoints left out."""
    tokens_per_second: float
    share_of_peak: float | None
    """Model FLOPs utilisation against the plan's `peak_flops`."""
    realised: dict[str, int] = field(default_factory=dict)
    data_seconds: float = 0.0
    """Of `seconds`, waited for batches; of several processes, by the one that waited longest."""
    joules: float | None = None
    """Used in `seconds`; None where nothing measures it."""
    rope_theta: float | None = None
    """Where a timeline moves it."""


@dataclass(frozen=True)
class Validated(Event):
    """Bits per byte and nats per token on held-out text, by source; `full`: the run's last one, on
    all of it unless the recipe says otherwise."""

    kind: ClassVar[str] = "validated"
    step: int
    clock: int
    bits_per_byte: dict[str, float]
    loss: dict[str, float]
    full: bool
    seconds: float


@dataclass(frozen=True)
class Evaluated(Event):
    """Scores on tasks, on a part of their items, by the task's name."""

    kind: ClassVar[str] = "evaluated"
    step: int
    clock: int
    scores: dict[str, float]
    errors: dict[str, float | None]
    metrics: dict[str, str]
    chance: dict[str, float | None]
    items: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class CheckpointSaved(Event):
    """A checkpoint lies, whole, at `path` (relative to the run's folder).

    `seconds` passed until then; for `held_seconds` of them training waited.
    """

    kind: ClassVar[str] = "checkpoint_saved"
    step: int
    clock: int
    path: str
    milestone: bool
    seconds: float
    held_seconds: float = 0.0


@dataclass(frozen=True)
class LossSpike(Event):
    """A step was taken although its loss is `deviation` robust standard deviations above those before."""

    kind: ClassVar[str] = "loss_spike"
    step: int
    clock: int
    loss: float
    deviation: float


@dataclass(frozen=True)
class StepSkipped(Event):
    """The step at this clock left the weights alone; its data, places first ... end-1 of the order, is passed over."""

    kind: ClassVar[str] = "step_skipped"
    step: int
    clock: int
    reason: str
    loss: float
    grad_norm: float
    first: int
    end: int
    in_a_row: int


@dataclass(frozen=True)
class RolledBack(Event):
    """The run went back to `clock` from `failed_at`; places first ... end-1 of the order are passed over."""

    kind: ClassVar[str] = "rolled_back"
    step: int
    clock: int
    failed_at: int
    reason: str
    first: int
    end: int
    rollbacks: int
    """Times in a row without getting past where it failed."""
    seconds: float
    """Writing checkpoints is not part of it."""


@dataclass(frozen=True)
class Sampled(Event):
    """Text that the model wrote at this clock."""

    kind: ClassVar[str] = "sampled"
    clock: int
    prompt: str
    text: str


@dataclass(frozen=True)
class Notice(Event):
    """Something the user should know, said once."""

    kind: ClassVar[str] = "notice"
    message: str


@dataclass(frozen=True)
class RunFinished(Event):
    """An attempt ends; `reason` is `finished`, `interrupted` or `failed: ...`. All figures are of this attempt."""

    kind: ClassVar[str] = "run_finished"
    step: int
    clock: int
    reason: str
    seconds: float
    training_seconds: float | None = None
    """In steps, also those that were undone; None in records of earlier versions."""
    data_seconds: float = 0.0
    """Of those, waited for batches."""
    checkpoint_seconds: float = 0.0
    """In which training stood still for them."""
    validation_seconds: float = 0.0
    recovery_seconds: float = 0.0
    """Going back to checkpoints; writing them is not part of it."""
    tokens: int = 0
    """Trained on in `training_seconds`."""
    share_of_peak: float | None = None
    """Model FLOPs utilisation over `training_seconds`."""
    joules: float | None = None
    """From beginning to end; None where nothing measures it."""
    energy_from: str = ""
    """What measured them."""
