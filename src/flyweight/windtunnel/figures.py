"""What the wind tunnel draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from flyweight.plots import Fitted, FittedPanel, Panel, Series, fitted, format_clock, pairs, sweeps
from flyweight.windtunnel.coordinates import Coordinates
from flyweight.windtunnel.mixing_law import Response
from flyweight.windtunnel.scaling_law import Fit
from flyweight.windtunnel.scaling_runs import Branch, Scaling
from flyweight.windtunnel.search import DIVERGED
from flyweight.windtunnel.transfer import Transfer

if TYPE_CHECKING:
    import optuna


def coordinates_figure(found: Coordinates, title: str = "") -> Figure:
    """Mean absolute activation over width, a panel for each module, a line for each step; bands over seeds."""
    widths = np.array(found.widths)
    steps = found.activations.shape[1]
    shown = sorted({0, 1, 2, steps // 2, steps - 1} & set(range(steps)))
    panels = []
    for module, values in zip(found.modules, found.activations, strict=True):
        lines = [
            Series(f"step {step}", widths, values[step].mean(-1), values[step].min(-1), values[step].max(-1))
            for step in shown
        ]
        last = found.slope(module, steps - 1)
        panels.append(Panel(f"{module} ({last:+.2f})", lines))
    return sweeps(
        panels, x_label="width (slope after the last step)", y_label="mean |activation|", title=title, log=True,
        ordered=True, columns=4,
    )  # fmt: skip


def transfer_figure(found: Transfer, title: str = "") -> Figure:
    """Bits per byte over the learning rate, a panel for each parametrization, a line for each size."""
    rates = np.array(found.grid.rates)
    panels = []
    for kind in found.grid.kinds:
        lines = []
        for (parametrization, width, depth), values in found.objectives.items():
            if parametrization != kind:
                continue
            sound = np.isfinite(values).all(axis=1)
            size = f"width {width}" + (f", {depth} layers" if len(found.grid.depths) > 1 else "")
            kept = values[sound]
            lines.append(Series(size, rates[sound], kept.mean(1), kept.min(1), kept.max(1)))
        panels.append(Panel(kind, lines))
    return sweeps(
        panels, x_label="learning rate", y_label="bits per byte", title=title, ordered=True, columns=2
    )  # fmt: skip


def scaling_figure(found: Scaling, title: str = "") -> Figure:
    """Bits per byte over tokens: the branches of each size, the law through them, and sizes that it has not seen."""
    lines = [
        _line_of_size(found.fit, branches, held_out)
        for group, held_out in ((found.branches, False), (found.held_out, True))
        for branches in _by_size(group)
    ]
    return fitted(
        [FittedPanel("", lines)], x_label="tokens", y_label="bits per byte", title=title, x_written=format_clock,
        log_x=True,
    )  # fmt: skip


def response_figure(found: Response, title: str = "", unit: str = "bits per byte") -> Figure:
    """Objective and losses on each source and task over the total share; the best share with its interval.

    The curve is split as the best mixture; branches that are split otherwise lie off it for that reason too.
    """
    totals = np.linspace(*found.limits, 60)
    curves = found.along(totals)
    places = found.points.sum(axis=1)
    names = ("objective", *found.losses)
    order = (len(found.losses), *range(len(found.losses)))
    values = np.concatenate([found.measured, (found.measured @ found.weights)[:, None]], axis=1)
    panels = []
    for name, column in zip(names, order, strict=True):
        curve = Series(name, totals, *curves[:, :, column])
        best = (float(found.best.sum()), found.best_low, found.best_high) if name == "objective" else None
        panels.append(FittedPanel(name, [Fitted("branches", places, values[:, column], curve)], best))
    return fitted(
        panels, x_label=f"share of {' + '.join(found.sources)}", y_label=unit, title=title,
        x_written=lambda share: f"{share:.0%}",
    )  # fmt: skip


def _by_size(branches: Sequence[Branch]) -> list[list[Branch]]:
    found: dict[tuple[int, int], list[Branch]] = {}
    for branch in branches:
        found.setdefault((branch.width, branch.depth), []).append(branch)
    return list(found.values())


def _line_of_size(fit: Fit, branches: Sequence[Branch], held_out: bool) -> Fitted:
    first = branches[0]
    tokens = np.array([branch.tokens for branch in branches], np.float64)
    places = np.geomspace(tokens.min(), tokens.max(), 40)
    predicted = np.array([fit.predict(first.parameters, place) for place in places])
    label = f"{first.width}x{first.depth}, {format_clock(first.total_parameters)} parameters"
    return Fitted(
        label + (", held out" if held_out else ""),
        tokens,
        np.array([branch.objective for branch in branches]),
        Series(label, places, *predicted.T),
        held_out,
    )


def search_figure(trials: list[optuna.trial.FrozenTrial], title: str = "") -> Figure | None:
    """Bits per byte over each pair of knobs, as in figure 6 of Xmodel-2 (arXiv 2412.19638); None for one knob.

    A pruned trial has the colour of what it had come to, which is more than it would have had at its end.
    """
    kept = [trial for trial in trials if trial.state.name in ("COMPLETE", "PRUNED") and trial.params]
    names = sorted(kept[0].params) if kept else []
    if len(names) < 2:
        return None
    values, failed = [], []
    for trial in kept:
        last = (
            trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
        )
        value = trial.value if trial.state.name == "COMPLETE" else last
        diverged = DIVERGED in trial.user_attrs or value is None
        failed.append(diverged)
        values.append(float("nan") if diverged or value is None else value)
    spans = {name: [float(trial.params[name]) for trial in kept] for name in names}
    short = {name: name.rpartition(".")[2] for name in names}
    wide = [short[name] for name, span in spans.items() if min(span) > 0 and max(span) / min(span) >= 8]
    return pairs(
        {short[name]: span for name, span in spans.items()}, values, value_label="bits per byte", title=title,
        log=wide, failed=failed,
    )  # fmt: skip
