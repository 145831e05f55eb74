"""The results of finished evaluations, read back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from flyweight.base import UserError, read_json
from flyweight.evaluation.results import RESULTS_FILE, RESULTS_FORMAT, TaskResult


@dataclass(frozen=True)
class Run:
    """The results of one model."""

    name: str
    fingerprint: str
    """Of the model; empty where it was not written down."""
    tasks: dict[str, TaskResult]
    versions: dict[str, str] = field(default_factory=dict)


def read_run(path: str | Path) -> Run:
    """The results at `path`, a results.json or the folder that it lies in.

    Raises:
        UserError: no results there, of another format, or without items.
    """
    file = Path(path).expanduser()
    file = file / RESULTS_FILE if file.is_dir() else file
    data = read_json(file, "results of an evaluation")
    found = data.get("format") if isinstance(data, dict) else None
    if found != RESULTS_FORMAT:
        newer = isinstance(found, int) and found > RESULTS_FORMAT
        raise UserError(
            f"{file}: these results have format {found!r}; expected {RESULTS_FORMAT}. "
            + (
                "Use a newer Flyweight."
                if newer
                else "Run the evaluation again: older results keep no items."
            )
        )
    try:
        model = data["model"]
        tasks = {name: TaskResult.from_json(task) for name, task in data["tasks"].items()}
        for name, task in tasks.items():
            for metric, found in task.metrics.items():
                if not isinstance(found.value, int | float):
                    raise TypeError(f"{name} {metric} is {found.value!r}, no number")
        return Run(
            str(model["name"]), str(model.get("fingerprint") or ""), tasks, dict(data.get("versions", {}))
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file}: these results are damaged ({type(error).__name__}: {error}); run the evaluation again."
        ) from None
