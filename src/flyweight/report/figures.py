"""The figures of a run, from its record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from flyweight.planning import timeline_panels
from flyweight.planning.timelines import in_order_of_plan, planned_shares
from flyweight.plots import Series, bars, binned, curves, panel_figure, stacked_shares, to_svg_text
from flyweight.report.markup import Html, figure, h
from flyweight.report.results import Measurement, bits_per_byte_rows
from flyweight.report.run import RunRecord

FEW = 40
"""Measurements up to which each gets a mark."""


def loss_series(run: RunRecord, label: str) -> Series:
    """Training loss, thinned out to what a figure can show, its range as a band."""
    return step_series(run, "loss", label)


def step_series(run: RunRecord, key: str, label: str) -> Series:
    """One value of the log lines over tokens; lines without it are left out."""
    known = [step for step in run.steps if step.get(key) is not None]
    return binned(label, [step["clock"] for step in known], [step[key] for step in known])


def bits_series(run: RunRecord) -> list[Series]:
    """Bits per byte on held-out text, one line a source."""
    validations = run.of("validated")
    result = []
    for source in dict.fromkeys(name for event in validations for name in event["bits_per_byte"]):
        known = [event for event in validations if source in event["bits_per_byte"]]
        clocks = np.array([event["clock"] for event in known], np.float64)
        values = np.array([event["bits_per_byte"][source] for event in known], np.float64)
        result.append(Series(source, clocks, values, markers=len(known) <= FEW))
    return result


def task_series(runs: Sequence[RunRecord]) -> list[Series]:
    """Scores on tasks that were measured on the way, one line a task (and a run, where there are several)."""
    result = []
    for run in runs:
        events = run.of("evaluated")
        for task in dict.fromkeys(name for event in events for name in event["scores"]):
            known = [event for event in events if task in event["scores"]]
            label = f"{_label(run, runs)}: {task}" if len(runs) > 1 else task
            clocks = np.array([event["clock"] for event in known], np.float64)
            values = np.array([100 * event["scores"][task] for event in known], np.float64)
            result.append(Series(label, clocks, values, markers=len(known) <= FEW))
    return result


def mean_bits(run: RunRecord, label: str) -> Series:
    """The plain mean over sources of bits per byte."""
    lines = bits_series(run)
    clocks = sorted(set.intersection(*(set(line.x.tolist()) for line in lines))) if lines else []
    values = [np.mean([line.y[line.x.tolist().index(clock)] for line in lines]) for clock in clocks]
    return Series(label, np.array(clocks), np.array(values, np.float64), markers=len(clocks) <= FEW)


def loss_figure(runs: Sequence[RunRecord]) -> Figure:
    """Training loss of one or several runs."""
    series = [loss_series(run, _label(run, runs)) for run in runs if run.steps]
    return curves(series, title="Training loss", y_label="nats per token", end=_end(runs))


def mixture_figure(run: RunRecord) -> Figure:
    """The planned mixture, and the realised one under it."""
    planned = planned_shares(run.recipe)
    realised = in_order_of_plan(planned, run.realised.shares()) if run.realised is not None else None
    return stacked_shares(planned, realised, title="Mixture", end=float(run.recipe.training.tokens))


def training_figures(runs: Sequence[RunRecord]) -> list[Html]:
    """Loss, bits per byte, gradient norm, speed and share of peak over tokens."""
    end = _end(runs)
    drawn = []
    if any(run.steps for run in runs):
        drawn.append(_svg(loss_figure(runs), "Training loss over tokens"))
    if bits := _bits_figure(runs, end):
        drawn.append(_svg(bits, "Bits per byte on held-out text over tokens"))
    if scores := task_series(runs):
        drawn.append(
            _svg(curves(scores, title="Tasks", y_label="percent", end=end), "Scores on tasks over tokens")
        )
    for key, title, unit in (
        ("grad_norm", "Gradient norm before clipping", ""),
        ("tokens_per_second", "Throughput", "tokens per second"),
        ("share_of_peak", "Share of peak", "share of the device's peak"),
    ):
        series = [step_series(run, key, _label(run, runs)) for run in runs]
        series = [line for line in series if len(line.x)]
        if series:
            drawn.append(_svg(curves(series, title=title, y_label=unit, end=end), f"{title} over tokens"))
    return drawn


def _bits_figure(runs: Sequence[RunRecord], end: float) -> Figure | None:
    if len(runs) > 1:
        series = [line for line in (mean_bits(run, _label(run, runs)) for run in runs) if len(line.x)]
        title = "Bits per byte, held-out, mean of sources"
        return curves(series, title=title, y_label="bits per byte", end=end) if series else None
    series = bits_series(runs[0])
    if not series:
        return None
    rows = bits_per_byte_rows(runs[0].results, {})
    compressors = [
        (name, row) for name, row in rows.items() if name not in ("before training", "after training")
    ]
    reference = []
    if len(series) == 1:
        reference = [(name, row[series[0].label]) for name, row in compressors if series[0].label in row]
    return curves(
        series, title="Bits per byte, held-out", y_label="bits per byte", end=end, reference=reference
    )


def bits_bars(run: RunRecord) -> Html:
    """Bits per byte after training beside the compressors', by source; nothing without a compressor."""
    rows = bits_per_byte_rows(run.results, run.bits_per_byte)
    rows.pop("before training", None)
    after = rows.get("after training")
    if after is None or len(rows) < 2:
        return Html()
    sources = list(after)
    values = {label: [row.get(source) for source in sources] for label, row in rows.items()}
    drawn = bars(
        sources, values, title="Bits per byte beside compressors", x_label="bits per byte; less is better"
    )
    return _svg(drawn, "Bits per byte after training and of compressors, by source")


