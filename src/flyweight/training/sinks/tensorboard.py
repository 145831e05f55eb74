"""TensorBoard files, over tokens instead of steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.events import Event, RolledBack, Sampled, StepDone, Validated

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def tensorboard_sink(run: Path, clock: int = 0) -> TensorBoard | None:
    """A writer into RUN/tensorboard that hides what an earlier attempt wrote past `clock`.

    None where the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return TensorBoard(SummaryWriter(str(run / "tensorboard"), purge_step=clock + 1))


class TensorBoard:
    """Scalars of every logged step and validation; the x axis counts tokens."""

    def __init__(self, writer: SummaryWriter):
        self._writer = writer

    def handle(self, event: Event) -> None:
        """See `Sink`."""
        if isinstance(event, StepDone):
            total = sum(event.realised.values()) or 1
            scalars = {
                "train/loss": event.loss,
                "train/z_loss": event.z_loss,
                "train/grad_norm": event.grad_norm,
                "train/learning_rate": event.learning_rate,
                "train/weight_decay": event.weight_decay,
                "train/rope_theta": event.rope_theta,
                "train/batch_size": event.batch_size,
                "train/sequence_length": event.sequence_length,
                "speed/tokens_per_second": event.tokens_per_second,
                "speed/share_of_peak": event.share_of_peak,
                **{f"mixture/{name}": count / total for name, count in event.realised.items()},
            }
            for name, value in scalars.items():
                if value is not None:
                    self._writer.add_scalar(name, value, event.clock)
        elif isinstance(event, Validated):
            for name, value in event.bits_per_byte.items():
                self._writer.add_scalar(f"bits_per_byte/{name}", value, event.clock)
            for name, value in event.loss.items():
                self._writer.add_scalar(f"held_out_loss/{name}", value, event.clock)
        elif isinstance(event, RolledBack):  # a new writer hides what came after that clock
            self._writer.close()
            self._writer = type(self._writer)(self._writer.log_dir, purge_step=event.clock + 1)
        elif isinstance(event, Sampled):
            self._writer.add_text("sample", event.text, event.clock)

    def close(self) -> None:
        """See `Sink`."""
        self._writer.close()
