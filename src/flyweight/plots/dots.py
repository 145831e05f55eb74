"""Dots with intervals: several runs on several tasks, so that one sees what can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from flyweight.plots.style import INK, colors_of, legend_below, legend_label, new_figure, styled

Interval = tuple[float, float, float]
"""A value and the two ends of its interval."""


def dots(
    categories: Sequence[str],
    values: Mapping[str, Sequence[Interval | None]],
    *,
    marks: Sequence[float | None] = (),
    mark_label: str = "",
    title: str = "",
    x_label: str = "",
    palette: Mapping[str, str] | None = None,
) -> Figure:
    """A row a category and a dot with its interval a series; a missing value leaves a gap.

    Args:
        categories: from top to bottom.
        values: of each series, one a category.
        marks: one a category, drawn as a short upright line: chance, or zero.
        mark_label: what the marks are.
        title: over the axes.
        x_label: what the values are, with their unit.
        palette: colours of series by their labels.
    """
    count = len(values)
    with styled():
        figure = new_figure(0.85 + len(categories) * (0.16 + 0.13 * count))
        axes = figure.add_subplot()
        step = 0.7 / max(1, count)
        for index, ((label, row), color) in enumerate(
            zip(values.items(), colors_of(list(values), palette), strict=True)
        ):
            shift = (index - (count - 1) / 2) * step
            places = [place + shift for place, value in enumerate(row) if value is not None]
            found = np.array([value for value in row if value is not None], np.float64).reshape(-1, 3)
            axes.errorbar(
                found[:, 0], places, xerr=np.abs(found[:, 1:].T - found[:, 0]), fmt="o", markersize=4,
                elinewidth=1.2, color=color, label=legend_label(label),
            )  # fmt: skip
        marked = [(place, mark) for place, mark in enumerate(marks) if mark is not None]
        if marked:
            axes.vlines(
                [mark for _, mark in marked], [place - 0.45 for place, _ in marked],
                [place + 0.45 for place, _ in marked], color=INK, linewidth=1.0,
                linestyle=(0, (1.5, 1.2)), label=mark_label or "_",
            )  # fmt: skip
        axes.set_yticks(np.arange(len(categories)), categories)
        axes.set_ylim(len(categories) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.06)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        handles, labels = axes.get_legend_handles_labels()
        order = [labels.index(legend_label(label)) for label in values if legend_label(label) in labels]
        order += [place for place in range(len(labels)) if place not in order]
        if len(labels) > 1:
            legend_below(figure, [handles[i] for i in order], [labels[i] for i in order])
        return figure
