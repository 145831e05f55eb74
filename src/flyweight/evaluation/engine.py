"""Runs tasks on a model and writes down what came out, and how."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flyweight
from flyweight.base import UserError, read_json, write_json
from flyweight.evaluation.agents import AGENT_TASKS
from flyweight.evaluation.agents import missing as why_no_agent
from flyweight.evaluation.harness.catalogue import BENCHMARKS
from flyweight.evaluation.harness.loading import check_known
from flyweight.evaluation.harness.local_data import LocalData
from flyweight.evaluation.harness.run import run_benchmark
from flyweight.evaluation.results import RESULTS_FILE, RESULTS_FORMAT, TaskResult
from flyweight.evaluation.suites import task_key
from flyweight.evaluation.tasks.arithmark import missing_arithmark, run_arithmark, run_arithmark_gen
from flyweight.evaluation.tasks.logicmark import missing_logicmark, run_logicmark, run_logicmark_gen
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel, read_checkpoint_recipe

OWN_TASKS: dict[str, Callable[[TaskInput], TaskResult]] = {
    "arithmark": run_arithmark,
    "arithmark-gen": run_arithmark_gen,
    "logicmark": run_logicmark,
    "logicmark-gen": run_logicmark_gen,
    **AGENT_TASKS,
}
"""The tasks that are not lm-eval's, by name."""


_FILES_OF_OWN: dict[str, Callable[[Path], str | None]] = {
    "arithmark": missing_arithmark,
    "logicmark": missing_logicmark,
}
"""Those that read published files: why a folder has none of them."""


@dataclass(frozen=True)
class Wanted:
    """A task that is to be run."""

    task: str
    """In `OWN_TASKS` or `BENCHMARKS`, or any other task of lm-eval."""
    shots: int | None = None
    """Examples in the prompt; None takes the task's own number."""

    @property
    def key(self) -> str:
        """How results name it."""
        return task_key(self.task, self.shots)


@dataclass(frozen=True)
class Settings:
    """What holds for all tasks of a run."""

    data: Path | None = None
    """Folder with local files; then nothing is fetched."""
    limit: int | None = None
    """At most this many items of each subset."""
    seed: int = 0
    """Seed of tasks that generate their items."""
    schema: Path | None = None
    """File that says what the fields of LogicMark's data are called."""
    unsafe_code: bool = False
    """Run programs that the model wrote without a sandbox where there is none."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UserError(f"the limit is {self.limit}; expected 1 item or more, or none to take all.")


def parse_tasks(text: str) -> list[Wanted]:
    """The tasks of `hellaswag,gsm8k@8`: names with commas between, each with its number of examples if wanted.

    Raises:
        UserError: an empty name, a number that is none, a task twice.
    """
    wanted = []
    for name in (part.strip() for part in text.split(",")):
        task, at, shots = name.partition("@")
        if not task or (at and not shots.isdecimal()):
            raise UserError(f"task {name!r}: expected NAME or NAME@EXAMPLES, such as hellaswag or gsm8k@8.")
        wanted.append(Wanted(task, int(shots) if at else None))
    keys = [one.key for one in wanted]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"task {key!r} is asked for twice.")
    return wanted


def recipe_tasks(checkpoint: str | Path) -> list[Wanted]:
    """The tasks that a checkpoint's recipe names; for a Hugging Face folder, those that need no files."""
    try:
        names = read_checkpoint_recipe(checkpoint).evaluation.tasks
    except UserError:
        names = ("arithmark-gen",)
    return parse_tasks(",".join(names))


def missing_data(wanted: Wanted, settings: Settings) -> str | None:
    """Why a task cannot be run with these settings, as far as its files say so beforehand; None if it can."""
    benchmark = BENCHMARKS.get(wanted.task)
    if wanted.task in AGENT_TASKS:
        return why_no_agent(wanted.task, settings.data)
    if settings.data is None:
        return None
    if wanted.task in OWN_TASKS:
        needs = _FILES_OF_OWN.get(wanted.task)
        why = needs(settings.data) if needs is not None and settings.schema is None else None
        return why and f"{wanted.task}: {why}"
    if benchmark is None:
        return f"{wanted.task}: only the hub has its data; leave out --data, or leave out this task."
    return LocalData(wanted.task, benchmark, settings.data).missing(wanted.shots)


def check_runnable(
    tasks: Sequence[Wanted], settings: Settings, *, skip_missing: bool = False
) -> dict[str, str]:
    """Why some of the tasks cannot be run, by their keys, as far as that is known beforehand.

    Raises:
        UserError: a task that nobody knows, or lm-eval's where that is not installed; without `skip_missing` also
            data that are missing.
    """
    for one in tasks:
        if one.task not in OWN_TASKS:
            check_known(one.task, OWN_TASKS)
    missing = {one.key: reason for one in tasks if (reason := missing_data(one, settings)) is not None}
    if missing and not skip_missing:
        raise UserError(" ".join(missing.values()))
    return missing


