"""What a search shows while it runs: a table of trials, the time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from flyweight.windtunnel.costs import short_time
from flyweight.windtunnel.search import DIVERGED
from flyweight.windtunnel.study import Study

if TYPE_CHECKING:
    import optuna

SHOWN = 12
"""Trials in the live table: the best and the newest."""


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
        return f"; {len(finished)} of {self.study.tunnel.trials}, about {short_time(left)} left"

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
