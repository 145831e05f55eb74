"""A rehearsal: a real step of every stage of a recipe, a real save, a real export, and what the run will need.

What is measured is the machine at hand. Of each stage's global batch one micro-batch is computed, and the
optimizer's whole update; a step is then as many micro-batches as it has and one update. So the time of
training follows from measured parts, and what happens between steps (validation, reading from a cold disk) is
not in it.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from flyweight.base import UserError, explain_write_errors
from flyweight.corpus import OpenCorpus, prepare
from flyweight.corpus.manifest import FILE as MANIFEST_FILE
from flyweight.curriculum import Schedule
from flyweight.events import EventWriter
from flyweight.planning.plan import Plan, plan_recipe
from flyweight.planning.storage import saved_checkpoints
from flyweight.planning.trial import PeakMemory, Stage, random_corpus, rows, stages
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.release import export
from flyweight.training import ExecutionPlan, Sinks
from flyweight.training.folder import Start
from flyweight.training.loop import Trainer
from flyweight.training.plan import apply_plan, carried_out, resolve_plan
from flyweight.training.save_run import save
from flyweight.training.tiers import without_compiling

Progress = Callable[[str, float], None]

HARMLESS = 1e-3
"""Times the rates of the recipe: a step at the peak without the warm-up before it could break the weights."""

LONG = 10.0
"""Seconds of a micro-batch beyond which its first pass is timed: what is slower in it no longer matters."""


@dataclass(frozen=True)
class StageTrial:
    """What a stage of the run takes, from one micro-batch and one update of it."""

    first_step: int
    clock: int
    steps: int
    tokens: int
    batch_size: int
    sequence_length: int
    optimizer: str
    micro_batch: int
    """Sequences in one forward pass."""
    passes: int
    """Micro-batches in a step."""
    pass_seconds: float
    """Forward and backward of one micro-batch."""
    update_seconds: float
    """Clipping and the optimizer's step."""
    loss: float
    """Of that micro-batch, nats per token: a sign of life, not of quality."""

    @property
    def step_seconds(self) -> float:
        """Of a whole step."""
        return self.passes * self.pass_seconds + self.update_seconds

    @property
    def seconds(self) -> float:
        """Of all steps of the stage."""
        return self.steps * self.step_seconds


@dataclass(frozen=True)
class DryRun:
    """What a run will need, as measured, and the plan beside it."""

    stages: list[StageTrial]
    random_tokens: bool
    """The corpus is not prepared; the tokens were drawn at random."""
    memory_bytes: int
    """At its fullest, above what the process held before."""
    save_seconds: float
    """Of one checkpoint, the largest."""
    saves: int
    checkpoint_bytes: int
    """One checkpoint."""
    checkpoints_bytes: int
    """All that are kept when the run ends, and one more while it is written."""
    export_seconds: float
    """With loading it back in a fresh process."""
    export_bytes: int
    export_class: str
    hardware: str
    precision: str
    plan: Plan
    """For the same micro-batch and precision; its time at the peak that was measured here."""
    wall_seconds: float
    """Of the dry run itself."""

    @property
    def training_seconds(self) -> float:
        """All steps and saves of the run; validation comes on top."""
        return sum(stage.seconds for stage in self.stages) + self.saves * self.save_seconds

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "training_seconds": self.training_seconds}


def dry_run(
    recipe: Recipe, corpus: Path, where: Path | None = None, progress: Progress | None = None
) -> DryRun:
    """Rehearse `recipe` on this machine: a step of every stage, a save, an export; nothing of it is kept.

    Args:
        recipe: what is to be trained.
        corpus: the folder of its token shards; where there are none yet, tokens are drawn at random.
        where: the folder in which a temporary one is made: the disk that the run will write to. The present one
            when left out.
        progress: called with what is being done and the share that is done.

    Raises:
        UserError: the shards are another recipe's, a source is shorter than a sequence, no room on the disk, the
            device lacks the memory.
        ExportError: the loaded export differs from the checkpoint.
    """
    begin, report = time.monotonic(), progress or (lambda _what, _share: None)
    report("dry run", 0.0)
    plan = resolve_plan(without_compiling(recipe))
    apply_plan(plan)
    shards = prepare(recipe, corpus) if (corpus / MANIFEST_FILE).is_file() else None
    parent = where or Path.cwd()
    with explain_write_errors(parent), _temporary(parent) as folder:
        run = folder / "run"
        run.mkdir()
        tokens = shards or random_corpus(recipe, folder)
        with Sinks(EventWriter(run, "dry run"), []) as sinks, _explained_memory():
            rehearsal = _Rehearsal(recipe, tokens, run, plan, sinks, report)
            trials = rehearsal.steps()
        report("dry run", 0.8)
        exporting = time.monotonic()
        exported = export(run, folder / "export")
        export_seconds, export_bytes = time.monotonic() - exporting, _size(folder / "export")
    sizes = None if shards is None else {name: stream.tokens for name, stream in shards.train.items()}
    planned = plan_recipe(
        _as_rehearsed(recipe, plan), sizes, peak_flops=plan.peak_flops, carried=carried_out(plan, recipe)
    )
    kept, saves = saved_checkpoints(recipe, Schedule.of(recipe.training))
    report("dry run", 1.0)
    return DryRun(
        stages=trials,
        random_tokens=shards is None,
        memory_bytes=rehearsal.memory_bytes,
        save_seconds=rehearsal.save_seconds,
        saves=saves,
        checkpoint_bytes=rehearsal.checkpoint_bytes,
        checkpoints_bytes=rehearsal.checkpoint_bytes * min(saves, kept + 1),
        export_seconds=export_seconds,
        export_bytes=export_bytes,
        export_class=exported.model_class,
        hardware=plan.hardware,
        precision=plan.precision,
        plan=planned,
        wall_seconds=time.monotonic() - begin,
    )


