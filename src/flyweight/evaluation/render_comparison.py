"""A comparison as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from flyweight.evaluation.comparison import COVERAGE, FEWEST_ITEMS, Comparison, Difference, is_lower_better


def render_comparison(found: Comparison) -> Group:
    """The differences as a table, then what was refused and noted, then the summary."""
    table = Table(
        "task", "metric", "items", found.a, found.b, "difference", f"{COVERAGE:.0%} interval", "Holm's p", "better",
        title=f"{found.a} and {found.b}, paired over items",
    )  # fmt: skip
    for column in table.columns[:2]:
        column.no_wrap = True  # a narrow terminal breaks numbers at their spaces, not names in their middle
    for column in table.columns[2:8]:
        column.justify = "right"
    for one in found.differences:
        table.add_row(*_cells(one, found))
    return Group(table, *_lines(found))


def _cells(one: Difference, found: Comparison) -> tuple[str, ...]:
    lower = is_lower_better(one.metric)
    value, change, scale = (".4f", "+.4f", 1.0) if lower else (".1f", "+.1f", 100.0)
    if one.items < FEWEST_ITEMS:
        verdict = "too few items"
    elif not one.is_told_apart:
        verdict = "cannot be told apart"
    else:
        verdict = found.a if (one.difference > 0) != lower else found.b
        verdict += "" if one.survives else " (may be chance)"
    return (
        one.task,
        one.metric,
        f"{one.items:,}",
        f"{scale * one.a:{value}}",
        f"{scale * one.b:{value}}",
        f"{scale * one.difference:{change}}",
        f"{scale * one.low:{change}} to {scale * one.high:{change}}",
        f"{one.p_holm:.2g}",
        verdict,
    )


def _lines(found: Comparison) -> Iterator[Text]:
    for name, reason in found.refused.items():
        yield Text(f"not compared: {name}: {reason}.")
    for note in found.notes:
        yield Text(f"note: {note}.")
    yield Text(found.summary)
