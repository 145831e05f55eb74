"""What the wind tunnel's commands will take, said before they begin."""

from __future__ import annotations

import math

from flyweight.model import parameter_counts
from flyweight.recipe import Recipe, format_tokens
from flyweight.training import measured_speed
from flyweight.windtunnel.branches import Tree
from flyweight.windtunnel.ratio import RatioStudy
from flyweight.windtunnel.scaling_runs import Ladder, Size, tokens_of_ladder
from flyweight.windtunnel.study import Study
from flyweight.windtunnel.table import duration
from flyweight.windtunnel.transfer import Grid, swept_recipe
from flyweight.windtunnel.widths import sized
from flyweight.windtunnel.workers import on_few_threads

RUN_SECONDS = 6.6
"""Of a trial, beside its steps, validations above all: the median of the 60 trials of benchmarks/tunnel.yaml."""


def search_cost(study: Study, workers: int, carried: int = 0) -> list[str]:
    """What the whole search will take, for people: trials x tokens x speed, measured on this machine for a moment.

    `carried` are runs beside it, with values that were found elsewhere.
    """
    tunnel, proxy = study.tunnel, study.proxy
    runs = tunnel.trials + tunnel.confirm * (tunnel.seeds - 1) + carried
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
        f"cost: {tunnel.trials} trials and {tunnel.confirm} x {tunnel.seeds - 1} to confirm the best"
        f"{f', {carried} runs with the carried values' if carried else ''}, "
        f"{format_tokens(tokens)} tokens in all; about {_with(seconds, workers)}, less "
        f"where trials are pruned",
    ]


def transfer_cost(recipe: Recipe, grid: Grid, workers: int) -> str:
    """What a sweep will take, for people: runs x tokens x the speed of each size, measured here for a moment."""
    seconds, total, counts = 0.0, 0, []
    of_size = grid.runs // (len(grid.widths) * len(grid.depths))
    for width in grid.widths:
        for depth in grid.depths:
            run = swept_recipe(recipe, grid, grid.kinds[0], width, depth)
            tokens = run.training.tokens
            seconds += (
                (tokens / measured_speed(on_few_threads(run, workers)) + RUN_SECONDS) * of_size / workers
            )
            total += tokens * of_size
            counts.append(tokens)
    each = " to ".join(dict.fromkeys(format_tokens(tokens) for tokens in (min(counts), max(counts))))
    return f"cost: {grid.runs} runs of {each} tokens, {format_tokens(total)} in all; about {_with(seconds, workers)}"


def ladder_cost(recipe: Recipe, ladder: Ladder, planned: dict[tuple[Size, int], Tree], workers: int) -> str:
    """What the runs of a scaling law will take, for people."""
    tokens = tokens_of_ladder(planned)
    runs = sum(1 + len(one.branches) for one in planned.values())
    seconds = 0.0
    for size, count in tokens.items():
        speed = measured_speed(on_few_threads(sized(recipe, recipe.parametrization.kind, *size), workers))
        seconds += count / speed + RUN_SECONDS * ladder.seeds * (1 + len(ladder.tokens))
    return (
        f"cost: {runs} runs of {len(tokens)} sizes, {format_tokens(sum(tokens.values()))} tokens in all; about "
        f"{_with(seconds / workers, workers)}"
    )


def ratio_cost(study: RatioStudy, workers: int) -> str:
    """What a ratio search will take, for people: the stable run once, and each branch's decay."""
    tunnel, proxy = study.tunnel, study.proxy
    runs = tunnel.trials + tunnel.confirm * (tunnel.seeds - 1) + tunnel.seeds
    decay = proxy.training.tokens - study.begin
    stable = study.begin * len(study.stable)
    seconds = (decay / measured_speed(on_few_threads(proxy, workers)) + RUN_SECONDS) * runs / workers
    if stable:
        runs_of_stable = stable / measured_speed(on_few_threads(proxy, workers)) + RUN_SECONDS * len(
            study.stable
        )
        seconds += runs_of_stable / workers
    once = f"{len(study.stable)} stable runs of {format_tokens(study.begin)} tokens, then " if stable else ""
    return (
        f"cost: {once}{tunnel.trials} branches, {tunnel.confirm} x {tunnel.seeds - 1} to confirm the best and "
        f"{tunnel.seeds} of the recipe's own shares, {format_tokens(decay)} tokens each; about "
        f"{_with(seconds, workers)}"
    )


def _with(seconds: float, workers: int) -> str:
    return f"{duration(seconds)} with {workers} worker{'s' if workers > 1 else ''}"
