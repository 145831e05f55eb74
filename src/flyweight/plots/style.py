"""One restrained look for every figure: ink, palette, fonts, the token axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

INK = "#5b6169"
"""Text and axes. `to_svg_text` turns it into the page's own text colour."""

PALETTE = ("#3389d9", "#e28100", "#17b88e", "#74599a", "#5f42f8", "#99680a", "#41afdb", "#797d7f")
"""Told apart under protanopia and deuteranopia, and seen both on white and on near black."""

WIDTH = 5.2
"""Inches of a figure, where `figure_width` says nothing else."""

_width: ContextVar[float] = ContextVar("width of figures", default=WIDTH)

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": INK,
    "grid.alpha": 0.18,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.facecolor": "none",
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.3,
    "legend.columnspacing": 1.2,
    "text.parse_math": False,  # a $ in the name of a source is a $
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib settings of the common style, for this block only."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


@contextmanager
def figure_width(inches: float) -> Iterator[None]:
    """Figures of this block are so wide; a page that shows them small keeps their text legible by a small width."""
    token = _width.set(inches)
    try:
        yield
    finally:
        _width.reset(token)


def new_figure(height: float, width: float | None = None) -> Figure:
    """An empty figure of this size in inches, tied to no window and to no global state."""
    figure = Figure(figsize=(_width.get() if width is None else width, height))
    FigureCanvasAgg(figure)
    # In inches; with less, bold titles touch the edge.
    figure.set_layout_engine("constrained", w_pad=0.07, h_pad=0.07)
    return figure


def legend_label(name: str) -> str:
    """The name as a label; Matplotlib would leave one that begins with an underscore out of the legend."""
    return f" {name}" if name.startswith("_") else name


def colors(count: int) -> list[str]:
    """`count` colours: the palette, then lighter and darker variants of it, a new shade each round."""
    result = []
    for index in range(count):
        shade, base = divmod(index, len(PALETTE))
        result.append(_shaded(PALETTE[base], shade))
    return result


def colors_of(labels: Sequence[str], palette: Mapping[str, str] | None = None) -> list[str]:
    """A colour for each label: that of `palette`, where it names one; else the next of `colors`."""
    return [
        (palette or {}).get(label, color) for label, color in zip(labels, colors(len(labels)), strict=True)
    ]


def _shaded(color: str, shade: int) -> str:
    """Round 0: the colour; odd rounds move towards white, even ones towards black."""
    if shade == 0:
        return color
    towards, amount = (255, 0.5) if shade % 2 else (0, 0.35)
    channels = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(c + (towards - c) * amount):02x}" for c in channels)


def format_clock(tokens: float) -> str:
    """A tick of a token axis: 5000000 is `5M`, 2.5e9 is `2.5B`."""
    for suffix, unit in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(tokens) >= unit * (1 - 1e-9):
            return f"{tokens / unit:.4g}{suffix}"
    return f"{tokens:.4g}"


def format_value(value: float, scale: float | None = None) -> str:
    """A tick of a value axis whose largest value is `scale`: `0.25`, `16,384`, `1.5e-3`.

    All ticks of an axis are written alike: with an exponent where the largest is below 0.005.
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    largest = abs(value) if scale is None else scale
    if largest < 5e-3 or largest >= 1e7:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def token_axis(axes: Axes, end: float | None = None, *, label: bool = True, ticks: int = 6) -> None:
    """Make the x axis a clock in tokens, from 0 to `end` where that is given."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_clock(value)))
    axes.grid(visible=False, axis="x")
    if end is not None and end > 0:
        axes.set_xlim(0, end)
    if label:
        axes.set_xlabel("tokens")


def value_axis(axes: Axes, *, log: bool, ticks: int = 5) -> None:
    """Format the y axis; on a log axis the ticks are chosen by Matplotlib."""
    if log:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    formatter = FuncFormatter(lambda value, _: format_value(value, max(map(abs, axes.get_ylim()))))
    axes.yaxis.set_major_formatter(formatter)
    if log and _decades(axes) < 1:
        axes.yaxis.set_minor_formatter(formatter)


def power_ticks(axis: Axis, written: Callable[[float], str] | None = None) -> None:
    """Ticks at powers of two of an axis that is logarithmic to base two; by `format_power`, or as `written` says."""
    write = written or format_power
    axis.set_major_locator(LogLocator(base=2, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_minor_locator(NullLocator())


def format_power(value: float) -> str:
    """A tick of such an axis: 64, or 2^-7 for what is below one."""
    exponent = math.log2(value)
    if value >= 1:
        return format_value(value)
    whole = abs(exponent - round(exponent)) < 1e-9
    return f"2^{round(exponent)}" if whole else f"2^{exponent:.2f}"


def _decades(axes: Axes) -> float:
    low, high = axes.get_ylim()
    return math.log10(high / low) if low > 0 else math.inf


def legend_below(figure: Figure, handles: list[Any], labels: list[str], *, reverse: bool = False) -> None:
    """A legend under the axes, in as many columns as its labels leave room for; room is added."""
    if not labels:
        return
    if reverse:
        handles, labels = handles[::-1], labels[::-1]
    width, height = figure.get_size_inches()
    longest = max(len(label) for label in labels)
    columns = max(1, min(len(labels), int(width / (0.075 * longest + 0.42))))
    rows = math.ceil(len(labels) / columns)
    figure.set_size_inches(width, height + 0.19 * rows + 0.05)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, borderaxespad=0.3)
