"""Checkpoints on their way to the disk: copied in a moment, written while training goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import replace
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from flyweight.base import ToldByAnother, UserError, atomic_folder
from flyweight.events import CheckpointSaved
from flyweight.inference import layout
from flyweight.model import Decoder
from flyweight.training.averaging import WeightAverage
from flyweight.training.optimizers import OptimizerByRole
from flyweight.training.parallel import Ranks
from flyweight.training.precision import Float8Layers

Files = dict[str, dict[str, Tensor]]
"""Tensors in host memory by the name of their file, then by their own."""


def tensors_to_save(
    decoder: Decoder,
    optimizer: OptimizerByRole,
    float8: Float8Layers,
    average: WeightAverage,
    ranks: Ranks,
    *,
    copy: bool,
) -> Files:
    """All tensors of a checkpoint in host memory; of several ranks, those that this one writes.

    Args:
        decoder: its weights.
        optimizer: its state.
        float8: its scaling.
        average: of its weights, if one is kept.
        ranks: all processes of the run.
        copy: also of what lies in host memory already: training may then go on.
    """
    files = {
        layout.MODEL_FILE: decoder.state_dict(),
        layout.OPTIMIZER_FILE: optimizer.state_tensors(),
        layout.FLOAT8_FILE: float8.state_tensors(),
        layout.AVERAGE_FILE: average.state_tensors(),
    }
    if ranks.alone:
        return {
            file: {name: value.detach().to("cpu", copy=copy).contiguous() for name, value in tensors.items()}
            for file, tensors in files.items()
        }
    from flyweight.training.parallel.storage import in_host_memory, shared_out

    owners, mesh = shared_out(files, ranks.world_size), ranks.mesh("cpu")
    return {
        file: {
            name: in_host_memory(value, mesh, copy)
            for name, value in tensors.items()
            if owners.get((file, name), ranks.rank) == ranks.rank
        }
        for file, tensors in files.items()
    }


def write_together(path: Path, files: Files, ranks: Ranks, add_rest: Callable[[Path], None]) -> None:
    """Write the checkpoint `path` from all ranks; what `add_rest` puts beside the tensors, on rank 0, makes it whole.

    Raises:
        UserError: the disk is full or the place cannot be written, on any rank.
    """
    from flyweight.training.parallel.storage import save_together

    group = ranks.writing_group
    assert group is not None

    def told_by_main(value: str | None) -> str | None:
        box = [value]
        dist.broadcast_object_list(box, src=0, group=group)
        return box[0]

    if not ranks.main:
        folder = told_by_main(None)
        if folder is not None:
            with contextlib.suppress(Exception):  # rank 0 meets it too, and says what it means
                save_together(Path(folder), files, group)
        problem = told_by_main(None)
        if problem is not None:
            raise ToldByAnother(problem)
        return
    error: Exception | None = None
    announced = False
    try:
        with atomic_folder(path) as folder:
            told_by_main(str(folder))
            announced = True
            save_together(folder, files, group)
            add_rest(folder)
    except Exception as found:
        error = found
    if not announced:
        told_by_main(None)
    told_by_main(None if error is None else str(error))
    if error is not None:
        raise error


class Saver:
    """At most one checkpoint on its way to the disk.

    Args:
        emit: tells of it once it is whole; called on the thread of training.
    """

    def __init__(self, emit: Callable[[CheckpointSaved], None]):
        self._emit = emit
        self._writing: Future[float] | None = None
        self._event: CheckpointSaved | None = None
        self._held = 0.0

    def start(self, write: Callable[[], None], event: CheckpointSaved, begin: float) -> None:
        """Let `write` write a checkpoint in the background.

        Args:
            write: raises what keeps the checkpoint from being whole.
            event: without its times.
            begin: when training stopped for it, by `time.perf_counter`.
        """
        assert self._writing is None, "the checkpoint before is not finished"

        writing: Future[float] = Future()

        def run() -> None:
            try:
                write()
                writing.set_result(time.perf_counter() - begin)
            except BaseException as error:
                writing.set_exception(error)

        # A daemon, since it may wait for a rank that is gone.
        threading.Thread(target=run, name="checkpoint", daemon=True).start()
        self._writing, self._event = writing, event
        self._held = time.perf_counter() - begin

    @property
    def done(self) -> bool:
        """Whether there is one that is whole, or has failed."""
        return self._writing is not None and self._writing.done()

    @property
    def failed(self) -> bool:
        """Whether it could not be written; `finish` raises why."""
        return self._writing is not None and self._writing.done() and self._writing.exception() is not None

    def finish(self) -> None:
        """Wait for the one that is on its way, if there is one, and tell of it.

        Raises:
            UserError: the disk is full, or the place cannot be written; earlier checkpoints are intact.
        """
        if self._writing is None or self._event is None:
            return
        begin = time.perf_counter()
        writing, event = self._writing, self._event
        wait([writing])
        self._writing = self._event = None
        seconds = writing.result()
        held = min(seconds, self._held + time.perf_counter() - begin)
        self._emit(replace(event, seconds=seconds, held_seconds=held))

    def close(self, lost: bool = False) -> None:
        """Wait for what is on its way; where the run ends for another reason, that reason is the one to tell.

        Where another rank is `lost`, nobody waits: this one has to end for the others to hear of it.
        """
        if lost:
            return
        with contextlib.suppress(UserError, RuntimeError):
            self.finish()
