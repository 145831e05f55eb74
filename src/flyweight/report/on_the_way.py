"""Tasks that were measured during training: a figure a task, and the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flyweight.evaluation.comparison import is_lower_better
from flyweight.plots import curves
from flyweight.recipe import format_tokens
from flyweight.report.figures import described, end_of, over_clock, svg
from flyweight.report.markup import Html, folded, grid, h, table
from flyweight.report.names import labelled, palette_of, short
from flyweight.report.results import number
from flyweight.report.run import RunRecord

MANY_TASKS = 9
"""Figures beyond so many are folded away."""


@dataclass(frozen=True)
class TaskCurve:
    """One task in one run, by the clock."""

    values: Mapping[int, float]
    errors: Mapping[int, float | None]
    items: frozenset[int]
    metric: str
    chance: float | None

    @property
    def is_share(self) -> bool:
        """Whether it is shown in percent."""
        return not is_lower_better(self.metric) and all(0 <= value <= 1 for value in self.values.values())

    def text(self, clock: int) -> str:
        """The value at a clock with its standard error; nothing where it was not measured."""
        if clock not in self.values:
            return ""
        value, error = self.values[clock], self.errors.get(clock)
        if self.is_share:
            return f"{value:.1%}" + (f" ± {error:.1%}" if error is not None else "")
        return f"{value:.4g}" + (f" ± {error:.2g}" if error is not None else "")


def task_curves(run: RunRecord) -> dict[str, TaskCurve]:
    """By task, what was measured during training; what is not a number is left out."""
    events = run.of("evaluated")
    found = {}
    for task in dict.fromkeys(name for event in events for name in event.get("scores", {})):
        scores = {event["clock"]: number(event["scores"].get(task)) for event in events}
        known = {clock: score for clock, score in scores.items() if score is not None}
        if known:
            found[task] = TaskCurve(
                known,
                {event["clock"]: number(_of(event, "errors", task)) for event in events},
                frozenset(n for event in events if isinstance(n := _of(event, "items", task), int)),
                str(_of(events[-1], "metrics", task) or "score"),
                number(_of(events[-1], "chance", task)),
            )
    return found


def _of(event: Mapping[str, Any], key: str, task: str) -> Any:
    values = event.get(key)
    return values.get(task) if isinstance(values, Mapping) else None


def on_the_way(runs: Sequence[RunRecord]) -> list[Html]:
    """A figure for each task with a line a run, bands of one standard error and chance; then the numbers."""
    by_run = [task_curves(run) for run in runs]
    tasks = list(dict.fromkeys(task for curve in by_run for task in curve))
    if not tasks:
        return []
    labels = [label for _, label in labelled(runs, "score")]
    named = dict(zip(labels, by_run, strict=True))
    drawn = [_task_figure(task, named, end_of(runs), palette_of(runs)) for task in tasks]
    first, rest = drawn[:MANY_TASKS], drawn[MANY_TASKS:]
    numbers = _by_clock(by_run[0]) if len(runs) == 1 else _side_by_side(by_run, labels)
    note = "Bands: one standard error to each side. Dotted: what guessing gives."
    return [
        h("p", note, class_="quiet"),
        grid(first),
        folded(f"{len(rest)} more tasks", grid(rest)),
        numbers,
    ]


def _task_figure(
    task: str, curves_of: Mapping[str, Mapping[str, TaskCurve]], end: float, palette: Mapping[str, str]
) -> Html:
    known = {label: found[task] for label, found in curves_of.items() if task in found}
    newest = next(iter(known.values()))
    share = all(curve.is_share for curve in known.values())
    factor = 100 if share else 1
    series = [
        over_clock(
            label,
            {clock: factor * value for clock, value in curve.values.items()},
            {clock: None if error is None else factor * error for clock, error in curve.errors.items()},
        )
        for label, curve in known.items()
    ]
    unit = f"{newest.metric}, percent" if share else newest.metric
    name = "chance" if len(known) > 1 else "_chance"  # a legend of one line would say nothing
    chance = [] if newest.chance is None else [(name, factor * newest.chance)]
    shown = curves(
        series,
        palette=palette,
        title=short(task),
        y_label=unit,
        end=end,
        reference=chance,
        floor=0 if share else None,
    )
    items = sorted({n for curve in known.values() for n in curve.items})
    caption = f"{' or '.join(f'{n:,}' for n in items)} items" if items else ""
    return svg(shown, described(f"{task}, {unit}", series), caption)


def _by_clock(curves_of: Mapping[str, TaskCurve]) -> Html:
    """Of one run: a row a clock, a column a task."""
    clocks = sorted({clock for curve in curves_of.values() for clock in curve.values})
    rows = [[format_tokens(clock), *(curve.text(clock) for curve in curves_of.values())] for clock in clocks]
    shown = table(["tokens", *curves_of], rows, name="Tasks during training, by tokens")
    return folded(f"The numbers ({len(rows)} times)", shown)


def _side_by_side(by_run: Sequence[Mapping[str, TaskCurve]], labels: Sequence[str]) -> Html:
    """Of several runs: a row a task, a column a run, at the last clock that all runs with this task have."""
    rows, shared = [], False
    for task in dict.fromkeys(task for found in by_run for task in found):
        known = [found[task] for found in by_run if task in found]
        common = set.intersection(*(set(curve.values) for curve in known))
        at = max(common) if common else None
        cells = [_newest(found.get(task), at) for found in by_run]
        shared |= len(known) > 1 and at is not None
        rows.append([task, known[0].metric, "" if at is None else format_tokens(at), *cells])
    if shared:
        return table(["task", "metric", "at tokens", *labels], rows, "Last measured at the same clock")
    return table(
        ["task", "metric", "at tokens", *labels],
        rows,
        "Newest measurements; these runs were never measured at the same clock",
    )


def _newest(curve: TaskCurve | None, at: int | None) -> str:
    """The value at a clock, or the newest one, which then says where it is from."""
    if curve is None:
        return ""
    if at is not None:
        return curve.text(at)
    newest = max(curve.values)
    return f"{curve.text(newest)} at {format_tokens(newest)}"