class _Rehearsal:
    """The part of a dry run that trains."""

    def __init__(
        self,
        recipe: Recipe,
        corpus: OpenCorpus,
        run: Path,
        plan: ExecutionPlan,
        sinks: Sinks,
        report: Progress,
    ):
        self.recipe, self.corpus, self.plan, self.report = recipe, corpus, plan, report
        self._peak = PeakMemory(torch.device(plan.device))
        self.trainer = Trainer(recipe, corpus, run, plan, Start(None, None), sinks)
        self.memory_bytes = self.checkpoint_bytes = 0
        self.save_seconds = 0.0

    def steps(self) -> list[StageTrial]:
        """One step of every stage; a save after the first of each optimizer, the largest of which counts."""
        parts = stages(self.recipe, self.trainer.schedule)
        trials, seen = [], set()
        for index, stage in enumerate(parts):
            self.report("dry run", 0.05 + 0.7 * index / len(parts))
            trials.append(self._try(stage))
            if stage.optimizer not in seen:
                seen.add(stage.optimizer)
                self._save()
        return trials

    def _try(self, stage: Stage) -> StageTrial:
        trainer, step = self.trainer, stage.step
        trainer.step = step
        trainer.enter(step)
        micro_batch = self.plan.micro_batch_for(step.batch_size, step.sequence_length)
        batch = rows(self.corpus, step, micro_batch, self.recipe.training.document_masking)
        rates = {role: rate * HARMLESS for role, rate in trainer.optimizer.rates(step.middle).items()}
        decay = self.recipe.training.weight_decay.at(step.clock)
        loss = pass_seconds = update_seconds = 0.0
        for _ in range(2):  # the first pass and update allocate; the second are timed, where that is quick
            begin = time.perf_counter()
            cross_entropy, _ = trainer.gradients(batch, step, step.tokens)
            loss = float(cross_entropy) / max(1, batch.scored)  # waits for the device
            between = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(trainer.decoder.parameters(), self.recipe.training.gradient_clip)
            trainer.optimizer.step(rates, decay)
            trainer.average.took(step.tokens)
            _wait(trainer)
            pass_seconds, update_seconds = between - begin, time.perf_counter() - between
            if pass_seconds > LONG:
                break
        self.memory_bytes = max(self.memory_bytes, self._peak.bytes)
        return StageTrial(
            first_step=step.step,
            clock=step.clock,
            steps=stage.steps,
            tokens=stage.tokens,
            batch_size=step.batch_size,
            sequence_length=step.sequence_length,
            optimizer=stage.optimizer,
            micro_batch=micro_batch,
            passes=-(-step.batch_size // micro_batch),
            pass_seconds=pass_seconds,
            update_seconds=update_seconds,
            loss=loss,
        )

    def _save(self) -> None:
        trainer = self.trainer
        trainer.step = trainer.schedule.step(0)  # its place in the order is known without a walk
        begin = time.perf_counter()
        size = _size(save(trainer))
        if size >= self.checkpoint_bytes:
            self.checkpoint_bytes, self.save_seconds = size, time.perf_counter() - begin


def _wait(trainer: Trainer) -> None:
    """Until the device has done what it was given: a number is read from it."""
    next(trainer.decoder.parameters()).detach().flatten()[0].item()


def _as_rehearsed(recipe: Recipe, plan: ExecutionPlan) -> Recipe:
    """The recipe with what `auto` came to, so that the planner counts what was measured."""
    schedule = Schedule.of(recipe.training)
    sizes = [plan.micro_batch_for(s.batch_size, s.sequence_length) for s in schedule.segments]
    values = recipe.to_dict()
    values["execution"] |= {"micro_batch": max(sizes), "precision": plan.precision}
    return recipe_from_dict(values)


@contextlib.contextmanager
def _temporary(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".flyweight-dry-run-", dir=parent) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _explained_memory() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the device has too little memory for a step ({str(error).splitlines()[0]}); set a smaller "
            f"execution.micro_batch, or take a larger device."
        ) from None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
