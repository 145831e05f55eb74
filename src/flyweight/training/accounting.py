"""What training took: time, arithmetic and energy, for a line of the log and for an attempt as a whole.

Time in steps (waiting for data is part of it), in validations, in checkpoints and in going back to them are kept
apart; what an attempt spent beyond them is its beginning and its end. Energy is what a meter counted, or nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from flyweight.events import RunFinished, StepDone
from flyweight.model import Role
from flyweight.training.energy import EnergyMeter
from flyweight.training.parallel.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from flyweight.training.loop import Trainer


@dataclass
class Window:
    """What happened since the last log line; tensors stay on the device until it is written."""

    meter: EnergyMeter | None
    since: float
    joules_since: float | None
    cross_entropy: list[torch.Tensor] = field(default_factory=list)
    z: list[torch.Tensor] = field(default_factory=list)
    grad_norm: list[torch.Tensor] = field(default_factory=list)
    targets: int = 0
    """Scored: what losses are means over."""
    positions: int = 0
    """What the clock counts."""
    flops: float = 0.0
    data_seconds: float = 0.0
    """Waited for batches."""

    @classmethod
    def new(cls, meter: EnergyMeter | None = None) -> Window:
        """Nothing yet; its time begins now."""
        return cls(meter, time.perf_counter(), _joules(meter))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time and the energy of what is done within, which is no training."""
        seconds, joules = time.perf_counter(), _joules(self.meter)
        try:
            yield
        finally:
            self.since += time.perf_counter() - seconds
            passed = _passed(joules, _joules(self.meter))
            if self.joules_since is not None:
                self.joules_since = None if passed is None else self.joules_since + passed

    @property
    def seconds(self) -> float:
        """Since the last line; the device may still be at work on them."""
        return time.perf_counter() - self.since

    @property
    def joules(self) -> float | None:
        """Used in training since the last line; None where nothing is measured."""
        return _passed(self.joules_since, _joules(self.meter))


@dataclass
class Accounts:
    """What an attempt at a run has spent so far.

    Args:
        peak_flops: operations a second by which utilisation is reckoned; 0 where it is not known.
        meter: of this rank's energy, where there is one.
        ranks: all processes of the run.
    """

    peak_flops: float
    meter: EnergyMeter | None = None
    ranks: Ranks = ALONE
    training_seconds: float = 0.0
    """In steps; waiting for data is part of it."""
    data_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    validation_seconds: float = 0.0
    recovery_seconds: float = 0.0
    """Going back to checkpoints; writing them is not part of it."""
    tokens: int = 0
    flops: float = 0.0

    def add(self, window: Window, seconds: float) -> None:
        """Count what happened since the last line, which took `seconds`."""
        self.training_seconds += seconds
        self.data_seconds += window.data_seconds
        self.tokens += window.positions
        self.flops += window.flops

    def joules(self, own: float | None) -> float | None:
        """What all ranks used, from what this one did; None where any of them measures nothing."""
        missing = self.ranks.total(float(own is None))
        used = self.ranks.total(own or 0.0)
        return None if missing else used

    def share_of_peak(self, flops: float, seconds: float) -> float | None:
        """Model FLOPs utilisation: the model's own arithmetic over what the device could have done."""
        return flops / seconds / self.peak_flops if self.peak_flops and seconds else None

    def finished(
        self, step: int, clock: int, reason: str, seconds: float, *, together: bool = True
    ) -> RunFinished:
        """The last event of an attempt that took `seconds`; `together`: all ranks are here to be asked."""
        own = _joules(self.meter)
        joules = self.joules(own) if together else own if self.ranks.alone else None
        return RunFinished(
            step=step,
            clock=clock,
            reason=reason,
            seconds=seconds,
            training_seconds=self.training_seconds,
            data_seconds=self.data_seconds,
            checkpoint_seconds=self.checkpoint_seconds,
            validation_seconds=self.validation_seconds,
            recovery_seconds=self.recovery_seconds,
            tokens=self.tokens,
            share_of_peak=self.share_of_peak(self.flops, self.training_seconds),
            joules=joules,
            energy_from=self.meter.source if self.meter else "",
        )


def _passed(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else end - begin


def _joules(meter: EnergyMeter | None) -> float | None:
    return None if meter is None else meter.joules()


def step_done(trainer: Trainer) -> StepDone:
    """The line of the log about the steps since the last one: means over them."""
    training, window = trainer.recipe.training, trainer.window
    loss = float(torch.stack(window.cross_entropy).sum()) / window.targets
    seconds = window.seconds  # after the line above, which waits for the device
    # The others wait for that rank's gradients.
    window.data_seconds = trainer.ranks.largest(window.data_seconds)
    end = trainer.step
    step = trainer.schedule.step(end.step - 1)  # the last of them
    return StepDone(
        step=end.step,
        clock=end.clock,
        loss=loss,
        z_loss=float(torch.stack(window.z).sum()) / window.targets,
        grad_norm=float(torch.stack(window.grad_norm).mean()),
        learning_rate=trainer.optimizer.rates(step.middle)[Role.HIDDEN],
        weight_decay=training.weight_decay.at(step.clock),
        z_loss_coefficient=training.z_loss.at(step.clock),
        rope_theta=training.rope_theta.at(step.clock) if training.rope_theta else None,
        batch_size=step.batch_size,
        sequence_length=step.sequence_length,
        seconds=seconds,
        tokens_per_second=window.positions / seconds,
        share_of_peak=trainer.accounts.share_of_peak(window.flops, seconds),
        realised=trainer.order.realised(end.sequence),
        data_seconds=window.data_seconds,
        joules=trainer.accounts.joules(window.joules),
    )
