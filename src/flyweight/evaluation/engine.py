"""Runs tasks on a model and writes down what came out, and how."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import flyweight
from flyweight.base import UserError, write_json
from flyweight.evaluation.tasks.arithmark import run_arithmark, run_arithmark_gen
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel, read_checkpoint_recipe

RESULTS_FORMAT = 1
RESULTS_FILE = "results.json"

TASKS: dict[str, Callable[[TaskInput], dict[str, Any]]] = {
    "arithmark": run_arithmark,
    "arithmark-gen": run_arithmark_gen,
}
"""The tasks by name."""


def recipe_tasks(checkpoint: str | Path) -> tuple[str, ...]:
    """The tasks that a checkpoint's recipe names; for a Hugging Face folder, those that need no files."""
    try:
        return read_checkpoint_recipe(checkpoint).evaluation.tasks
    except UserError:
        return ("arithmark-gen",)


def evaluate(
    model: LanguageModel,
    tasks: Sequence[str],
    data: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    *,
    output: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Measure `model` on `tasks`; what comes back is ready for JSON.

    Args:
        model: what is measured.
        tasks: names out of `TASKS`.
        limit: at most this many items of each subset (UID, number of operands).
        seed: seed of tasks that generate their items.
        output: folder into which results.json is written, rewritten after each task, beside the
            generated items.
        progress: called with a task's name and the share of it that is done.

    Raises:
        UserError: an unknown task, or files of a task that are missing or broken. Tasks that were
            finished before are in `output` all the same.
    """
    for name in tasks:
        if name not in TASKS:
            raise UserError(f"there is no task {name!r}; the tasks are {', '.join(TASKS)}.")
    if limit is not None and limit < 1:
        raise UserError(f"the limit is {limit}; expected 1 item or more, or none to take all.")
    results: dict[str, Any] = {
        "format": RESULTS_FORMAT,
        "model": model.name,
        "max_length": model.max_length,
        "device": model.device.type,
        "precision": model.precision,
        "seed": seed,
        "limit": limit,
        "versions": {"flyweight": flyweight.__version__, "torch": str(torch.__version__)},
        "tasks": {},
    }
    for name in tasks:
        report = None if progress is None else _named(progress, name)
        started = time.perf_counter()
        measured = TASKS[name](TaskInput(model, data, limit, seed, output, report))
        results["tasks"][name] = {**measured, "seconds": round(time.perf_counter() - started, 3)}
        if output is not None:
            write_json(output / RESULTS_FILE, results)
    return results


def _named(progress: Callable[[str, float], None], name: str) -> Callable[[float], None]:
    return lambda share: progress(name, share)
