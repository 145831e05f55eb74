"""The figures of a run, from its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from flyweight.planning import timeline_panels
from flyweight.planning.timelines import in_order_of_plan, planned_shares
from flyweight.plots import (
    Series,
    Shares,
    binned,
    curves,
    figure_width,
    panel_figure,
    stacked_shares,
    to_svg_text,
)
from flyweight.recipe import format_tokens
from flyweight.report.markup import Html, figure
from flyweight.report.names import labelled, palette_of, short_names
from flyweight.report.results import bits_per_byte_rows, number
from flyweight.report.run import RunRecord

FEW = 40
"""Measurements up to which each gets a mark."""

SMALL = 3.3
"""Inches of a figure that is one of four in a row."""

MANY_LINES = 8
"""More lines than this in one figure cannot be told apart."""

FAULTS = {"step_skipped": "step skipped", "rolled_back": "went back"}
"""What is marked on the axis of tokens."""


def loss_series(run: RunRecord, label: str) -> Series:
    """Training loss, thinned out to what a figure can show, its range as a band."""
    return step_series(run, "loss", label)


def step_series(run: RunRecord, key: str, label: str, factor: float = 1) -> Series:
    """One value of the log lines, times `factor`, over tokens; lines without it are left out."""
    known = [(step["clock"], value) for step in run.steps if (value := number(step.get(key))) is not None]
    return binned(label, [clock for clock, _ in known], [factor * value for _, value in known])


def bits_series(run: RunRecord) -> list[Series]:
    """Bits per byte on held-out text, one line a source."""
    validations = run.of("validated")
    names = short_names(dict.fromkeys(name for event in validations for name in event["bits_per_byte"]))
    return [
        over_clock(label, {e["clock"]: e["bits_per_byte"].get(name) for e in validations})
        for name, label in names.items()
    ]


def over_clock(
    label: str, values: Mapping[int, float | None], errors: Mapping[int, float | None] | None = None
) -> Series:
    """Measurements by their clocks as a line, with a band of one standard error where `errors` are known."""
    known = {clock: value for clock, value in values.items() if value is not None}
    x, y = np.array(list(known), np.float64), np.array(list(known.values()), np.float64)
    low = high = None
    if errors is not None and any(errors.get(clock) is not None for clock in known):
        spread = np.array([errors.get(clock) or 0.0 for clock in known], np.float64)
        low, high = y - spread, y + spread
    return Series(label, x, y, low, high, markers=len(known) <= FEW)


def mean_bits(run: RunRecord, label: str) -> Series:
    """The plain mean over sources of bits per byte."""
    lines = bits_series(run)
    clocks = sorted(set.intersection(*(set(line.x.tolist()) for line in lines))) if lines else []
    values = [np.mean([line.y[line.x.tolist().index(clock)] for line in lines]) for clock in clocks]
    return Series(label, np.array(clocks), np.array(values, np.float64), markers=len(clocks) <= FEW)


def loss_figure(runs: Sequence[RunRecord]) -> Figure:
    """Training loss of one or several runs."""
    series = [loss_series(run, label) for run, label in labelled(runs, "training loss") if run.steps]
    return curves(
        series,
        title="Training loss",
        y_label="nats per token",
        end=end_of(runs),
        marks=_fault_marks(runs),
        palette=palette_of(runs),
    )


def mixture_figure(run: RunRecord) -> Figure:
    """The planned mixture, and the realised one under it; of many sources the smallest taken together."""
    planned = planned_shares(run.recipe)
    realised = in_order_of_plan(planned, run.realised.shares()) if run.realised is not None else None
    means = {name: float(np.trapezoid(share, planned.tokens)) for name, share in planned.by_source.items()}
    kept = set(
        sorted(means, key=lambda name: -means[name])[:MANY_LINES] if len(means) > MANY_LINES + 1 else means
    )
    return stacked_shares(
        _joined(planned, kept),
        _joined(realised, kept) if realised is not None else None,
        title="Mixture",
        end=float(run.recipe.training.tokens),
    )


def _joined(shares: Shares, kept: set[str]) -> Shares:
    """Shares in which all sources but those `kept` are one; long names are shortened."""
    labels = short_names(shares.by_source)
    named = {labels[name]: share for name, share in shares.by_source.items() if name in kept}
    others = [share for name, share in shares.by_source.items() if name not in kept]
    more = {f"{len(others)} others": np.sum(others, axis=0)} if others else {}
    return Shares(shares.tokens, {**named, **more})


def training_figures(runs: Sequence[RunRecord]) -> list[Html]:
    """Loss, bits per byte, gradient norm, speed, share of peak and waiting for data, over tokens."""
    drawn = []
    if any(run.steps for run in runs):
        series = [loss_series(run, label) for run, label in labelled(runs, "training loss") if run.steps]
        drawn.append(svg(loss_figure(runs), described("Training loss, nats per token", series)))
    drawn += bits_figures(runs)
    for key, title, unit, factor in (
        ("grad_norm", "Gradient norm before clipping", "", 1),
        ("tokens_per_second", "Throughput", "tokens per second", 1),
        ("share_of_peak", "Share of peak", "percent of the device's peak", 100),
    ):
        series = [step_series(run, key, label, factor) for run, label in labelled(runs, title.lower())]
        series = [line for line in series if len(line.x)]
        if series:
            marks = _fault_marks(runs) if key == "grad_norm" else None
            shown = curves(
                series,
                title=title,
                y_label=unit,
                end=end_of(runs),
                marks=marks,
                floor=0,
                palette=palette_of(runs),
            )
            drawn.append(svg(shown, described(f"{title}{', ' * bool(unit)}{unit}", series)))
    return drawn


def bits_figures(runs: Sequence[RunRecord]) -> list[Html]:
    """Bits per byte over tokens: of one run a line a source, of several the mean over sources.

    Of one run with many sources only the mean is drawn, with the range over sources as its band.
    """
    title, unit, reference = "Bits per byte, held-out", "bits per byte", []
    if len(runs) == 1:
        series = bits_series(runs[0])
        reference = _compressors(runs[0], series[0].label) if len(series) == 1 else []
        if len(series) > MANY_LINES:
            title, series = f"Bits per byte, {len(series)} sources: mean, range", [_mean_and_range(series)]
    else:
        title = f"{title}, mean of sources"
        series = [mean_bits(run, label) for run, label in labelled(runs)]
    series = [line for line in series if len(line.x)]
    if not series:
        return []
    drawn = curves(
        series, title=title, y_label=unit, end=end_of(runs), reference=reference, palette=palette_of(runs)
    )
    return [svg(drawn, described(title, series), _last_is_full(runs))]


def _last_is_full(runs: Sequence[RunRecord]) -> str:
    """A last validation over more text than those before it may move the line: that is said."""
    for run in runs:
        evaluation = run.recipe.evaluation
        if {bool(event.get("full")) for event in run.of("validated")} == {True, False}:
            last, few = evaluation.final_tokens, format_tokens(evaluation.tokens)
            text = f"up to {format_tokens(last)} tokens of each source" if last else "all held-out text"
            return f"The last point is over {text}, those before it over at most {few} tokens of each source."
    return ""


def bits_by_source(runs: Sequence[RunRecord]) -> list[Html]:
    """Bits per byte over tokens, a figure a source, a line a run."""
    by_run = [{line.label: line for line in bits_series(run)} for run in runs]
    drawn = []
    for source in dict.fromkeys(name for lines in by_run for name in lines):
        series = [
            Series(label, lines[source].x, lines[source].y, markers=lines[source].markers)
            for (_, label), lines in zip(labelled(runs, "bits per byte"), by_run, strict=True)
            if source in lines
        ]
        shown = curves(
            series, title=source, y_label="bits per byte", end=end_of(runs), palette=palette_of(runs)
        )
        drawn.append(svg(shown, described(f"Bits per byte on held-out {source}", series)))
    return drawn


def _mean_and_range(series: Sequence[Series]) -> Series:
    clocks = sorted(set.intersection(*(set(line.x.tolist()) for line in series)))
    values = np.array([[line.y[line.x.tolist().index(clock)] for line in series] for clock in clocks])
    values = values.reshape(len(clocks), len(series))
    return Series(
        "mean", np.array(clocks), values.mean(1), values.min(1), values.max(1), markers=len(clocks) <= FEW
    )


def _compressors(run: RunRecord, source: str) -> list[tuple[str, float]]:
    rows = bits_per_byte_rows(run.results, {})
    own = ("before training", "after training")
    return [(name, row[source]) for name, row in rows.items() if name not in own and source in row]


def _fault_marks(runs: Sequence[RunRecord]) -> dict[str, list[float]]:
    """Where steps were skipped and runs went back, by what the legend says of it."""
    found: dict[str, list[float]] = {}
    for run, label in labelled(runs, ""):
        for kind, what in FAULTS.items():
            clocks = [float(event["clock"]) for event in run.of(kind)]
            if clocks:
                found[f"{label}: {what}" if label else what] = clocks
    return found


def timeline_figures(run: RunRecord) -> list[Html]:
    """Every planned timeline as a small figure of its own, the mixture left out."""
    end = float(run.recipe.training.tokens)
    with figure_width(SMALL):
        drawn = [
            (panel, panel_figure(panel, end)) for panel in timeline_panels(run.recipe) if panel.shares is None
        ]
    return [svg(shown, _panel_in_words(panel.title, panel.series, panel.bands)) for panel, shown in drawn]


def _panel_in_words(title: str, series: Sequence[Series], bands: Sequence[tuple[float, float, str]]) -> str:
    if bands:
        told = ", ".join(f"{name} from {format_tokens(int(start))}" for start, _, name in bands)
        return f"{title}, planned, over tokens: {told}."
    return described(f"{title}, planned,", series)


def mixture_svg(run: RunRecord) -> Html:
    """`mixture_figure` for the page."""
    return svg(
        mixture_figure(run), "Mixture over tokens, planned and realised; the table says the same in numbers."
    )


def svg(drawn: Figure, description: str, caption: str = "") -> Html:
    """A drawing for the page, with what it shows in words."""
    return figure(to_svg_text(drawn, description), caption)


def described(what: str, series: Sequence[Series]) -> str:
    """A drawing of lines over tokens in a sentence: where each begins, ends, and was lowest and highest."""
    told = [_line_in_words(line) for line in series[:MANY_LINES] if len(line.x)]
    more = [f"and {len(series) - MANY_LINES} more"] if len(series) > MANY_LINES else []
    return f"{what} over tokens. {'; '.join([*told, *more])}."


def _line_in_words(line: Series) -> str:
    first, last = (f"{line.y[i]:.4g} at {format_tokens(int(line.x[i]))}" for i in (0, -1))
    if len(line.x) == 1:
        return f"{line.label}: {first}"
    return f"{line.label}: from {first} to {last}, lowest {line.y.min():.4g}, highest {line.y.max():.4g}"


def end_of(runs: Sequence[RunRecord]) -> float:
    """Where the axis of tokens ends: where the furthest run is."""
    return float(
        max((run.clock for run in runs), default=0) or max(run.recipe.training.tokens for run in runs)
    )
