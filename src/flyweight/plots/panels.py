"""A grid of small panels over one clock: every timeline of a recipe at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flyweight.plots.curves import Series, draw_lines
from flyweight.plots.shares import Shares, draw_shares
from flyweight.plots.style import INK, WIDTH, colors, legend_below, new_figure, styled, token_axis, value_axis


@dataclass(frozen=True, eq=False)
class Panel:
    """One timeline: lines, or stacked shares, or named bands (start, end, name) of the clock."""

    title: str
    series: Sequence[Series] = ()
    shares: Shares | None = None
    bands: Sequence[tuple[float, float, str]] = ()


def panel_figure(panel: Panel, end: float) -> Figure:
    """One panel as a figure of its own."""
    with styled():
        figure = new_figure(1.15 if panel.bands else 2.3)
        axes = figure.add_subplot()
        _draw(axes, panel, end)
        token_axis(axes, end)
        handles, labels = axes.get_legend_handles_labels()
        if len(labels) > 1:
            legend_below(figure, handles, labels)
        return figure


def panel_grid(panels: Sequence[Panel], end: float, *, title: str = "", columns: int = 2) -> Figure:
    """All panels over one clock from 0 to `end`, in rows of `columns`; stacked shares take a row of their own."""
    rows = _rows(panels, columns)
    with styled():
        figure = new_figure(2.3 * len(rows) + (0.3 if title else 0), WIDTH * columns * 0.92)
        panes = figure.subplot_mosaic(rows, empty_sentinel=-1)
        for index, panel in enumerate(panels):
            axes = panes[index]
            _draw(axes, panel, end)
            token_axis(axes, end)
            handles, labels = axes.get_legend_handles_labels()
            if panel.shares is not None:
                axes.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.05),
                            fontsize=8.5 if len(labels) <= 8 else 7.5, labelspacing=0.25)  # fmt: skip
            elif len(labels) > 1:
                axes.legend(handles, labels, loc="best")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        return figure


def _rows(panels: Sequence[Panel], columns: int) -> list[Any]:
    """Which panel lies where: rows of indices, -1 where there is none."""
    single = [index for index, panel in enumerate(panels) if panel.shares is None]
    wide = [index for index, panel in enumerate(panels) if panel.shares is not None]
    rows = [single[start : start + columns] for start in range(0, len(single), columns)]
    return [row + [-1] * (columns - len(row)) for row in rows] + [[index] * columns for index in wide]


def _draw(axes: Axes, panel: Panel, end: float) -> None:
    axes.set_title(panel.title)
    if panel.bands:
        _draw_bands(axes, panel.bands, end)
    elif panel.shares is not None:
        draw_shares(axes, panel.shares)
    else:
        draw_lines(axes, panel.series)
        value_axis(axes, log=False)
        if axes.dataLim.y1 > 0:
            axes.set_ylim(bottom=min(0.0, axes.dataLim.y0))
        else:  # zero throughout: any other tick would be made up
            axes.set_ylim(-0.05, 1)
            axes.set_yticks([0])


def _draw_bands(axes: Axes, bands: Sequence[tuple[float, float, str]], end: float) -> None:
    names = list(dict.fromkeys(name for _, _, name in bands))
    palette = dict(zip(names, colors(len(names)), strict=True))
    for start, stop, name in bands:
        axes.axvspan(start, stop, color=palette[name], alpha=0.35, linewidth=0)
        if start > 0:
            axes.axvline(start, color=INK, linewidth=0.7)
        # A name that its band has no room for would run into its neighbour's: it stands upright then.
        fits = stop - start >= 0.03 * len(name) * end
        axes.text(
            (start + stop) / 2, 0.5, name, ha="center", va="center", color=INK, rotation=0 if fits else 90
        )
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
