"""Stacked shares over tokens: a mixture as it was planned, and as it came to pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from flyweight.plots.style import colors, legend_below, legend_label, new_figure, styled, token_axis


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares by source, each (n,) between 0 and 1, at clocks `tokens` (n,)."""

    tokens: np.ndarray
    by_source: Mapping[str, np.ndarray]


def stacked_shares(
    planned: Shares, realised: Shares | None = None, *, title: str = "", end: float | None = None
) -> Figure:
    """The planned mixture over tokens, and under it, where given, the realised one."""
    rows = [("planned", planned)] + ([("realised", realised)] if realised is not None else [])
    with styled():
        figure = new_figure(0.7 + 1.75 * len(rows))
        panes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
        for (name, shares), axes in zip(rows, panes, strict=True):
            draw_shares(axes, shares)
            axes.set_ylabel(name if realised is not None else "share of tokens")
            token_axis(axes, end or _last(planned), label=axes is panes[-1])
        panes[0].set_title(title)
        handles, labels = panes[0].get_legend_handles_labels()
        legend_below(figure, handles, labels)
        return figure


def draw_shares(axes: Axes, shares: Shares) -> None:
    """Draw the stack into `axes`; the first source lies at the bottom."""
    names = list(shares.by_source)
    axes.stackplot(
        shares.tokens,
        [shares.by_source[name] for name in names],
        labels=[legend_label(name) for name in names],
        colors=colors(len(names)),
        linewidth=0,
        alpha=0.9,
    )
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_axisbelow(False)  # the stack covers everything: grid lines only show above it
    axes.margins(x=0)


def _last(shares: Shares) -> float | None:
    return float(shares.tokens[-1]) if len(shares.tokens) else None
