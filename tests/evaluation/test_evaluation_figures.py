"""Figures hold what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from flyweight.evaluation.calibration import READINGS, calibrate
from flyweight.evaluation.context_law import XMODEL_2, fit_context_law
from flyweight.evaluation.context_losses import PositionLosses
from flyweight.evaluation.figures import context_law_figure, reliability_figure, runs_figure
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.plots import to_png, to_svg_text


def test_a_reliability_diagram_shows_the_bins_their_counts_and_the_error():
    values = np.random.default_rng(0).normal(size=(200, 4))
    found = calibrate(values, values.argmax(1), resamples=50)
    for reading in READINGS:
        figure = reliability_figure(found, reading, "MMLU")
        axes, below = figure.axes
        full = [one for one in found.reading(reading).bins if one.count]
        diagonal, points = axes.lines
        assert np.asarray(diagonal.get_xdata()).tolist() == [0, 1]
        assert np.asarray(points.get_xdata()).tolist() == [one.confidence for one in full]
        assert np.asarray(points.get_ydata()).tolist() == [one.right for one in full]
        assert [bar.get_height() for bar in below.patches] == [one.count for one in full]
        legend = " ".join(text.get_text() for text in figure.legends[0].get_texts())
        assert f"accuracy 1.000, ECE {found.reading(reading).ece:.3f}" in legend
        assert to_png(figure).startswith(b"\x89PNG")


def test_a_law_is_drawn_with_its_coefficients_and_what_lies_beyond_is_shaded():
    random = np.random.default_rng(0)
    losses = (XMODEL_2.loss(np.arange(1, 129)) + random.normal(size=(40, 128))).astype(np.float32)
    within = fit_context_law(PositionLosses(losses, 128, 0.3), resamples=5)
    beyond = fit_context_law(PositionLosses(losses, 64, 0.3), resamples=5)
    plain, shaded = (context_law_figure(found, "text").axes[0] for found in (within, beyond))
    assert f"a = {within.law.a:.3f}" in plain.get_title(loc="left")
    assert len(plain.patches) == 0
    assert [patch.get_x() for patch in shaded.patches] == [64.0]
    assert np.asarray(plain.lines[0].get_ydata()).tolist() == [one.loss for one in within.bins if one.in_fit]
    assert "trained length" in to_svg_text(context_law_figure(beyond), "x")


def test_runs_are_dots_with_intervals_and_gaps():
    one = TaskResult({"acc": Metric(0.5, 0.01, 100)}, {"id": []}, chance=0.25)
    two = TaskResult({"acc": Metric(0.4, None, 1)}, {"id": []}, chance=0.25)
    figure = runs_figure(
        {"A": {"piqa": one}, "B": {"piqa": two, "boolq": one}}, [("piqa", "acc"), ("boolq", "acc")]
    )
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["piqa acc", "boolq acc"]
    a, b = (np.asarray(line.get_xdata()).tolist() for line in axes.lines[:2])
    assert (a, b) == ([50.0], [40.0, 50.0])
    [[start, end]] = axes.collections[0].get_segments()
    assert (start[0], end[0]) == pytest.approx((48.04, 51.96))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["A", "B", "chance"]
