"""Panels of one kind beside each other, with one legend for all."""

from __future__ import annotations

import math
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flyweight.plots.style import WIDTH, legend_below, new_figure, styled


def multiples(
    count: int,
    draw: Callable[[Axes, int], None],
    *,
    x_label: str,
    y_label: str,
    title: str,
    columns: int,
    height: float = 2.2,
) -> Figure:
    """`count` panels, each drawn by `draw(axes, index)`, labelled at the left and at the bottom.

    Args:
        count: panels.
        draw: draws one, labels its lines and gives it a title.
        x_label: of all.
        y_label: of all.
        title: over all.
        columns: panels in a row, at most.
        height: of a panel, in inches.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    with styled():
        width = None if columns == 1 else WIDTH * (0.5 + 0.5 * columns)
        figure = new_figure(height * rows + (0.3 if title else 0), width)
        labelled: dict[str, object] = {}
        for index, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
            if index >= count:
                axes.set_visible(False)
                continue
            draw(axes, index)
            if index % columns == 0:
                axes.set_ylabel(y_label)
            if index + columns >= count:
                axes.set_xlabel(x_label)
            handles, labels = axes.get_legend_handles_labels()
            labelled |= dict(zip(labels, handles, strict=True))
        if len(labelled) > 1:
            legend_below(figure, list(labelled.values()), list(labelled))
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        return figure
