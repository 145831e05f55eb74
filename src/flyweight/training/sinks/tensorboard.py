"""TensorBoard files, over tokens instead of steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.events import Event, RolledBack, Sampled
from flyweight.training.sinks.scalars import sample, scalars

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
        for name, value in scalars(event).items():
            self._writer.add_scalar(name, value, event.clock)  # type: ignore[attr-defined]
        if isinstance(event, RolledBack):  # a new writer hides what came after that clock
            self._writer.close()
            self._writer = type(self._writer)(self._writer.log_dir, purge_step=event.clock + 1)
        elif isinstance(event, Sampled):
            self._writer.add_text(*sample(event), event.clock)

    def close(self) -> None:
        """See `Sink`."""
        self._writer.close()
