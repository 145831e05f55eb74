"""An attempt at a run: from recipe, corpus and folder to the end of training, or to a clean stop."""

from __future__ import annotations

import contextlib
import platform
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers

from flyweight import __version__
from flyweight.corpus import OpenCorpus
from flyweight.curriculum import Schedule
from flyweight.events import EventWriter, Notice, RunStarted, read_events
from flyweight.inference import list_checkpoints
from flyweight.model import export_in_words, parameter_counts
from flyweight.recipe import Recipe, identity_hash
from flyweight.training.benchmarks import check_benchmarks, measure_due_benchmarks
from flyweight.training.checkpoint import is_saved
from flyweight.training.energy import energy_metered
from flyweight.training.folder import Start, locked_run, open_run
from flyweight.training.interrupt import Interruption
from flyweight.training.loop import Trainer
from flyweight.training.parallel import Ranks, is_loss, join_ranks
from flyweight.training.plan import apply_plan, frozen_plan, spread_plan, with_muon_methods
from flyweight.training.save_run import save
from flyweight.training.sinks import Sink, Sinks, standard_sinks
from flyweight.training.validation import validate


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
    ranks: Ranks | None = None,
) -> RunResult:
    """Train `recipe` on `corpus` in the folder `run`; a folder that holds this run goes on where it stopped.

    SIGINT and SIGTERM end the attempt after the step in hand, with a checkpoint.

    Args:
        recipe: what to train.
        corpus: its token shards.
        run: the run's folder.
        start_from: RUN@TOKENS of another run to start from.
        stop_after: stop, with a checkpoint, once this clock is reached.
        sinks: where events go beside events.jsonl; the terminal and TensorBoard by default. Of several
            processes only rank 0 has any.
        ranks: all processes of the run, each of which calls this; those that torchrun started by default.

    Raises:
        UserError: the folder is another run's, the disk is full, a shard is gone, or the guard has gone back
            to a checkpoint as often as the recipe allows, or another process of the run has ended.
    """
    ranks = join_ranks() if ranks is None else ranks
    with ranks.surviving(run), _held(run, ranks), Interruption(ranks) as interruption:
        _attempt(recipe, corpus, run, start_from, stop_after, sinks, interruption, ranks)
        newest = ranks.from_main(lambda: list_checkpoints(run)[-1])
    finished = newest[0] == Schedule.of(recipe.training).tokens
    return RunResult(run, newest[1], newest[0], finished)


@contextlib.contextmanager
def _held(run: Path, ranks: Ranks) -> Iterator[None]:
    """The run's folder, locked by rank 0 for all of them."""
    with contextlib.ExitStack() as stack:
        ranks.from_main(lambda: stack.enter_context(locked_run(run)))
        yield


def _attempt(
    recipe: Recipe,
    corpus: OpenCorpus,
    run: Path,
    start_from: str | None,
    stop_after: int | None,
    sinks: Sequence[Sink] | None,
    interruption: Interruption,
    ranks: Ranks,
) -> None:
    ranks.from_main(lambda: check_benchmarks(recipe))
    start = ranks.from_main(lambda: open_run(run, recipe, corpus, start_from))
    plan, changes = ranks.from_main(lambda: frozen_plan(run, recipe, corpus))
    apply_plan(plan)
    plan = ranks.from_main(lambda: with_muon_methods(run, plan, recipe))
    plan, reasons = spread_plan(plan, recipe, ranks)
    changes += reasons
    with (
        _sinks(recipe, run, start, sinks, ranks) as out,
        energy_metered(torch.device(plan.device), first=ranks.local_rank == 0) as meter,
    ):
        begin = time.perf_counter()
        trainer = Trainer(recipe, corpus, run, plan, start, out, ranks, meter)
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
        loaded_as = (
            f"an export of this model loads as {export_in_words(recipe.model, recipe.parametrization)}"
        )
        for note in (*recipe.notes, loaded_as, *changes):
            out.emit(Notice(note))
        reason, lost, together = "failed", False, False
        try:
            clock = trainer.step.clock
            due = trainer.validation_is_due and not trainer.finished
            missed = ranks.from_main(lambda: due and not _has_validation(run, clock))
            if start.state is None or start.from_other_run or missed:
                with interruption.breaking_off():
                    validate(trainer)
            measure_due_benchmarks(trainer, interruption)
            trainer.train(interruption, stop_after)
            trainer.saver.finish()
            if not ranks.from_main(lambda: is_saved(run, trainer.step.clock)):
                save(trainer)
            measured = interruption.requested or ranks.from_main(
                lambda: _has_validation(run, trainer.step.clock, full=True)
            )
            if trainer.finished and not measured:
                with (
                    interruption.breaking_off()
                ):  # the run is finished and saved; the next attempt measures it
                    validate(trainer, full=True)
            measure_due_benchmarks(trainer, interruption)
            reason = "finished" if trainer.finished else "interrupted"
            together = True
        except Exception as error:
            reason, lost = f"failed: {type(error).__name__}: {error}", not ranks.alone and is_loss(error)
            raise
        finally:
            trainer.saver.close(lost)
            seconds = time.perf_counter() - begin
            step = trainer.step
            out.emit(trainer.accounts.finished(step.step, step.clock, reason, seconds, together=together))


def _sinks(recipe: Recipe, run: Path, start: Start, given: Sequence[Sink] | None, ranks: Ranks) -> Sinks:
    """Where events go; those of other ranks than the first go nowhere."""
    if not ranks.main:
        return Sinks(None, [])
    clock = start.state.clock if start.state else 0
    views = standard_sinks(recipe, run, clock) if given is None else given
    return Sinks(EventWriter(run, uuid.uuid4().hex[:8]), views)


def _has_validation(run: Path, clock: int, full: bool = False) -> bool:
    return any(
        event["kind"] == "validated" and event["full"] >= full and event["clock"] == clock
        for event in read_events(run)
    )


def versions() -> dict[str, str]:
    """What a run's numbers depend on."""
    return {
        "flyweight": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
