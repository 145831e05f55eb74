"""Panels of lines over something that was swept by factors of two: widths, learning rates, sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from flyweight.plots.curves import Series
from flyweight.plots.multiples import multiples
from flyweight.plots.panels import Panel
from flyweight.plots.style import PALETTE, format_value, power_ticks, value_axis

_ORDER = LinearSegmentedColormap.from_list("order", ["#9ecdf2", "#3389d9", "#1c3f8f"])
"""From the first of an ordered row of lines to the last: light to dark, told apart in grey too."""


def sweeps(
    panels: Sequence[Panel],
    *,
    x_label: str,
    y_label: str = "",
    title: str = "",
    log: bool = False,
    ordered: bool = False,
    columns: int = 3,
) -> Figure:
    """Lines over a logarithmic axis of powers of two, in panels that share a legend.

    Args:
        panels: titles and lines.
        x_label: what was swept.
        y_label: what the values are, with their unit.
        title: over all panels.
        log: a logarithmic value axis, over a factor of four at least, so that what is flat looks flat.
        ordered: the lines are in an order (steps, widths): one hue from light to dark.
        columns: panels in a row.
    """

    def draw(axes: Axes, index: int) -> None:
        _draw(axes, panels[index].series, ordered)
        axes.set_title(panels[index].title)
        if log:
            axes.set_yscale("log", base=2)
            power_ticks(axes.yaxis, format_value)
            _widen(axes)
        else:
            value_axis(axes, log=False)

    return multiples(
        len(panels), draw, x_label=x_label, y_label=y_label, title=title, columns=columns, height=2.1
    )


def _draw(axes: Axes, series: Sequence[Series], ordered: bool) -> None:
    for index, line in enumerate(series):
        color = _ORDER(index / max(1, len(series) - 1)) if ordered else PALETTE[index % len(PALETTE)]
        axes.plot(line.x, line.y, label=line.label, color=color, marker="o", markersize=3)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.18, linewidth=0)
    axes.set_xscale("log", base=2)
    power_ticks(axes.xaxis)


def _widen(axes: Axes) -> None:
    low, high = axes.get_ylim()
    if high / low < 4:
        middle = math.sqrt(low * high)
        axes.set_ylim(middle / 2, middle * 2)