def evaluate(
    model: LanguageModel,
    tasks: Sequence[Wanted],
    settings: Settings | None = None,
    *,
    output: Path | None = None,
    skip_missing: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> dict[str, Any]:
    """Measure `model` on `tasks`; what comes back is ready for JSON.

    Args:
        model: what is measured.
        tasks: what on.
        settings: of the run.
        output: folder into which results.json is written, rewritten after each task, beside generated items.
            Tasks that an earlier run with the same model and settings has finished there are kept.
        skip_missing: note tasks whose data are not there under `missing` and run the others.
        progress: called with a task's name and the share of it that is done.

    Raises:
        UserError: a task that nobody knows, data that are missing (before anything runs), or an output folder
            of another model or other settings. What goes wrong within a task is noted under `failed`, and
            the others run.
    """
    settings = settings or Settings()
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"{output}: this is a file; name a folder for the results.")
    missing = check_runnable(tasks, settings, skip_missing=skip_missing)
    results = _begin(model, settings)
    if output is not None:
        results |= _finished(output, results)
    earlier = {key: why for key, why in results.get("missing", {}).items() if key not in results["tasks"]}
    results["missing"], results["failed"] = earlier | missing, {}
    for one in tasks:
        if one.key in missing or one.key in results["tasks"]:
            continue
        report = None if progress is None else _named(progress, one.key)
        data = TaskInput(
            model,
            settings.data,
            settings.limit,
            settings.seed,
            output,
            report,
            offline=settings.data is not None,
            schema=settings.schema,
        )
        started = time.perf_counter()
        try:
            measured = _run(one, data, settings)
        except UserError as error:
            results["failed"][one.key] = str(error)
        else:
            seconds = round(time.perf_counter() - started, 3)
            results["tasks"][one.key] = {"task": one.task, "seconds": seconds, **measured.to_json()}
        if output is not None:
            write_json(output / RESULTS_FILE, results)
    return results


def _run(one: Wanted, data: TaskInput, settings: Settings) -> TaskResult:
    own = OWN_TASKS.get(one.task)
    if own is None:
        return run_benchmark(one.task, data, one.shots, unsafe_code=settings.unsafe_code)
    if one.shots is not None:
        raise UserError(f"{one.key}: this task has no examples in its prompt; write {one.task!r}.")
    return own(data)


def _begin(model: LanguageModel, settings: Settings) -> dict[str, Any]:
    return {
        "format": RESULTS_FORMAT,
        "model": {
            "name": model.name,
            "fingerprint": model.fingerprint,
            "tokenizer": model.tokenizer.fingerprint,
            "max_length": model.max_length,
            "device": model.device.type,
            "precision": model.precision,
        },
        "settings": {
            "limit": settings.limit,
            "seed": settings.seed,
            "data": str(settings.data.expanduser().resolve()) if settings.data else "hub",
            "schema": str(settings.schema.expanduser().resolve()) if settings.schema else None,
        },
        "versions": {"flyweight": flyweight.__version__, "python": platform.python_version(), **_versions()},
        "tasks": {},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in ("torch", "transformers", "tokenizers", "lm-eval"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


_KEPT = ("tasks", "calibration", "context_law", "missing")
_PART = {"model": "model", "settings": "setting", "versions": "version"}


def _finished(output: Path, begun: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier run has finished in `output`: its tasks, and what was measured besides them.

    Raises:
        UserError: they are of another model, or were made with other settings.
    """
    file = output / RESULTS_FILE
    if not file.exists():
        return {}
    earlier = read_json(file, "results")
    if not isinstance(earlier, dict) or earlier.get("format") != RESULTS_FORMAT:
        raise UserError(f"{file}: these results have another format; choose another folder with --out.")
    for part, keys in (("model", begun["model"]), ("settings", begun["settings"]), ("versions", ["lm-eval"])):
        for key in keys:
            value, found = begun[part].get(key), earlier.get(part, {}).get(key)
            if found != value and key != "name":
                raise UserError(
                    f"{file}: the results there are of another {_PART[part]}: {key} is {found!r} there and {value!r} "
                    f"here; choose another folder with --out."
                )
    return {key: earlier[key] for key in _KEPT if key in earlier}


def quoted_metric(key: str, result: TaskResult) -> str:
    """The metric by which tables quote a task, under the key that results name it by."""
    benchmark = BENCHMARKS.get(key.partition("@")[0])
    if benchmark is not None and benchmark.metric in result.metrics:
        return benchmark.metric
    return str(result.details.get("main_metric", next(iter(result.metrics))))


def task_results(results: Mapping[str, Any]) -> dict[str, TaskResult]:
    """The results by task, as objects."""
    return {key: TaskResult.from_json(task) for key, task in results["tasks"].items()}


def _named(progress: Callable[[str, float], None], name: str) -> Callable[[float], None]:
    return lambda share: progress(name, share)
