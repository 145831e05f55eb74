"""A comparison as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group
from rich.text import Text

from flyweight.evaluation.comparison import COVERAGE, FEWEST_ITEMS, Comparison, Difference, is_lower_better
from flyweight.evaluation.render import compact_table

LEAST_P = 0.001
"""Smaller ones are not told apart in the table; they are in the JSON."""


def render_comparison(found: Comparison) -> Group:
    """The differences as a table, then what was refused and noted, then the summary."""
    table = compact_table("task", "items", "A", "B", f"A - B ({COVERAGE:.0%} interval)", "p", "better")
    # In 80 characters only names may break, and one space is between columns: the numbers leave no more.
    table.padding = (0, 0, 0, 0)
    for column in table.columns[1:]:
        column.no_wrap = True
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    table.title = f"A: {found.a}, B: {found.b}, paired over items"
    table.caption = (
        "p after Holm's correction. Neither: the two cannot be told apart there. A? or B?: this may be chance among "
        "so many comparisons."
    )
    table.caption_justify = "left"
    for one in found.differences:
        table.add_row(*_cells(one, found))
    return Group(table, *_lines(found))


def _cells(one: Difference, found: Comparison) -> tuple[str, ...]:
    lower = is_lower_better(one.metric)
    value, change, scale = (".4f", "+.4f", 1.0) if lower else (".1f", "+.1f", 100.0)
    if one.items < FEWEST_ITEMS:
        verdict = "too few"
    elif not one.is_told_apart:
        verdict = "neither"
    else:
        verdict = "A" if (one.difference > 0) != lower else "B"
        verdict += "" if one.survives else "?"
    return (
        f"{one.task} {one.metric}",
        f"{one.items:,}",
        f"{scale * one.a:{value}}",
        f"{scale * one.b:{value}}",
        f"{scale * one.difference:{change}} ({scale * one.low:{change}} to {scale * one.high:{change}})",
        f"{one.p_holm:.2g}" if one.p_holm >= LEAST_P else f"<{LEAST_P}",
        verdict,
    )


def _lines(found: Comparison) -> Iterator[Text]:
    for name, reason in found.refused.items():
        yield Text(f"not compared: {name}: {reason}.")
    for note in found.notes:
        yield Text(f"note: {note}.")
    yield Text(found.summary)
