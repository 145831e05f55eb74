"""A run writes down where it stands."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flyweight.base import UserError
from flyweight.events import CheckpointSaved
from flyweight.training.checkpoint import State, checkpoint_path, prune_checkpoints, save_checkpoint
from flyweight.training.saving import tensors_to_save

if TYPE_CHECKING:
    from flyweight.training.loop import Trainer


def save(trainer: Trainer, milestone: bool = False, wait: bool = True) -> Path:
    """Write a checkpoint at the clock, then delete what is no longer to be kept; return its folder.

    Without `wait`, both happen in the background.
    """
    begin = time.perf_counter()
    trainer.saver.finish()
    if not trainer.is_sound():
        raise UserError(
            f"the weights are no longer finite at {trainer.step.clock:,} tokens, so they are not saved; earlier "
            f"checkpoints are kept."
        )
    state = State(
        clock=trainer.step.clock,
        step=trainer.step.step,
        sequence=trainer.step.sequence,
        optimizer=trainer.optimizer.kind,
        corpus=trainer.corpus.fingerprint,
        milestone=milestone,
        order=asdict(trainer.order.state(trainer.step.sequence)),
        guard=trainer.guard.to_dict(),
        rope_theta=trainer.decoder.rope_theta,
    )
    files = tensors_to_save(
        trainer.decoder, trainer.optimizer, trainer.float8, trainer.average, trainer.ranks, copy=not wait
    )

    def write() -> None:
        save_checkpoint(trainer.run, state, trainer.recipe, trainer.corpus.tokenizer, files, trainer.ranks)
        if trainer.ranks.main:
            prune_checkpoints(trainer.run, trainer.recipe.execution.keep_checkpoints)

    path = checkpoint_path(trainer.run, state.clock)
    event = CheckpointSaved(state.step, state.clock, str(path.relative_to(trainer.run)), milestone, 0.0)
    trainer.saver.start(write, event, begin)
    if wait:
        trainer.saver.finish()
    return path
