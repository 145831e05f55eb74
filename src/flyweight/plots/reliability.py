"""Reliability: how often something is right over how sure a model was of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from flyweight.plots.style import (
    INK,
    colors_of,
    format_clock,
    legend_below,
    legend_label,
    new_figure,
    styled,
)


@dataclass(frozen=True)
class ReliabilityBin:
    """Where one bin of a reliability diagram lies."""

    low: float
    """Its lower edge."""
    high: float
    """Its upper edge."""
    count: int
    """Probabilities in it."""
    confidence: float
    """Their mean."""
    right: float
    """The share of them that came true."""
    right_low: float
    """The ends of that share's interval."""
    right_high: float


def reliability(
    bins: Sequence[ReliabilityBin],
    *,
    label: str,
    band_label: str = "",
    title: str = "",
    x_label: str = "P(answer)",
    y_label: str = "P(correct)",
) -> Figure:
    """Shares over mean probabilities with a band, against the diagonal; the counts below.

    Args:
        bins: those that are not empty, from left to right.
        label: what the legend says of the points: accuracy and calibration error.
        band_label: what it says of the band.
        title: over the axes.
        x_label: what the probabilities are.
        y_label: what the shares are.
    """
    return reliabilities({label: bins}, band_label=band_label, title=title, x_label=x_label, y_label=y_label)


def reliabilities(
    models: Mapping[str, Sequence[ReliabilityBin]],
    *,
    band_label: str = "",
    title: str = "",
    x_label: str = "P(answer)",
    y_label: str = "P(correct)",
    palette: Mapping[str, str] | None = None,
) -> Figure:
    """The same for several models on one pair of axes: by what the legend says of each, its bins.

    `palette` holds colours by the same.
    """
    with styled():
        figure = new_figure(4.3)
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.6, 1])
        axes.plot([0, 1], [0, 1], linestyle=(0, (4, 2)), linewidth=1.0, color=INK, label="perfect")
        for (label, bins), color in zip(models.items(), colors_of(list(models), palette), strict=True):
            _draw(axes, bins, label, band_label if len(models) == 1 else "", color)
            _draw_counts(below, bins, color, filled=len(models) == 1)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_title(title)
        axes.set_ylabel(y_label)
        below.set_ylabel("count")
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        below.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_clock(value)))
        below.set_ylim(bottom=0)
        below.grid(visible=False, axis="x")
        below.set_xlabel(x_label)
        handles, labels = axes.get_legend_handles_labels()
        legend_below(figure, handles, labels)
        return figure


def _draw(axes: Axes, bins: Sequence[ReliabilityBin], label: str, band_label: str, color: str) -> None:
    x = np.array([one.confidence for one in bins])
    axes.fill_between(
        x, [one.right_low for one in bins], [one.right_high for one in bins],
        color=color, alpha=0.22, linewidth=0, label=band_label or None,
    )  # fmt: skip
    axes.plot(
        x, [one.right for one in bins], color=color, marker="o", markersize=4, label=legend_label(label)
    )
    if len(bins) == 1:  # a band of one point would be nothing
        axes.vlines(x, bins[0].right_low, bins[0].right_high, color=color, alpha=0.4, linewidth=3)


def _draw_counts(axes: Axes, bins: Sequence[ReliabilityBin], color: str, *, filled: bool) -> None:
    """Bars of one model, outlines of several: those of the others can be seen behind them."""
    look: dict[str, Any] = {"color": color, "alpha": 0.45, "edgecolor": "white", "linewidth": 0.6}
    if not filled:
        look = {"color": "none", "edgecolor": color, "linewidth": 1.2}
    axes.bar(
        [one.low for one in bins], [one.count for one in bins], [one.high - one.low for one in bins],
        align="edge", **look,
    )  # fmt: skip
