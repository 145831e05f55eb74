"""Several runs beside each other: what differs, and everything that can be compared in one look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flyweight.planning import plan_recipe
from flyweight.recipe import Recipe, format_tokens, identity
from flyweight.report import figures
from flyweight.report.calibration import calibration_of
from flyweight.report.context import context_of
from flyweight.report.markup import Html, Part, folded, grid, h, table
from flyweight.report.names import titles_of
from flyweight.report.on_the_way import on_the_way
from flyweight.report.results import measurements
from flyweight.report.run import RunRecord
from flyweight.report.samples import samples_side_by_side
from flyweight.report.scores import MANY_ROWS, quoted, task_dots
from flyweight.report.sections import headline
from flyweight.report.spending import spending_side_by_side

_MISSING = "(none)"


def common_parts(runs: Sequence[RunRecord]) -> list[Part]:
    """The parts about all runs together."""
    titles = titles_of(runs)
    by_source = figures.bits_by_source(runs)
    few, more = by_source[: figures.MANY_LINES], by_source[figures.MANY_LINES :]
    return [
        Part.of("In numbers", *_numbers(runs, titles)),
        Part.of("What differs", differences(runs, titles)),
        Part.of("Training", grid(figures.training_figures(runs))),
        Part.of("Bits per byte by source", grid(few), folded(f"{len(more)} more sources", grid(more))),
        Part.of("Tasks during training", *on_the_way(runs)),
        Part.of("Results", grid(task_dots(runs))),
        Part.of("Calibration", *calibration_of(runs)),
        Part.of("Law of context", *context_of(runs)),
        Part.of("Samples", *samples_side_by_side(runs)),
        Part.of("Where the time went", *spending_side_by_side(runs)),
    ]


def _numbers(runs: Sequence[RunRecord], titles: Sequence[str]) -> list[Html]:
    """One row a number, one column a run; a number that a run does not have leaves its cell empty.

    Every task stands there by the metric that it is quoted by; the others are folded away, and long tables too.
    """
    first = [{"state": run.state, **dict(headline(run, plan_recipe(run.recipe)))} for run in runs]
    bits = [{source: f"{value:.3f}" for source, value in run.bits_per_byte.items()} for run in runs]
    main, others = [], []
    for run in runs:
        shown = {(row.task, row.metric) for row in quoted(run.results).values()}
        columns: tuple[dict[str, str], dict[str, str]] = {}, {}
        for row in measurements(run.results):
            if not row.grouped:
                text = " ".join(filter(None, [row.text(), row.stderr_text()]))
                columns[(row.task, row.metric) not in shown][" ".join([row.task, *row.part, row.metric])] = (
                    text
                )
        main.append(columns[0])
        others.append(columns[1])
    return [
        table(["number", *titles], _rows(first), name="The runs in numbers"),
        *_folded_if_long("Bits per byte on held-out text", ["source", *titles], _rows(bits)),
        *_folded_if_long("Tasks", ["task", *titles], _rows(main)),
        *_folded_if_long("Other metrics", ["metric", *titles], _rows(others), most=0),
    ]


def _folded_if_long(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], most: int = 2 * MANY_ROWS
) -> list[Html]:
    if not rows:
        return []
    if len(rows) <= most:
        return [table(header, rows, caption)]
    return [folded(f"{caption} ({len(rows)} rows)", table(header, rows, name=caption))]


def _rows(columns: Sequence[Mapping[str, str]]) -> list[list[str]]:
    labels = dict.fromkeys(label for column in columns for label in column)
    return [[label, *(column.get(label, "") for column in columns)] for label in labels]


def differences(runs: Sequence[RunRecord], titles: Sequence[str]) -> Html:
    """The keys that change what is learned and are not the same in all recipes."""
    plain = [_identity(run.recipe) for run in runs]
    rows = [
        [key, *(_written(values.get(key, _MISSING)) for values in plain)]
        for key in dict.fromkeys(key for values in plain for key in values)
        if any(not _same(values.get(key, _MISSING), plain[0].get(key, _MISSING)) for values in plain[1:])
    ]
    if not rows:
        return h("p", "Nothing that changes what is learned: the recipes are the same.", class_="quiet")
    shown = table(
        ["key", *titles], rows, words=range(1, len(titles) + 1), name="Keys of the recipes that differ"
    )
    return shown if len(rows) <= MANY_ROWS else folded(f"{len(rows)} keys differ", shown)


def _same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says by key, timelines as one value; defaults that are nothing are left out."""
    return {
        key.removesuffix(".knots"): value
        for key, value in identity(recipe).items()
        if value not in (None, [], {})
    }


def _written(value: Any) -> str:
    """A value for people: timelines as what holds from when on."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(knot, Mapping) and "at" in knot for knot in value)
    ):
        return "; ".join(_knot(knot) for knot in value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def _knot(knot: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in knot.items() if key not in ("at", "shape", "half_life")}
    (key, value), *more = rest.items()
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {weight:.4g}" for name, weight in value.items())
    elif isinstance(value, float):
        value = f"{value:.6g}"
    assert not more, f"a knot of {key} has more than one value"
    at = "" if not knot["at"] else f" at {format_tokens(int(knot['at']))}"
    shape = {"linear": "linearly to ", "step": ""}.get(
        str(knot.get("shape", "step")), f"{knot.get('shape')} to "
    )
    return f"{shape}{value}{at}"
