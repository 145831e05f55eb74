"""Several runs side by side: the number by which each task is quoted, in every run that has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from flyweight.base import UserError
from flyweight.evaluation.comparison import is_lower_better
from flyweight.evaluation.engine import quoted_metric
from flyweight.evaluation.render import compact_table
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.runs import Run
from flyweight.evaluation.statistics import mean


@dataclass(frozen=True)
class Line:
    """One metric of one task in all runs."""

    task: str
    metric: str
    values: tuple[Metric | None, ...]
    """One a run; None where it was not measured."""
    chance: float | None
    same_data: bool
    """Whether all runs that have it were measured on the same items."""

    @property
    def counts(self) -> bool:
        """Whether it goes into an average: a share that every run has, of the same items."""
        return self.is_share and self.same_data and None not in self.values

    @property
    def is_share(self) -> bool:
        """Whether the values are shares of 1 of which more is better."""
        return not is_lower_better(self.metric)

    @property
    def best(self) -> float | None:
        """The best of several values; None where there is only one."""
        known = [value.value for value in self.values if value is not None]
        return (max if self.is_share else min)(known) if len(known) > 1 else None


@dataclass(frozen=True)
class Across:
    """What several runs came to."""

    names: tuple[str, ...]
    """Of the runs; each once."""
    lines: tuple[Line, ...]
    runs: tuple[Run, ...]

    @property
    def averages(self) -> tuple[float, ...] | None:
        """Of each run, over the lines that count; None where these are fewer than two."""
        whole = [
            [value.value for value in line.values if value is not None] for line in self.lines if line.counts
        ]
        return tuple(mean(column) for column in zip(*whole, strict=True)) if len(whole) > 1 else None

    @property
    def common(self) -> int:
        """The tasks that `averages` are over."""
        return sum(line.counts for line in self.lines)

    @property
    def shares(self) -> list[tuple[str, str]]:
        """Task and metric of those lines that an axis in percent can hold."""
        return [(line.task, line.metric) for line in self.lines if line.is_share]

    @property
    def by_name(self) -> dict[str, dict[str, TaskResult]]:
        """The runs' results by the names they have here."""
        return {name: run.tasks for name, run in zip(self.names, self.runs, strict=True)}

    def notes(self) -> list[str]:
        """Tasks whose values cannot be held against each other, and why."""
        found = []
        for line in self.lines:
            task, counts = line.task, {value.n for value in line.values if value is not None}
            if not line.same_data:
                found.append(f"{task}: measured on different data; these values cannot be compared")
            elif len(counts) > 1:
                found.append(
                    f"{task}: measured on different numbers of items ({', '.join(map(str, sorted(counts)))})"
                )
        return found

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "runs": list(self.names),
            "tasks": [
                {
                    "task": line.task,
                    "metric": line.metric,
                    "chance": line.chance,
                    "values": [None if value is None else value._asdict() for value in line.values],
                }
                for line in self.lines
            ],
            "averages": self.averages,
            "notes": self.notes(),
        }


def across(runs: Sequence[Run]) -> Across:
    """The quoted metric of every task that one of the runs has, in the order of first mention.

    Raises:
        UserError: no run, or none with a finished task.
    """
    if not any(run.tasks for run in runs):
        raise UserError("these results hold no finished task.")
    tasks: dict[str, TaskResult] = {}
    for run in runs:
        for task, result in run.tasks.items():
            tasks.setdefault(task, result)
    lines = []
    for task, result in tasks.items():
        metric = quoted_metric(task, result)
        values = tuple(run.tasks[task].metrics.get(metric) if task in run.tasks else None for run in runs)
        prints = {run.tasks[task].data.get("fingerprint") for run in runs if task in run.tasks}
        lines.append(Line(task, metric, values, result.chance, len(prints) == 1))
    return Across(_names(runs), tuple(lines), tuple(runs))


def _names(runs: Sequence[Run]) -> tuple[str, ...]:
    """The runs' names, numbered where two are called the same."""
    often = Counter(run.name for run in runs)
    seen: Counter[str] = Counter()
    names = []
    for run in runs:
        seen[run.name] += 1
        names.append(run.name if often[run.name] == 1 else f"{run.name} ({seen[run.name]})")
    return tuple(names)


def render_across(found: Across) -> Table:
    """A row a task, a column a run; the best value of a row in bold."""
    table = compact_table("task", "chance", *found.names)
    table.caption, table.caption_justify = (
        "Percent, ± standard error, unless the metric says otherwise.",
        "left",
    )
    for line in found.lines:
        chance = "" if line.chance is None else f"{line.chance:.0%}"
        table.add_row(f"{line.task} {line.metric}", chance, *(_cell(line, value) for value in line.values))
    if found.averages is not None:
        table.add_section()
        table.add_row(f"average of {found.common}", "", *(f"{100 * value:.1f}" for value in found.averages))
    return table


def _cell(line: Line, value: Metric | None) -> str:
    if value is None:
        return ""
    scale, digits = (100, ".1f") if line.is_share else (1, ".4g")
    text = f"{scale * value.value:{digits}}"
    text += "" if value.stderr is None else f" ± {scale * value.stderr:{digits}}"
    return f"[bold]{text}[/]" if value.value == line.best else text
