"""Lines over tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flyweight.plots.style import (
    PALETTE,
    colors,
    colors_of,
    legend_below,
    legend_label,
    new_figure,
    styled,
    token_axis,
    value_axis,
)

_DASHES = ("-", (0, (5, 1.6)), (0, (1.5, 1.4)), (0, (5, 1.5, 1.2, 1.5)))


@dataclass(frozen=True, eq=False)
class Series:
    """A line: values `y` at clocks `x`, perhaps with a band from `low` to `high`, all (n,)."""

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    stepwise: bool = False
    """The value jumps at each x and holds until the next."""
    markers: bool = False
    """Mark every point: for few and far measurements."""


def binned(label: str, tokens: Iterable[float], values: Iterable[float], bins: int = 240) -> Series:
    """A long, noisy record as at most `bins` means, with the range inside each bin as the band.

    Values that are not finite are left out; the record is taken in order of its clock.
    """
    x, y = np.asarray(list(tokens), np.float64), np.asarray(list(values), np.float64)
    kept = np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(x) <= bins:
        return Series(label, x, y)
    edges = np.linspace(0, len(x), bins + 1).astype(int)[:-1]
    sizes = np.diff(np.append(edges, len(x)))
    return Series(
        label,
        np.add.reduceat(x, edges) / sizes,
        np.add.reduceat(y, edges) / sizes,
        np.minimum.reduceat(y, edges),
        np.maximum.reduceat(y, edges),
    )


def curves(
    series: Sequence[Series],
    *,
    title: str = "",
    y_label: str = "",
    log: bool = False,
    end: float | None = None,
    height: float = 2.7,
    reference: Sequence[tuple[str, float]] = (),
    marks: Mapping[str, Sequence[float]] | None = None,
    floor: float | None = None,
    palette: Mapping[str, str] | None = None,
) -> Figure:
    """One or several lines over tokens.

    Args:
        series: the lines; a legend appears when there are several.
        title: over the axes, at the left.
        y_label: what the values are, with their unit.
        log: a logarithmic value axis.
        end: where the token axis ends; where the data ends when left out.
        height: inches, without the legend.
        reference: (label, value) of horizontal dotted lines, such as a yardstick or chance; one whose label
            begins with an underscore is not in the legend.
        palette: colours of lines by their labels, so that a line has the same in several figures.
        floor: what no value is below: the value axis does not go further down.
        marks: by label, clocks at which something happened: short lines that stand on the token axis.
    """
    with styled():
        figure = new_figure(height)
        axes = figure.add_subplot()
        draw_lines(axes, series, palette=palette)
        for label, value in reference:
            axes.axhline(value, linestyle=(0, (1, 2)), linewidth=1.1, color=PALETTE[-1], label=label)
        for (label, clocks), color in zip(
            (marks or {}).items(), colors(len(marks or {}) + 1)[1:], strict=True
        ):
            axes.vlines(
                clocks, 0, 0.12, transform=axes.get_xaxis_transform(), color=color, linewidth=1.4, label=label
            )
        axes.set_title(title)
        axes.set_ylabel(y_label)
        token_axis(axes, end)
        value_axis(axes, log=log)
        if floor is not None and axes.get_ylim()[0] < floor:
            axes.set_ylim(floor, max(axes.get_ylim()[1], floor + 1) if axes.dataLim.y1 <= floor else None)
        handles, labels = axes.get_legend_handles_labels()
        if len(labels) > 1:
            legend_below(figure, handles, labels)
        return figure


def draw_lines(
    axes: Axes, series: Sequence[Series], width: float = 1.6, palette: Mapping[str, str] | None = None
) -> None:
    """Draw the lines into `axes`; after a round of the palette the dashes change."""
    for index, (item, color) in enumerate(
        zip(series, colors_of([item.label for item in series], palette), strict=True)
    ):
        line = axes.plot(
            item.x,
            item.y,
            label=legend_label(item.label),
            color=color,
            linewidth=width,
            linestyle=_DASHES[index // len(PALETTE) % len(_DASHES)],
            drawstyle="steps-post" if item.stepwise else "default",
            marker="o" if item.markers or len(item.x) == 1 else "",
            markersize=3,
            clip_on=len(item.x) > 1 and not item.markers,  # a mark at the edge of the axes is whole
        )
        if item.low is not None and item.high is not None:
            axes.fill_between(item.x, item.low, item.high, color=line[0].get_color(), alpha=0.22, linewidth=0)
