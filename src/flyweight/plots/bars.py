"""Bars: results side by side, with their standard errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from flyweight.plots.style import INK, PALETTE, colors, legend_below, legend_label, new_figure, styled


def bars(
    categories: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    *,
    errors: Mapping[str, Sequence[float | None]] | None = None,
    title: str = "",
    x_label: str = "",
    reference: tuple[str, float] | None = None,
) -> Figure:
    """Horizontal bars, one group a category and one bar a series; a missing value leaves a gap.

    Args:
        categories: from top to bottom.
        values: of each series, one a category.
        errors: standard errors, drawn as whiskers.
        title: over the axes.
        x_label: what the values are, with their unit.
        reference: (label, value) of a vertical dotted line, such as chance.
    """
    count = len(values)
    with styled():
        figure = new_figure(0.75 + len(categories) * (0.14 + 0.2 * count))
        axes = figure.add_subplot()
        thickness = 0.8 / max(1, count)
        for index, ((label, row), color) in enumerate(zip(values.items(), colors(count), strict=True)):
            places = np.arange(len(categories)) + (index - (count - 1) / 2) * thickness
            lengths = np.array([np.nan if value is None else value for value in row], np.float64)
            spread = (errors or {}).get(label)
            whiskers = None if spread is None else [np.nan if e is None else e for e in spread]
            axes.barh(places, lengths, thickness * 0.86, label=legend_label(label), color=color, xerr=whiskers,
                      error_kw={"ecolor": INK, "elinewidth": 0.9})  # fmt: skip
            for place, length, whisker in zip(places, lengths, whiskers or [0] * len(places), strict=True):
                if np.isfinite(length):
                    reach = length + (whisker if np.isfinite(whisker) else 0)
                    axes.annotate(
                        f"{length:.4g}",
                        (reach, place),
                        xytext=(3, 0),
                        textcoords="offset points",
                        va="center",
                        fontsize=8,
                    )
        if reference is not None:
            axes.axvline(
                reference[1], linestyle=(0, (1, 2)), linewidth=1.1, color=PALETTE[-1], label=reference[0]
            )
        axes.set_yticks(np.arange(len(categories)), categories)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]) if np.nanmin([0, *axes.dataLim.intervalx]) < 0 else 0)
        axes.set_title(title)
        axes.set_xlabel(x_label)
        handles, labels = axes.get_legend_handles_labels()
        if reference is not None:  # Matplotlib names lines before bars
            handles, labels = handles[1:] + handles[:1], labels[1:] + labels[:1]
        if len(labels) > 1:
            legend_below(figure, handles, labels)
        return figure
