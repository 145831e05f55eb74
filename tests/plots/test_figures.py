"""Figures hold the data that they were given, and as SVG lie in a page without disturbing it."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.plots import (
    PALETTE,
    Fitted,
    FittedPanel,
    Panel,
    Series,
    Shares,
    bars,
    binned,
    colors,
    curves,
    fitted,
    format_clock,
    panel_figure,
    panel_grid,
    stacked_shares,
    to_png,
    to_svg_text,
)
from flyweight.plots.style import INK, format_value

ODD = "_a <b> & $x$"


def line(label: str = "a", points: int = 5) -> Series:
    x = np.arange(points) * 1e6
    return Series(label, x, np.sqrt(x + 1))


def shares(points: int = 4) -> Shares:
    tokens = np.linspace(0, 1e9, points)
    return Shares(tokens, {"english": np.full(points, 0.25), ODD: np.full(points, 0.75)})


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (0, "0"),
        (512, "512"),
        (5e6, "5M"),
        (2e9, "2B"),
        (2.5e9, "2.5B"),
        (1.5e12, "1.5T"),
        (999_999.9999, "1M"),
    ],
)
def test_the_token_axis_reads_as_people_write_tokens(tokens: float, text: str):
    assert format_clock(tokens) == text


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [(0, 1, "0"), (0.25, 1, "0.25"), (1e-3, 1.5e-3, "1e-3"), (5e-4, 1.5e-3, "5e-4"), (16_384, 2e4, "16,384")],
)
def test_ticks_of_one_axis_are_written_alike(value: float, scale: float, text: str):
    assert format_value(value, scale) == text


@given(st.integers(1, 2000), st.integers(1, 300))
def test_thinning_keeps_the_mean_and_the_range(points: int, bins: int):
    values = np.sin(np.arange(points) * 1.7)
    thin = binned("loss", np.arange(points), values, bins)
    assert len(thin.x) == min(points, bins)
    if points > bins:
        assert thin.low is not None
        assert thin.high is not None
        assert thin.low.min() == values.min()
        assert thin.high.max() == values.max()
        assert np.all((thin.low <= thin.y) & (thin.y <= thin.high))
        sizes = np.diff(np.append(np.linspace(0, points, bins + 1).astype(int)[:-1], points))
        assert np.average(thin.y, weights=sizes) == pytest.approx(values.mean())
    assert np.all(np.diff(thin.x) > 0)


def test_thinning_leaves_out_what_is_not_finite():
    assert binned("loss", [1, 2, 3], [1.0, float("nan"), 3.0]).y.tolist() == [1.0, 3.0]


def test_lines_hold_the_data_and_a_band_where_there_is_one():
    band = Series("b", np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    figure = curves([line(), band], title="t", y_label="nats", log=True, end=4e6, reference=[("zstd", 1.5)])
    axes = figure.axes[0]
    assert len(axes.lines) == 3
    assert np.array_equal(np.asarray(axes.lines[0].get_ydata()), line().y)
    assert len(axes.collections) == 1
    assert axes.get_yscale() == "log"
    assert axes.get_xlim() == (0, 4e6)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "zstd"]
    assert not curves([line()]).legends


def test_stepwise_lines_jump():
    figure = curves([Series("batch", np.array([0, 10, 20]), np.array([1, 2, 2]), stepwise=True)])
    assert figure.axes[0].lines[0].get_drawstyle() == "steps-post"


def test_planned_and_realised_shares_have_the_same_colours():
    figure = stacked_shares(shares(), shares(3), title="Mixture")
    assert len(figure.axes) == 2
    above, below = (
        [np.asarray(c.get_facecolor()).tolist() for c in axes.collections] for axes in figure.axes
    )
    assert above == below
    assert len(above) == 2
    top = np.asarray(figure.axes[0].collections[1].get_paths()[0].vertices)
    assert top[:, 1].max() == pytest.approx(1.0)
    assert top[:, 1].min() == pytest.approx(0.25)
    labels = [text.get_text().strip() for text in figure.legends[0].get_texts()]
    assert labels == ["english", ODD]


def test_the_grid_has_a_panel_for_each_timeline_and_a_row_for_shares():
    panels = [
        Panel("rate", [line("embedding"), line("hidden")]),
        Panel("z-loss", [Series("z", np.array([0, 1e9]), np.zeros(2))]),
        Panel("optimizer", bands=[(0, 9e8, "AdamW"), (9e8, 1e9, "Muon")]),
        Panel("mixture", shares=shares()),
    ]
    figure = panel_grid(panels, 1e9, title="all")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [panel.title for panel in panels]
    figure.canvas.draw()
    rate, z_loss, optimizer, mixture = figure.axes
    assert mixture.get_position().width > 1.8 * rate.get_position().width
    assert [tick.get_text() for tick in z_loss.get_yticklabels()] == ["0"]
    assert [text.get_text() for text in optimizer.texts] == ["AdamW", "Muon"]
    assert panel_figure(panels[0], 1e9).legends


def test_bars_have_the_lengths_of_the_values_and_gaps_where_there_is_none():
    figure = bars(
        ["one", "two"],
        {"a": [0.5, 0.25], "b": [0.125, None]},
        errors={"a": [0.01, None]},
        reference=("chance", 0.25),
    )
    axes: Any = figure.axes[0]
    widths = [patch.get_width() for patch in axes.patches]
    assert widths[:3] == [0.5, 0.25, 0.125]
    assert np.isnan(widths[3])
    assert [text.get_text() for text in axes.texts] == ["0.5", "0.25", "0.125"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "chance"]


def test_png_is_a_png_on_white():
    data = to_png(curves([line()]), dpi=50)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")


def test_svg_takes_the_colour_of_the_page_and_loads_nothing():
    text = to_svg_text(stacked_shares(shares(), shares(3), title="Mixture"), 'what "it" shows')
    root = ElementTree.fromstring(text)
    assert root.get("aria-label") == 'what "it" shows'
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "currentColor" in text
    assert INK not in text
    assert not re.search(r'(?:href|src)="(?!#)', text)
    assert ODD in [(node.text or "").strip() for node in root.iter() if node.tag.endswith("text")]


def test_svgs_on_one_page_share_no_names_but_equal_ones():
    first, again = (to_svg_text(stacked_shares(shares()), "x") for _ in range(2))
    other = to_svg_text(curves([line()]), "x")
    assert first == again
    names = [set(re.findall(r'id="([^"]+)"', text)) for text in (first, other)]
    assert names[0]
    assert not names[0] & names[1]
    for text in (first, other):
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert used <= set(re.findall(r'id="([^"]+)"', text))


def test_no_window_system_and_no_global_state():
    code = "import sys, flyweight.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _linear(color: str) -> np.ndarray:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def _matrix(numbers: str) -> np.ndarray:
    return np.array(numbers.split(), np.float64).reshape(3, 3)


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
_VISION = {
    "normal": np.eye(3),
    "protanopia": _matrix("""
        0.152286 1.052583 -0.204868
        0.114503 0.786281 0.099216
        -0.003882 -0.048116 1.051998"""),
    "deuteranopia": _matrix("""
        0.367322 0.860646 -0.227968
        0.280085 0.672501 0.047413
        -0.01182 0.04294 0.968881"""),
}


# OKLab (Ottosson 2020): a distance of 0.02 is just noticed.
_TO_CONES = _matrix("""
    0.4122214708 0.5363325363 0.0514459929
    0.2119034982 0.6806995451 0.1073969566
    0.0883024619 0.2817188376 0.6299787005""")
_TO_LAB = _matrix("""
    0.2104542553 0.7936177850 -0.0040720468
    1.9779984951 -2.4285922050 0.4505937099
    0.0259040371 0.7827717662 -0.8086757660""")


def _oklab(linear: np.ndarray) -> np.ndarray:
    return _TO_LAB @ np.cbrt(_TO_CONES @ np.clip(linear, 0, 1))


@pytest.mark.parametrize("vision", list(_VISION))
def test_the_palette_is_told_apart_by_everybody(vision: str):
    seen = [_oklab(_VISION[vision] @ _linear(color)) for color in PALETTE]
    distances = {(i, j): np.linalg.norm(seen[i] - seen[j]) for i, j in combinations(range(len(seen)), 2)}
    assert min(distances.values()) > 0.1, distances


def test_the_palette_is_seen_on_white_and_on_the_dark_page():
    luminance = [float(_linear(color) @ [0.2126, 0.7152, 0.0722]) for color in PALETTE]
    dark = float(_linear("#14171a") @ [0.2126, 0.7152, 0.0722])
    assert all(1.05 / (value + 0.05) > 2.4 for value in luminance)
    assert all((value + 0.05) / (dark + 0.05) > 3 for value in luminance)


def test_more_colours_than_the_palette_has_are_still_different():
    assert len(set(colors(3 * len(PALETTE)))) == 3 * len(PALETTE)


def test_fitted_curves_and_what_they_have_not_seen():
    x = np.array([1e5, 2e5, 4e5])
    curve = Series("law", x, x / 1e5, x / 2e5, x / 5e4)
    seen, unseen = Fitted("64x4", x, x / 1e5, curve), Fitted("128x4", x, x / 2e5, curve, held_out=True)
    figure = fitted(
        [
            FittedPanel("one", [seen, unseen]),
            FittedPanel("two", [seen], (2e5, 1.5e5, 3e5)),
            FittedPanel("three", [seen]),
        ],
        x_label="tokens", y_label="loss", title="law", x_written=format_clock, log_x=True,
    )  # fmt: skip
    one, two, three, empty = figure.axes
    assert [line.get_markerfacecolor() for line in one.lines if line.get_marker() == "o"][1] == "none"
    dashed = [line.get_linestyle() for line in one.lines if line.get_marker() == "None"]
    assert dashed == ["-", "--"]
    assert len(one.collections) == 2  # bands
    assert two.lines[-1].get_xdata()[0] == 2e5
    assert not empty.get_visible()
    figure.canvas.draw()
    assert [tick.get_text() for tick in three.get_xticklabels()] == ["100K", "200K", "400K"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["64x4", "128x4"]


def test_a_mark_at_the_edge_of_the_axes_is_whole_and_a_line_stays_inside():
    x = np.array([0.0, 50.0, 100.0])
    figure = curves([Series("marked", x, x, markers=True), Series("line", x, x)], end=100.0)
    marked, line = figure.axes[0].lines
    assert not marked.get_clip_on()
    assert line.get_clip_on()
