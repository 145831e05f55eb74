"""Tasks that a run measures on its way, on a part of their items: curves of what the model can do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight.base import UserError
from flyweight.evaluation import Settings, Wanted, evaluate, parse_tasks, quoted_metric
from flyweight.evaluation.engine import check_runnable, task_results
from flyweight.events import Evaluated, Notice, read_events
from flyweight.inference import DecoderModel
from flyweight.recipe import Benchmarks, Recipe
from flyweight.training.interrupt import Interruption
from flyweight.training.validation import evaluated

if TYPE_CHECKING:
    from flyweight.training.loop import Trainer


def check_benchmarks(recipe: Recipe) -> None:
    """Whether the tasks that the recipe wants measured can be, before anything is trained.

    Raises:
        UserError: a task that nobody knows, or whose data are not there.
    """
    wanted = recipe.evaluation.benchmarks
    if wanted.tasks:
        check_runnable(_tasks(wanted), _settings(wanted, recipe))


def measure_due_benchmarks(trainer: Trainer, interruption: Interruption) -> None:
    """Measure the recipe's tasks if it asks for them at this clock and they are not on record yet."""
    if not _are_due(trainer) or interruption.requested:
        return
    run, clock = trainer.run, trainer.step.clock
    if trainer.ranks.from_main(lambda: _has_benchmarks(run, clock)):
        return
    with interruption.breaking_off():  # the attempt that goes on from here makes up for it
        try:
            measure_benchmarks(trainer)
        except Exception as error:  # a task's code is not ours: days of training are not lost to it
            trainer.sinks.emit(Notice(f"tasks were not measured: {type(error).__name__}: {error}"))


def _are_due(trainer: Trainer) -> bool:
    """Every so many tokens, and at the end."""
    wanted = trainer.recipe.evaluation.benchmarks
    if not wanted.tasks or not trainer.step.step:
        return False
    return trainer.finished or trainer.passes(wanted.every)


def measure_benchmarks(trainer: Trainer) -> None:
    """Measure the recipe's tasks and put the scores on record.

    What cannot be measured is noted, and training goes on.
    """
    begin = time.perf_counter()
    wanted = trainer.recipe.evaluation.benchmarks
    settings = _settings(wanted, trainer.recipe)
    with trainer.objective.gathered(), evaluated(trainer.decoder):  # every rank measures: they stay in step
        model = DecoderModel(
            trainer.decoder,
            trainer.corpus.tokenizer,
            trainer.plan.precision,
            max_length=trainer.step.sequence_length,
        )
        found = evaluate(model, _tasks(wanted), settings)
    results = task_results(found)
    quoted = {key: quoted_metric(key, result) for key, result in results.items()}
    metrics = {key: results[key].metrics[name] for key, name in quoted.items()}
    seconds = time.perf_counter() - begin
    trainer.sinks.emit(
        Evaluated(
            step=trainer.step.step,
            clock=trainer.step.clock,
            scores={key: metric.value for key, metric in metrics.items()},
            errors={key: metric.stderr for key, metric in metrics.items()},
            metrics=quoted,
            chance={key: result.chance for key, result in results.items()},
            items={key: metric.n for key, metric in metrics.items()},
            seconds=seconds,
        )
    )
    for reason in found["failed"].values():
        trainer.sinks.emit(Notice(f"a task was not measured: {reason}"))
    trainer.accounts.validation_seconds += seconds


def _has_benchmarks(run: Path, clock: int) -> bool:
    """Whether a run has its tasks at `clock` on record."""
    return any(event["kind"] == "evaluated" and event["clock"] == clock for event in read_events(run))


def _tasks(wanted: Benchmarks) -> list[Wanted]:
    return parse_tasks(",".join(wanted.tasks))


def _settings(wanted: Benchmarks, recipe: Recipe) -> Settings:
    data: Any = None if wanted.data is None else Path(wanted.data)
    if data is not None and not data.is_dir():
        raise UserError(f"evaluation.benchmarks.data: {data} is not a folder with the files of benchmarks.")
    return Settings(data, wanted.items, recipe.seed)
