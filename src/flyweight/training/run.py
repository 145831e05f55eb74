"""An attempt at a run: from recipe, corpus and folder to the end of training, or to a clean stop."""

from __future__ import annotations

import platform
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers

from flyweight import __version__
from flyweight.corpus import OpenCorpus
from flyweight.curriculum import Schedule
from flyweight.events import EventWriter, Notice, RunStarted, read_events
from flyweight.inference import list_checkpoints
from flyweight.model import parameter_counts
from flyweight.recipe import Recipe, identity_hash
from flyweight.training.energy import energy_metered
from flyweight.training.folder import locked_run, open_run
from flyweight.training.interrupt import Interruption
from flyweight.training.loop import Trainer
from flyweight.training.plan import apply_plan, frozen_plan, with_muon_methods
from flyweight.training.sinks import Sink, Sinks, standard_sinks


@dataclass(frozen=True)
class RunResult:
    """How an attempt ended."""

    run: Path
    checkpoint: Path
    clock: int
    finished: bool


def train(
    recipe: Recipe,
    corpus: OpenCorpus,
    run: Path,
    *,
    start_from: str | None = None,
    stop_after: int | None = None,
    sinks: Sequence[Sink] | None = None,
) -> RunResult:
    """Train `recipe` on `corpus` in the folder `run`; a folder that holds this run goes on where it stopped.

    SIGINT and SIGTERM end the attempt after the step in hand, with a checkpoint.

    Args:
        recipe: what to train.
        corpus: its token shards.
        run: the run's folder.
        start_from: RUN@TOKENS of another run to start from.
        stop_after: stop, with a checkpoint, once this clock is reached.
        sinks: where events go beside events.jsonl; the terminal and TensorBoard by default.

    Raises:
        UserError: the folder is another run's, the disk is full, a shard is gone, or the guard has gone back
            to a checkpoint as often as the recipe allows.
    """
    with locked_run(run), Interruption() as interruption:
        _attempt(recipe, corpus, run, start_from, stop_after, sinks, interruption)
        newest = list_checkpoints(run)[-1]
    finished = newest[0] == Schedule.of(recipe.training).tokens
    return RunResult(run, newest[1], newest[0], finished)


def _attempt(
    recipe: Recipe,
    corpus: OpenCorpus,
    run: Path,
    start_from: str | None,
    stop_after: int | None,
    sinks: Sequence[Sink] | None,
    interruption: Interruption,
) -> None:
    start = open_run(run, recipe, corpus, start_from)
    plan, changes = frozen_plan(run, recipe, corpus)
    apply_plan(plan)
    plan = with_muon_methods(run, plan, recipe)
    clock = start.state.clock if start.state else 0
    views = standard_sinks(recipe, run, clock) if sinks is None else sinks
    with (
        Sinks(EventWriter(run, uuid.uuid4().hex[:8]), views) as out,
        energy_metered(torch.device(plan.device)) as meter,
    ):
        begin = time.perf_counter()
        trainer = Trainer(recipe, corpus, run, plan, start, out, meter)
        out.emit(
            RunStarted(
                name=recipe.name,
                recipe_hash=identity_hash(recipe),
                resumed_from=start.state.clock if start.state else None,
                steps=trainer.schedule.steps,
                tokens=trainer.schedule.tokens,
                parameters=parameter_counts(recipe.model)["total"],
                plan=asdict(plan),
                versions=versions(),
            )
        )
        for note in (*recipe.notes, *changes):
            out.emit(Notice(note))
        reason = "failed"
        try:
            clock = trainer.step.clock
            missed = trainer.validation_is_due and not trainer.finished and not _has_validation(run, clock)
            if start.state is None or start.from_other_run or missed:
                with interruption.breaking_off():
                    trainer.validate()
            trainer.train(interruption, stop_after)
            if not _is_saved(run, trainer.step.clock):
                trainer.save()
            measured = interruption.requested or _has_validation(run, trainer.step.clock, full=True)
            if trainer.finished and not measured:
                with (
                    interruption.breaking_off()
                ):  # the run is finished and saved; the next attempt measures it
                    trainer.validate(full=True)
            reason = "finished" if trainer.finished else "interrupted"
        except Exception as error:
            reason = f"failed: {type(error).__name__}: {error}"
            raise
        finally:
            seconds = time.perf_counter() - begin
            out.emit(trainer.accounts.finished(trainer.step.step, trainer.step.clock, reason, seconds))


def _has_validation(run: Path, clock: int, full: bool = False) -> bool:
    return any(
        event["kind"] == "validated" and event["full"] >= full and event["clock"] == clock
        for event in read_events(run)
    )


def _is_saved(run: Path, clock: int) -> bool:
    return any(saved == clock for saved, _ in list_checkpoints(run))


def versions() -> dict[str, str]:
    """What a run's numbers depend on."""
    return {
        "flyweight": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
