"""What evaluation measured: bits per byte and tasks, as figures and tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from flyweight.evaluation import quoted_metric
from flyweight.evaluation.comparison import is_lower_better
from flyweight.evaluation.figures import Z
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.plots import Interval, bars, dots
from flyweight.report.figures import MANY_LINES, svg
from flyweight.report.markup import Html, beside, folded, grid, h, table
from flyweight.report.names import labelled, palette_of, short
from flyweight.report.results import Measurement, bits_per_byte_rows, bits_rows, measurements
from flyweight.report.run import RunRecord

MANY_ROWS = 12
"""A group with more rows than this is folded away."""

MANY_DOTS = 20
"""Tasks in one figure."""


def results_of(run: RunRecord) -> list[Html]:
    """Everything that was measured on a run's model."""
    rows = measurements(run.results)
    tasks = {task: list(group) for task, group in itertools.groupby(rows, key=lambda row: row.task)}
    main = quoted(run.results)
    summary = [_measurement_row(row, named=True) for row in main.values()]
    shown = (
        _measurement_table(summary, "Tasks, each by the metric that it is quoted by")
        if len(summary) > 1
        else Html()
    )
    first, *others = task_dots([run]) or [Html()]
    full = [_task_in_full(task, group, alone=len(main) == 1) for task, group in tasks.items()]
    if len(summary) > 2 * MANY_ROWS:
        shown = folded(f"{len(summary)} tasks in numbers", shown)
    return [
        bits_table(run),
        grid([drawn] if (drawn := bits_bars(run)) else []),
        beside(first, shown) if first and shown else first or shown,
        folded(f"More tasks ({len(main) - MANY_DOTS})", grid(others)),
        *(full if len(main) <= MANY_ROWS else [folded("Every metric and part of every task", *full)]),
    ]


def quoted(results: Mapping[str, Any]) -> dict[str, Measurement]:
    """By task, the whole task by the metric that tables quote."""
    found: dict[str, dict[str, Measurement]] = {}
    for row in measurements(results):
        if not row.part:
            found.setdefault(row.task, {})[row.metric] = row
    main = {}
    for task, rows in found.items():
        details = results["tasks"][task].get("details")
        result = TaskResult(
            {name: Metric(row.value, row.stderr, row.n or 0) for name, row in rows.items()},
            items={},
            details=details if isinstance(details, dict) else {},
        )
        name = quoted_metric(task, result)
        main[task] = rows.get(name) or next(iter(rows.values()))
    return main


def bits_table(run: RunRecord) -> Html:
    """Bits per byte by source, before and after training, and of compressors; folded where sources are many."""
    rows = bits_rows(run, run.clock if run.state == "finished" else None)
    sources = list(dict.fromkeys(source for row in rows.values() for source in row))
    if not sources:
        return Html()
    caption = "Bits per byte on held-out text; less is better"
    if len(sources) <= MANY_LINES:
        cells = [[label, *(_bits(row, source) for source in sources)] for label, row in rows.items()]
        return table(["", *sources], cells, caption)
    cells = [[source, *(_bits(row, source) for row in rows.values())] for source in sources]
    shown = table(["source", *rows], cells, caption)
    return shown if len(cells) <= MANY_ROWS else folded(f"Bits per byte of {len(cells)} sources", shown)


def _bits(row: Mapping[str, float], source: str) -> str:
    return f"{row[source]:.3f}" if source in row else ""


def bits_bars(run: RunRecord) -> Html:
    """Bits per byte after training beside the compressors', by source; nothing without a compressor."""
    rows = bits_per_byte_rows(run.results, run.bits_per_byte)
    rows.pop("before training", None)
    after = rows.get("after training")
    if after is None or len(rows) < 2 or len(after) > MANY_LINES:
        return Html()
    values = {label: [row.get(source) for source in after] for label, row in rows.items()}
    drawn = bars(
        list(after), values, title="Bits per byte beside compressors", x_label="bits per byte; less is better"
    )
    return svg(
        drawn, "Bits per byte after training and of compressors, by source; the table has the numbers."
    )