def task_bars(rows: Sequence[Measurement]) -> Html:
    """The shares that tasks measured, with standard errors; chance is drawn where all have the same."""
    shown = [
        row for row in rows if row.is_share and row.metric == "acc" and len(row.part) <= 1 and not row.grouped
    ]
    if not shown:
        return Html()
    chances = {row.chance for row in shown}
    common = chances.pop() if len(chances) == 1 else None
    drawn = bars(
        [" ".join([row.task, *row.part]) for row in shown],
        {"accuracy": [100 * row.value for row in shown]},
        errors={"accuracy": [None if row.stderr is None else 100 * row.stderr for row in shown]},
        title="Accuracy",
        x_label="per cent",
        reference=None if common is None else ("chance", 100 * common),
    )
    return _svg(drawn, "Accuracy on tasks, with standard errors")


def timeline_figures(run: RunRecord) -> list[Html]:
    """Every planned timeline as a small figure of its own, the mixture left out."""
    end = float(run.recipe.training.tokens)
    return [
        _svg(panel_figure(panel, end), f"{panel.title}, planned, over tokens")
        for panel in timeline_panels(run.recipe)
        if panel.shares is None
    ]


def mixture_svg(run: RunRecord) -> Html:
    """`mixture_figure` for the page."""
    return _svg(mixture_figure(run), "Mixture over tokens, planned and realised")


def grid(figures: Sequence[Html], *, small: bool = False) -> Html:
    """Figures beside and under each other, as the page's width allows."""
    return h("div", figures, class_="figures small" if small else "figures") if figures else Html()


def _svg(drawn: Figure, description: str) -> Html:
    return figure(to_svg_text(drawn, description))


def _label(run: RunRecord, runs: Sequence[RunRecord]) -> str:
    return title_of(run, runs) if len(runs) > 1 else "training loss"


def title_of(run: RunRecord, runs: Sequence[RunRecord]) -> str:
    """The run's name; with its folder's name where another run has the same name."""
    alike = [other for other in runs if other.name == run.name]
    return run.name if len(alike) == 1 else f"{run.name} ({run.folder})"


def _end(runs: Sequence[RunRecord]) -> float:
    return float(
        max((run.clock for run in runs), default=0) or max(run.recipe.training.tokens for run in runs)
    )
