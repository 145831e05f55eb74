"""What a search shows while it runs: its cost beforehand, a table of trials, the time left."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from flyweight.model import parameter_counts
from flyweight.plots import format_power
from flyweight.recipe import Recipe, format_tokens
from flyweight.training import measured_speed
from flyweight.windtunnel.branches import Tree
from flyweight.windtunnel.scaling_runs import Ladder, Scaling, Size, tokens_of_ladder
from flyweight.windtunnel.search import DIVERGED
from flyweight.windtunnel.study import Study
from flyweight.windtunnel.transfer import Grid, Transfer, sized, swept_recipe
from flyweight.windtunnel.workers import on_few_threads

if TYPE_CHECKING:
    import optuna

SHOWN = 12
"""Trials in the live table: the best and the newest."""

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


class TrialsTable:
    """A live table of a study on a terminal; elsewhere a line for each trial that ended."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._console = Console()
        self._began = time.monotonic()
        self._known: set[int] = set()
        self._finished_at_start: int | None = None
        self._live: Live | None = None

    def __enter__(self) -> TrialsTable:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, trials: list[optuna.trial.FrozenTrial]) -> None:
        """Show all trials as they stand."""
        finished = [trial for trial in trials if trial.state.is_finished()]
        if self._finished_at_start is None:
            self._finished_at_start = len(finished)
            self._known = {trial.number for trial in finished}
        if self._live is not None:
            self._live.update(self._table(trials, finished))
            return
        for trial in finished:
            if trial.number not in self._known:
                self._known.add(trial.number)
                self._console.print(" ".join(_row(trial)) + self._left(finished), highlight=False)

    def _left(self, finished: list[optuna.trial.FrozenTrial]) -> str:
        done = len(finished) - (self._finished_at_start or 0)
        if not done:
            return ""
        left = (time.monotonic() - self._began) / done * (self.study.tunnel.trials - len(finished))
        return f"; {len(finished)} of {self.study.tunnel.trials}, about {_time(left)} left"

    def _table(
        self, trials: list[optuna.trial.FrozenTrial], finished: list[optuna.trial.FrozenTrial]
    ) -> Table:
        names = [key.rpartition(".")[2] for key in sorted(self.study.tunnel.space)]
        title = (
            f"{self.study.name}: {len(finished)} of {self.study.tunnel.trials} trials{self._left(finished)}"
        )
        table = Table("trial", *names, "bits per byte", "", title=title, title_justify="left")
        ranked = sorted(finished, key=lambda trial: (_value(trial), trial.number))
        shown = (
            ranked[: SHOWN // 2]
            + [trial for trial in trials if trial not in ranked[: SHOWN // 2]][-SHOWN // 2 :]
        )
        for trial in shown:
            best = bool(ranked) and trial.number == ranked[0].number and _value(trial) < float("inf")
            table.add_row(*_row(trial), style="bold" if best else None)
        return table


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


def scaling_lines(found: Scaling) -> list[str]:
    """What a law came to, for people."""
    fit, law = found.fit, found.fit.law
    lines = [
        f"bits per byte = {law.a:.4g} N^-{law.alpha:.3f} + {law.b:.4g} D^-{law.beta:.3f} + {law.c:.4g}, with N "
        f"parameters in matrices and D tokens; {len(found.branches)} branches, off by {fit.residual:.2%} (root mean "
        f"square)"
    ]
    for branch in found.held_out:
        middle, low, high = fit.predict(branch.parameters, branch.tokens)
        inside = "inside" if low <= branch.objective <= high else "outside"
        lines.append(
            f"held out, {branch.width}x{branch.depth} at {format_tokens(branch.tokens)} tokens: measured "
            f"{branch.objective:.4f}, predicted {middle:.4f} ({low:.4f} to {high:.4f}): "
            f"{branch.objective / middle - 1:+.2%}, {inside} the interval"
        )
    return lines


def _row(trial: optuna.trial.FrozenTrial) -> list[str]:
    values = [f"{trial.params[key]:.4g}" for key in sorted(trial.params)]
    note = trial.state.name.lower()
    if DIVERGED in trial.user_attrs:
        note = "diverged"
    elif note == "complete":
        note = ""
    value = _value(trial)
    if value == float("inf") and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return [f"{trial.number:4d}", *values, "-" if value == float("inf") else f"{value:.4f}", note]


def _value(trial: optuna.trial.FrozenTrial) -> float:
    from optuna.trial import TrialState

    complete = trial.state is TrialState.COMPLETE and trial.value is not None
    return trial.value if complete and trial.value is not None else float("inf")


def _with(seconds: float, workers: int) -> str:
    return f"{_time(seconds)} with {workers} worker{'s' if workers > 1 else ''}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
