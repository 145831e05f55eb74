"""What a search and a sweep will cost, and what a sweep came to, for people."""

from __future__ import annotations

import math

from flyweight.model import parameter_counts
from flyweight.plots import format_power
from flyweight.recipe import Recipe, format_tokens
from flyweight.training import measured_speed
from flyweight.windtunnel.study import Study
from flyweight.windtunnel.table import duration
from flyweight.windtunnel.transfer import Grid, Transfer, sized
from flyweight.windtunnel.workers import on_few_threads

RUN_SECONDS = 6.6
"""Of a trial, beside its steps, validations above all: the median of the 60 trials of benchmarks/tunnel.yaml."""


def cost(study: Study, workers: int) -> list[str]:
    """What the whole search will take, for people: trials x tokens x speed, measured on this machine for a moment."""
    tunnel, proxy = study.tunnel, study.proxy
    runs = tunnel.trials + tunnel.confirm * (tunnel.seeds - 1)
    tokens = runs * proxy.training.tokens
    speed = measured_speed(on_few_threads(proxy, workers))
    seconds = (proxy.training.tokens / speed + RUN_SECONDS) * runs / workers
    values = [knob.values() for knob in tunnel.space.values()]
    points = math.prod(count for count in values if count is not None)
    return [
        f"study: {study.folder}",
        f"space: {', '.join(tunnel.space)}"
        + ("" if None in values else f"; a grid of all values would take {points:,} trials"),
        f"proxy: {parameter_counts(proxy.model)['total']:,} parameters ({proxy.model.num_hidden_layers} layers of "
        f"width {proxy.model.hidden_size}), {format_tokens(proxy.training.tokens)} tokens a trial",
        f"cost: {tunnel.trials} trials and {tunnel.confirm} x {tunnel.seeds - 1} to confirm the best, "
        f"{format_tokens(tokens)} tokens in all; about {duration(seconds)} with {workers} "
        f"worker{'s' if workers > 1 else ''}, less where trials are pruned",
    ]


def transfer_cost(recipe: Recipe, grid: Grid, workers: int) -> str:
    """What a sweep will take, for people: runs x tokens x the speed of each size, measured here for a moment."""
    seconds = 0.0
    for width in grid.widths:
        for depth in grid.depths:
            speed = measured_speed(on_few_threads(sized(recipe, grid.kinds[0], width, depth), workers))
            of_size = grid.runs / (len(grid.widths) * len(grid.depths))
            seconds += (recipe.training.tokens / speed + RUN_SECONDS) * of_size / workers
    tokens = format_tokens(grid.runs * recipe.training.tokens)
    return (
        f"cost: {grid.runs} runs of {format_tokens(recipe.training.tokens)} tokens, {tokens} in all; about "
        f"{duration(seconds)} with {workers} worker{'s' if workers > 1 else ''}"
    )


def transfer_lines(found: Transfer) -> list[str]:
    """What a sweep came to, for people."""
    lines = []
    for kind, width, depth in found.objectives:
        best = found.optimum(kind, width, depth)
        edge = ", at the edge of the grid" if best.at_edge else ""
        lines.append(
            f"{kind}, width {width}, {depth} layers: best at {format_power(best.rate)} ({best.objective:.4f} bits per "
            f"byte{edge}); with the best of the smallest {found.loss_of_carrying(kind, width, depth):+.4f}"
        )
    for kind in found.grid.kinds:
        for along in ("width", "depth"):
            sizes = found.grid.widths if along == "width" else found.grid.depths
            if len(sizes) > 1:
                lines.append(
                    f"{kind}: the optimum moved by {found.moved(kind, along=along):+.2f} factors of two from {along} "
                    f"{sizes[0]} to {sizes[-1]}"
                )
    return lines
