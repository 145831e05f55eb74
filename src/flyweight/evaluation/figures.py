"""What evaluation draws. Imported where a figure is wanted: matplotlib takes a second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from flyweight.evaluation.calibration import READINGS, Calibration, Reading
from flyweight.evaluation.context_law import ContextBin, ContextLaw
from flyweight.evaluation.results import TaskResult
from flyweight.plots import (
    Fitted,
    FittedPanel,
    Interval,
    ReliabilityBin,
    Series,
    dots,
    fitted,
    reliability,
)

Z = 1.96
"""Standard errors to each side of a value that make a 95 percent interval."""


def reliability_figure(found: Calibration, reading: Reading = "options", title: str = "") -> Figure:
    """The reliability diagram of one reading, with its counts."""
    one = found.reading(reading)
    bins = [
        ReliabilityBin(
            piece.low,
            piece.high,
            piece.count,
            piece.confidence,
            piece.right,
            piece.right_low,
            piece.right_high,
        )
        for piece in one.bins
        if piece.confidence is not None
        and piece.right is not None
        and piece.right_low is not None
        and piece.right_high is not None
    ]
    return reliability(
        bins,
        label=f"accuracy {found.accuracy:.3f}, ECE {one.ece:.3f}",
        band_label=f"{found.coverage:.0%} bootstrap",
        title=title,
        x_label=f"P(answer): {READINGS[reading]}; {found.items:,} items",
    )


def context_law_figure(found: ContextLaw, title: str = "") -> Figure:
    """Loss over position with the fitted law and its band; beyond the trained length shaded, as hollow dots.

    The loss at position 1, which no text stands before, is not drawn: it would squeeze the rest.
    """
    law = found.law
    inside = [one for one in found.bins if one.in_fit]
    beyond = [one for one in found.bins if one.first > found.trained_length]
    line = np.unique(np.geomspace(inside[0].first, found.trained_length, 300))
    label = f"L(t) = b + (t/c)^a with a = {law.a:.3f}, b = {law.b:.3f}, c = {law.c:.4g}"
    fits = [
        _points(
            "mean over windows, ± standard error", inside, Series("", line, law.loss(line), *found.band(line))
        )
    ]
    marked = None
    if beyond:
        further = np.geomspace(found.trained_length, found.length, 100)
        curve = Series("", further, law.loss(further), *found.band(further))
        fits.append(_points("beyond the trained length, not in the fit", beyond, curve, held_out=True))
        marked = (float(found.trained_length), float(found.trained_length), float(found.length))
    return fitted(
        [FittedPanel("\n".join(filter(None, (title, label))), fits, marked)],
        x_label="position of the token in its context",
        y_label="loss (nats per token)",
        columns=1,
    )


def _points(label: str, bins: Sequence[ContextBin], curve: Series, *, held_out: bool = False) -> Fitted:
    x, y, errors = np.array([(one.middle, one.loss, one.stderr) for one in bins]).T
    return Fitted(label, x, y, curve, held_out, errors)


def runs_figure(
    runs: Mapping[str, Mapping[str, TaskResult]], rows: Sequence[tuple[str, str]], title: str = ""
) -> Figure:
    """Several runs on several tasks: a dot and its 95 percent interval each, chance as a mark.

    Args:
        runs: by the run's name, its results by task.
        rows: (task, metric) of each row; a run without it leaves a gap.
        title: over the axes.
    """

    def value(results: Mapping[str, TaskResult], task: str, metric: str) -> Interval | None:
        found = results[task].metrics.get(metric) if task in results else None
        if found is None:
            return None
        reach = Z * (found.stderr or 0.0)
        return found.value, max(0.0, found.value - reach), min(1.0, found.value + reach)

    def chance(task: str) -> float | None:
        known = (results[task].chance for results in runs.values() if task in results)
        return next((100 * value for value in known if value is not None), None)

    return dots(
        [f"{task} {metric}" for task, metric in rows],
        {
            name: [
                None if (one := value(results, *row)) is None else (100 * one[0], 100 * one[1], 100 * one[2])
                for row in rows
            ]
            for name, results in runs.items()
        },
        marks=[chance(task) for task, _ in rows],
        mark_label="chance",
        title=title,
        x_label="percent (95 % intervals)",
    )
