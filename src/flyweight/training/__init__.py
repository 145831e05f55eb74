"""The one training loop, and what it needs: objective, optimizers, checkpoints, sinks."""

from flyweight.training.objective import Loss, training_loss
from flyweight.training.optimizers import OptimizerByRole
from flyweight.training.plan import ExecutionPlan
from flyweight.training.recovery import Diverged
from flyweight.training.run import RunResult, train, versions
from flyweight.training.sinks import Sink, Sinks
from flyweight.training.speed import measured_speed

__all__ = [
    "Diverged",
    "ExecutionPlan",
    "Loss",
    "OptimizerByRole",
    "RunResult",
    "Sink",
    "Sinks",
    "measured_speed",
    "train",
    "training_loss",
    "versions",
]
