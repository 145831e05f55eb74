"""The few kinds of figure that planning, reports and model cards share."""

from flyweight.plots.bars import bars
from flyweight.plots.curves import Series, binned, curves
from flyweight.plots.dots import Interval, dots
from flyweight.plots.fits import Fitted, FittedPanel, fitted
from flyweight.plots.output import to_png, to_svg_text, write_figure
from flyweight.plots.pairs import pairs
from flyweight.plots.panels import Panel, panel_figure, panel_grid
from flyweight.plots.reliability import ReliabilityBin, reliabilities, reliability
from flyweight.plots.shares import Shares, stacked_shares
from flyweight.plots.style import PALETTE, colors, figure_width, format_clock, format_power
from flyweight.plots.sweeps import sweeps

__all__ = [
    "PALETTE",
    "Fitted",
    "FittedPanel",
    "Interval",
    "Panel",
    "ReliabilityBin",
    "Series",
    "Shares",
    "bars",
    "binned",
    "colors",
    "curves",
    "dots",
    "figure_width",
    "fitted",
    "format_clock",
    "format_power",
    "pairs",
    "panel_figure",
    "panel_grid",
    "reliabilities",
    "reliability",
    "stacked_shares",
    "sweeps",
    "to_png",
    "to_svg_text",
    "write_figure",
]
