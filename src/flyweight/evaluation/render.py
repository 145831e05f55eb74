"""Results as tables for people."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from flyweight.evaluation.comparison import is_lower_better
from flyweight.evaluation.engine import quoted_metric, task_results
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.suites import Suite, suite_row

_MANY = 12
"""Subsets beyond this number are left to results.json."""
_NUMBER = 5
"""Characters of a number in percent."""
_ERROR = "± error"
_WIDE = 8
"""A suite of more columns is printed on its side: 80 characters hold no more."""


def render_results(results: dict[str, Any]) -> Table:
    """A table of what `evaluate` returned: one row a metric, the one that tables quote in bold."""
    table = compact_table("task", "shots", "items", "metric", "value", "± error", "chance", "cut")
    table.title = results["model"]["name"]
    for key, result in task_results(results).items():
        quoted = quoted_metric(key, result)
        _add(table, key, result, result.metrics, quoted)
        for agent, metrics in result.details.get("baselines", {}).items():
            found = {quoted: Metric(**metrics[quoted])}
            _add(table, f"  {agent} agent", result, found, quoted, part=True)
        if len(result.subsets) <= _MANY:
            for subset, metrics in result.subsets.items():
                _add(table, f"  {subset}", result, metrics, quoted, part=True)
    return table


def compact_table(*titles: str) -> Table:
    """A table without lines between columns, numbers on the right: the first column holds names."""
    gap = 1 if len(titles) <= _WIDE else 0  # besides the one that the missing line leaves
    table = Table(*titles, box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), collapse_padding=True)
    table.columns[0].no_wrap = True  # a narrow terminal breaks headings, neither names nor numbers
    for column in table.columns[1:]:
        column.justify, column.overflow, column.min_width = "right", "fold", _NUMBER
    return table


def _add(
    table: Table,
    name: str,
    result: TaskResult,
    metrics: dict[str, Metric],
    quoted: str | None,
    *,
    part: bool = False,
) -> None:
    for metric, found in metrics.items():
        share = found.value <= 1 and not is_lower_better(metric)
        value, error = (_percent, _percent) if share else (_number, _number)
        table.add_row(
            name,
            "" if part else str(result.shots),
            f"{found.n:,}",
            metric,
            value(found.value),
            "" if found.stderr is None else error(found.stderr),
            _percent(result.chance) if result.chance is not None and share else "",
            "" if part else _cut(result.fit),
            style="bold" if metric == quoted and not part else "",
        )


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _number(value: float) -> str:
    return f"{value:,.4g}"


def _cut(fit: dict[str, int]) -> str:
    """The share of prompts that lost their beginning because they did not fit."""
    cut, requests = fit.get("truncated", 0), fit.get("requests", 0)
    return f"{cut / requests:.1%}" if cut and requests else ""


def render_suite(suite: Suite, name: str, results: dict[str, Any]) -> Table:
    """The run in the columns of a card, with the card's own rows; percent."""
    measured = suite_row(suite, task_results(results))
    published = [(row.model, row.values) for row in suite.published]
    model, cut = results["model"]["name"], _is_cut(suite, results)
    mine = (f"{model} (part)" if cut else model, (*measured.values, measured.average))
    rows = [mine, (_ERROR, (*measured.errors, measured.average_error)), *published]
    caption = f"{model} was measured here. Published rows: {suite.source}."
    if cut:
        caption += " It answered a part of each set only: its numbers do not compare with the others."
    titles = [*(column.title for column in suite.columns), "average"]
    if len(suite.columns) <= _WIDE:
        table = compact_table("model", *titles)
        for place, (model, values) in enumerate(rows):
            table.add_row(
                model, *map(_cell, values), style="" if place else "bold", end_section=model == _ERROR
            )
    else:
        whole = [row for row in rows if row is mine or any(value is not None for value in row[1][:-1])]
        table = compact_table("", *(model for model, _ in whole))
        table.columns[1].style = "bold"
        for title, *values in zip(titles, *(values for _, values in whole), strict=True):
            table.add_row(title, *map(_cell, values))
        averages = [
            f"{model} {_cell(values[-1])}" for model, values in published if (model, values) not in whole
        ]
        caption += f" Averages only: {', '.join(averages)}." if averages else ""
    table.title, table.caption, table.caption_justify = name, caption, "left"
    return table


def _is_cut(suite: Suite, results: dict[str, Any]) -> bool:
    """Whether a limit left items of a published set out; generated items are no set."""
    measured = [part.task for part in suite.parts if part.key in results["tasks"]]
    limited = results.get("settings", {}).get("limit") is not None
    return limited and any(not task.endswith("-gen") for task in measured)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def render_notes(results: dict[str, Any]) -> list[str]:
    """What a reader has to know besides the numbers: what did not fit, what was not run, and why."""
    notes = []
    for key, result in task_results(results).items():
        fit = result.fit
        if fit.get("truncated"):
            notes.append(
                f"{key}: {fit['truncated']:,} of {fit['requests']:,} prompts did not fit into the model's "
                f"{results['model']['max_length']:,} tokens and lost their first {fit['tokens_lost']:,} tokens."
            )
        if fit.get("did_not_fit"):
            notes.append(
                f"{key}: {fit['did_not_fit']:,} of {len(result.items['id']):,} episodes ended since the prompt did "
                f"not fit into the model's {results['model']['max_length']:,} tokens."
            )
        if fit.get("shortened"):
            notes.append(f"{key}: {fit['shortened']:,} answers were held to half of the model's length.")
        if fit.get("unfinished"):
            notes.append(
                f"{key}: {fit['unfinished']:,} of {fit['requests']:,} answers did not end by themselves."
            )
        if fit.get("split_apart"):
            notes.append(
                f"{key}: {fit['split_apart']:,} choices join their context in one token; scored apart."
            )
    notes += [f"not run: {reason}" for reason in results["missing"].values()]
    return notes + [f"failed: {reason}" for reason in results["failed"].values()]
