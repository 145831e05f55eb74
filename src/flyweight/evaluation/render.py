"""Results as tables for people."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from flyweight.evaluation.engine import task_results
from flyweight.evaluation.harness.catalogue import BENCHMARKS
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.suites import Suite, suite_row

_MANY = 12
"""Subsets beyond this number are left to results.json."""


def render_results(results: dict[str, Any]) -> Table:
    """A table of what `evaluate` returned: one row a metric, the one that tables quote in bold."""
    titles = ("task", "shots", "items", "metric", "value", "± error", "chance", "cut")
    table = Table(*titles, title=results["model"]["name"])
    for key, result in task_results(results).items():
        quoted = BENCHMARKS[key.partition("@")[0]].metric if key.partition("@")[0] in BENCHMARKS else None
        _add(table, key, result, result.metrics, quoted)
        if len(result.subsets) <= _MANY:
            for subset, metrics in result.subsets.items():
                _add(table, f"  {subset}", result, metrics, quoted, part=True)
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
        share = found.value <= 1 and "perplexity" not in metric and "bits" not in metric
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
    """The run in the columns of a card, over the card's own rows; percent."""
    titles = [column.title for column in suite.columns]
    table = Table("model", *titles, "average", title=name, caption=f"Published rows: {suite.source}.")
    row = suite_row(suite, task_results(results))
    table.add_row(
        f"{results['model']['name']} (measured)",
        *("" if value is None else f"{value:.2f}" for value in (*row.values, row.average)),
        style="bold",
        end_section=True,
    )
    table.columns[0].no_wrap = True  # a narrow terminal breaks titles, not models' names
    for published in suite.published:
        table.add_row(
            published.model, *("" if value is None else f"{value:.2f}" for value in published.values)
        )
    return table


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
