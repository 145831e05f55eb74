"""What was tried, over every pair of knobs, coloured by what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from flyweight.plots.style import INK, new_figure, power_ticks, styled

_GOOD_TO_BAD = LinearSegmentedColormap.from_list(
    "good", ["#1c3f8f", "#3389d9", "#9ecdf2", "#f3d9a8", "#e28100"]
)


def pairs(
    knobs: Mapping[str, Sequence[float]],
    values: Sequence[float],
    *,
    value_label: str,
    title: str = "",
    log: Sequence[str] = (),
    failed: Sequence[bool] = (),
) -> Figure:
    """Panels below a diagonal, one for each pair of knobs; a dot for each trial, the best one circled.

    Args:
        knobs: by name, what each trial had.
        values: what each trial came to, lower is better; the worst fifth share one colour, so that the rest differ.
        value_label: what the values are, with their unit.
        title: over all panels.
        log: names of knobs with a logarithmic axis.
        failed: trials without a value, drawn as crosses.
    """
    names = list(knobs)
    found = np.asarray(values, np.float64)
    crosses = np.asarray(failed, bool) if len(failed) else np.zeros(len(found), bool)
    sound = ~crosses & np.isfinite(found)
    best = int(np.flatnonzero(sound)[np.argmin(found[sound])]) if sound.any() else None
    scale = Normalize(found[sound].min(), np.quantile(found[sound], 0.8)) if sound.any() else Normalize(0, 1)
    size = max(1, len(names) - 1)
    with styled():
        figure = new_figure(2.0 * size + (0.3 if title else 0), 2.3 * size + 0.9)
        grid = figure.subplots(size, size, squeeze=False, sharex="col", sharey="row")
        dots = None
        for row in range(size):
            for column in range(size):
                axes = grid[row][column]
                if column > row:
                    axes.set_visible(False)
                    continue
                x, y = (np.asarray(knobs[names[place]], np.float64) for place in (column, row + 1))
                axes.scatter(x[crosses], y[crosses], marker="x", s=14, color=INK, linewidth=0.8)
                dots = axes.scatter(
                    x[sound], y[sound], c=found[sound], cmap=_GOOD_TO_BAD, norm=scale, s=18, linewidth=0
                )
                if best is not None:
                    axes.scatter(x[best], y[best], s=70, facecolor="none", edgecolor=INK, linewidth=1.1)
                _label(axes, names[column], names[row + 1], row == size - 1, column == 0, log)
        if dots is not None:
            figure.colorbar(dots, ax=grid.ravel().tolist(), label=value_label, extend="max", shrink=0.7)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        return figure


def _label(axes: Axes, x: str, y: str, bottom: bool, left: bool, log: Sequence[str]) -> None:
    for name, axis, scale in ((x, axes.xaxis, axes.set_xscale), (y, axes.yaxis, axes.set_yscale)):
        if name in log:
            scale("log", base=2)
            power_ticks(axis)
    if bottom:
        axes.set_xlabel(x)
    if left:
        axes.set_ylabel(y)
