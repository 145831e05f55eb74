"""Every timeline of a recipe as panels, a figure, a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from flyweight.model import Role, role_rules
from flyweight.planning.realised import Realised
from flyweight.plots import Panel, Series, Shares, panel_grid, write_figure
from flyweight.recipe import Recipe, Timeline

POINTS = 160
"""Places at which curved timelines are read, beside their knots."""

_OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon"}


def timeline_panels(recipe: Recipe) -> list[Panel]:
    """One panel for each thing that a recipe says over tokens, constants included."""
    training, end = recipe.training, recipe.training.tokens
    panels = [Panel("Learning rate by role", _rates(recipe))]
    base = [("RoPE base", training.rope_theta)] if training.rope_theta else []
    for title, timeline in (
        ("Weight decay", training.weight_decay),
        ("z-loss coefficient", training.z_loss),
        ("Batch size, sequences", training.batch_size),
        ("Sequence length, tokens", training.sequence_length),
        *base,
    ):
        panels.append(Panel(title, [_line(title, timeline, end)]))
    knots = training.optimizer
    stops = [*(min(knot.at, end) for knot in knots[1:]), end]
    bands = [
        (knot.at, stop, _OPTIMIZERS[knot.kind])
        for knot, stop in zip(knots, stops, strict=True)
        if knot.at < stop
    ]
    return [*panels, Panel("Optimizer", bands=bands), Panel("Mixture", shares=planned_shares(recipe))]


def planned_shares(recipe: Recipe) -> Shares:
    """The share of each source over the run."""
    timelines = recipe.training.mixture_timelines()
    clocks = clock_points(recipe.training.tokens, *timelines.values(), curved=False)
    return Shares(clocks, {name: timeline.values(clocks) for name, timeline in timelines.items()})


def clock_points(end: int, *timelines: Timeline, curved: bool = True) -> np.ndarray:
    """Clocks at which to read timelines for a drawing: their knots, the places just before, the ends.

    `curved` adds POINTS places between, which straight lines do not need.
    """
    knots = {knot.at for timeline in timelines for knot in timeline.knots}
    places = {0, end} | {clock for at in knots for clock in (at - 1, at) if 0 <= clock <= end}
    if curved:
        places |= {round(end * index / POINTS) for index in range(POINTS + 1)}
    return np.array(sorted(places), dtype=np.int64)


def _line(label: str, timeline: Timeline, end: int) -> Series:
    clocks = clock_points(end, timeline, curved=not timeline.is_stepwise)
    return Series(label, clocks, timeline.values(clocks))


def _rates(recipe: Recipe) -> list[Series]:
    """The learning rate of each role; roles with the same rate share a line."""
    training = recipe.training
    lines: dict[tuple[float, ...], tuple[list[str], Series]] = {}
    for role in Role:
        if role is Role.READOUT and recipe.model.tie_word_embeddings:
            continue
        own = training.role_learning_rate.get(role.value)
        line = _line(role.value, own or training.learning_rate, training.tokens)
        if own is None:
            line = _multiplied(line, recipe, role)
        key = (*line.x.tolist(), *line.y.tolist())
        lines.setdefault(key, ([], line))[0].append(role.value)
    if len(lines) == 1:
        _, line = next(iter(lines.values()))
        return [replace(line, label="all roles")]
    return [replace(line, label=", ".join(roles)) for roles, line in lines.values()]


def _multiplied(line: Series, recipe: Recipe, role: Role) -> Series:
    """The base rate times what the role table says under the optimizer of each clock."""
    knots = recipe.training.optimizer
    switches = {clock for knot in knots[1:] for clock in (knot.at - 1, knot.at) if knot.at < line.x[-1]}
    clocks = np.array(sorted({*line.x.tolist(), *switches}), dtype=np.int64)
    of_knot = np.array(
        [
            role_rules(recipe.model, recipe.parametrization, knot.kind)[role].learning_rate_multiplier
            for knot in knots
        ]
    )
    running = np.searchsorted([knot.at for knot in knots], clocks, side="right") - 1
    return replace(line, x=clocks, y=recipe.training.learning_rate.values(clocks) * of_knot[running])


def in_order_of_plan(planned: Shares, realised: Shares) -> Shares:
    """The realised shares with their sources in the plan's order: the same colour for the same source."""
    names = [name for name in planned.by_source if name in realised.by_source]
    return Shares(realised.tokens, {name: realised.by_source[name] for name in names})


def timelines_figure(recipe: Recipe, realised: Realised | None = None) -> Figure:
    """All panels in one figure; under the planned mixture, where given, what a run came to."""
    panels = timeline_panels(recipe)
    if realised is not None:
        shares = in_order_of_plan(planned_shares(recipe), realised.shares())
        panels[-1] = replace(panels[-1], title="Mixture, planned")
        panels.append(Panel("Mixture, realised", shares=shares))
    return panel_grid(panels, recipe.training.tokens, title=recipe.name)


def plot_timelines(recipe: Recipe, path: Path, realised: Realised | None = None) -> None:
    """Write a plot of every timeline, and of what a run of the recipe read, where given.

    Raises:
        UserError: `path` is neither .png nor .svg.
    """
    write_figure(timelines_figure(recipe, realised), path, f"Every timeline of {recipe.name} over tokens")