def task_dots(runs: Sequence[RunRecord]) -> list[Html]:
    """The shares that tasks are quoted by, with 95 percent intervals and chance, a dot a run."""
    by_run = {label: main for run, label in labelled(runs, "score") if (main := quoted(run.results))}
    tasks = list(dict.fromkeys(
        task for main in by_run.values() for task, row in main.items()
        if row.is_share and not is_lower_better(row.metric)
    ))  # fmt: skip
    pieces = [tasks[start : start + MANY_DOTS] for start in range(0, len(tasks), MANY_DOTS)]
    return [_dots_figure(piece, by_run, palette_of(runs)) for piece in pieces]


def _dots_figure(
    tasks: Sequence[str], by_run: Mapping[str, Mapping[str, Measurement]], palette: Mapping[str, str]
) -> Html:
    known = {task: next(main[task] for main in by_run.values() if task in main) for task in tasks}
    chances = [None if row.chance is None else 100 * row.chance for row in known.values()]
    drawn = dots(
        [short(f"{task} {row.metric}") for task, row in known.items()],
        {label: [_interval(main.get(task)) for task in tasks] for label, main in by_run.items()},
        marks=chances,
        mark_label="chance",
        title="Tasks",
        x_label="percent (95 % intervals)",
        palette=palette,
    )
    told = [
        f"{task} {row.metric}: " + ", ".join(
            " ".join(filter(None, [label if len(by_run) > 1 else "", main[task].text()]))
            for label, main in by_run.items() if task in main
        )
        for task, row in known.items()
    ]  # fmt: skip
    return svg(drawn, f"Tasks with 95 percent intervals. {'; '.join(told)}.")


def _interval(row: Measurement | None) -> Interval | None:
    if row is None or not row.is_share:
        return None
    reach = Z * (row.stderr or 0.0)
    return 100 * row.value, 100 * max(0.0, row.value - reach), 100 * min(1.0, row.value + reach)


def _task_in_full(task: str, rows: Sequence[Measurement], *, alone: bool) -> Html:
    """Every metric of a task and of its parts: open where it is the only task, else folded under its name."""
    tables = _task_tables(task, rows)
    if alone:
        return h("div", h("h3", task), tables)
    return folded(f"{task}: every metric and part", tables) if len(rows) > 1 else Html()


def _task_tables(task: str, rows: Sequence[Measurement]) -> list[Html]:
    """The whole task and its parts as one table; long groups folded away under it."""
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for row in rows:
        key = (*row.part[:-1], row.part[-1].split(" ")[0]) if row.grouped else ()
        groups.setdefault(key, []).append(row)
    short = [
        row for group in groups.values() if len(group) <= MANY_ROWS or not group[0].grouped for row in group
    ]
    order = {id(row): index for index, row in enumerate(rows)}
    short.sort(key=lambda row: order[id(row)])
    parts = [_measurement_table([_measurement_row(row) for row in short], name=task)] if short else []
    for key, group in groups.items():
        if group[0].grouped and len(group) > MANY_ROWS:
            summary = f"{' '.join([*key[:-1], 'by', key[-1]])} ({len(group)} rows)"
            shown = _measurement_table([_measurement_row(row) for row in group], name=f"{task} {summary}")
            parts.append(folded(summary, shown))
    return parts


_COLUMNS = ("", "metric", "value", "standard error", "chance", "items")


def _measurement_row(row: Measurement, *, named: bool = False) -> list[str]:
    label = row.task + (" (a part of the set)" if row.partial else "") if named else row.label
    items = "" if row.n is None else f"{row.n:,}"
    return [label, row.metric, row.text(), row.stderr_text(), row.chance_text(), items]


def _measurement_table(rows: Sequence[Sequence[str]], caption: str = "", *, name: str = "") -> Html:
    """The rows, without the columns in which nothing stands."""
    columns = [
        (head, cells) for head, cells in zip(_COLUMNS, zip(*rows, strict=True), strict=True) if any(cells)
    ]
    return table(
        [head for head, _ in columns], zip(*(cells for _, cells in columns), strict=True), caption, name=name
    )
