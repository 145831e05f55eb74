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
from flyweight.windtunnel.search import DIVERGED
from flyweight.windtunnel.study import Study
from flyweight.windtunnel.transfer import Grid, Transfer, sized
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
        f"{format_tokens(tokens)} tokens in all; about {_time(seconds)} with {workers} "
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
        f"{_time(seconds)} with {workers} worker{'s' if workers > 1 else ''}"
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


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
