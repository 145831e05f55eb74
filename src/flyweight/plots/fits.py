"""Measurements and the curves that were fitted to them, with bands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from flyweight.plots.curves import Series
from flyweight.plots.multiples import multiples
from flyweight.plots.style import PALETTE, legend_label, value_axis


@dataclass(frozen=True, eq=False)
class Fitted:
    """Points `y` at `x`, (n,) each, and the curve that stands for them."""

    label: str
    x: np.ndarray
    y: np.ndarray
    curve: Series | None = None
    held_out: bool = False
    """The curve has not seen these points: they are drawn hollow, the curve dashed."""
    errors: np.ndarray | None = None
    """Standard errors (n,) of `y`, drawn as whiskers."""


@dataclass(frozen=True, eq=False)
class FittedPanel:
    """What shares a pair of axes."""

    title: str
    fits: Sequence[Fitted]
    marked: tuple[float, float, float] | None = None
    """A place on the x axis with its interval: place, low, high."""


def fitted(
    panels: Sequence[FittedPanel],
    *,
    x_label: str,
    y_label: str = "",
    title: str = "",
    x_written: Callable[[float], str] | None = None,
    log_x: bool = False,
    columns: int = 2,
    palette: Mapping[str, str] | None = None,
) -> Figure:
    """Points with their curves, in panels that share a legend.

    Args:
        panels: titles, points and curves.
        x_label: what the points lie over.
        y_label: what the values are, with their unit.
        title: over all panels.
        x_written: how a place on the x axis is written; with `log_x` the ticks are the places of the points.
        log_x: a logarithmic x axis.
        columns: panels in a row.
        palette: colours by labels.
    """

    def draw(axes: Axes, index: int) -> None:
        panel = panels[index]
        for place, one in enumerate(panel.fits):
            _draw(axes, one, (palette or {}).get(one.label, PALETTE[place % len(PALETTE)]))
        if panel.marked is not None:
            _mark(axes, *panel.marked)
        axes.set_title(panel.title)
        value_axis(axes, log=False)
        _x_axis(axes, panel, log_x, x_written)

    return multiples(
        len(panels), draw, x_label=x_label, y_label=y_label, title=title, columns=columns,
        height=3.0 if len(panels) == 1 else 2.2,
    )  # fmt: skip


def _draw(axes: Axes, one: Fitted, color: str) -> None:
    hollow = {"markerfacecolor": "none", "markeredgewidth": 1.2} if one.held_out else {}
    axes.plot(
        one.x,
        one.y,
        label=legend_label(one.label),
        color=color,
        marker="o",
        markersize=4,
        linestyle="none",
        **hollow,
    )
    if one.errors is not None:
        axes.vlines(one.x, one.y - one.errors, one.y + one.errors, color=color, linewidth=1.0)
    if one.curve is None:
        return
    dashes = (0, (4, 2)) if one.held_out else "-"
    axes.plot(one.curve.x, one.curve.y, color=color, linewidth=1.3, linestyle=dashes)
    if one.curve.low is not None and one.curve.high is not None:
        axes.fill_between(one.curve.x, one.curve.low, one.curve.high, color=color, alpha=0.16, linewidth=0)


def _mark(axes: Axes, place: float, low: float, high: float) -> None:
    axes.axvspan(low, high, color=PALETTE[1], alpha=0.13, linewidth=0)
    axes.axvline(place, color=PALETTE[1], linewidth=1.2)


def _x_axis(axes: Axes, panel: FittedPanel, log: bool, written: Callable[[float], str] | None) -> None:
    if log:
        axes.set_xscale("log")
        places = sorted({float(x) for one in panel.fits for x in one.x})
        apart: list[float] = []
        for place in places:
            if not apart or place / apart[-1] > 1.3:
                apart.append(place)
        axes.xaxis.set_major_locator(FixedLocator(apart))
        axes.xaxis.set_minor_locator(NullLocator())
    if written is not None:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
