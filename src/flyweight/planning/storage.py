"""Bytes on disk: token shards, checkpoints, export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flyweight.corpus.shards import token_dtype
from flyweight.curriculum import Schedule
from flyweight.model import parameter_counts
from flyweight.recipe import Recipe
from flyweight.training.parameters import optimizer_values

FLOAT32 = 4


@dataclass(frozen=True)
class Disk:
    """Parts of the disk space in bytes."""

    shards: int
    """Token shards: of the corpus where its size is known, else of the tokens that the mixture draws."""
    checkpoints: int
    """All that are kept when the run ends, and one more while it is written."""
    export: int
    """Weights in float32."""
    token_bytes: int
    """Bytes of one token in a shard."""
    checkpoint_bytes: int
    """One checkpoint: weights, the larger optimizer state, the moving average if one is kept; float32."""
    checkpoints_kept: int
    """The newest ones and the milestones."""

    @property
    def total(self) -> int:
        """All parts together."""
        return self.shards + self.checkpoints + self.export


def disk_space(recipe: Recipe, schedule: Schedule, corpus_tokens: Mapping[str, int] | None) -> Disk:
    """The disk space of a run of `recipe`."""
    token_bytes = token_dtype(recipe.tokenizer.vocab_size).itemsize
    tokens = schedule.tokens if corpus_tokens is None else sum(corpus_tokens.values())
    weights = FLOAT32 * parameter_counts(recipe.model)["total"]
    kinds = {knot.kind for knot in recipe.training.optimizer}
    checkpoint = weights + FLOAT32 * max(optimizer_values(recipe, kind) for kind in kinds)
    if recipe.execution.ema_half_life:
        checkpoint += weights
    kept, saved = saved_checkpoints(recipe, schedule)
    return Disk(
        shards=token_bytes * tokens,
        checkpoints=checkpoint * min(saved, kept + 1),
        export=weights,
        token_bytes=token_bytes,
        checkpoint_bytes=checkpoint,
        checkpoints_kept=kept,
    )


def saved_checkpoints(recipe: Recipe, schedule: Schedule) -> tuple[int, int]:
    """Checkpoints that are kept, and checkpoints that are written, in a run without interruption."""
    execution, end = recipe.execution, schedule.tokens
    milestones = {schedule.first_step_from(clock) for clock in execution.milestones if 0 < clock < end} - {
        schedule.steps
    }
    every = execution.checkpoint_every
    ordinary = 1 + ((end - 1) // every if every else 0)
    return min(execution.keep_checkpoints, ordinary) + len(milestones), ordinary + len(milestones)
