"""The live table of a search: its trials, the best so far, the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flyweight.base.progress import Pace
from flyweight.windtunnel.machines import MACHINE, machine_name
from flyweight.windtunnel.search import DIVERGED
from flyweight.windtunnel.study import Study

if TYPE_CHECKING:
    import optuna

SHOWN = 12
"""Trials in the live table: half of them the best, half of them the newest."""

KNOB_WIDTH, BESIDE_KNOBS = 9, 34
"""Columns of the terminal that a knob takes, and all else in a row."""

BESIDE_ROWS = 10
"""Lines of the live table that are no trials: title, names, borders, what is done beside trials."""


class TrialsTable:
    """A live table of a study on a terminal; elsewhere a line for each trial that ended."""

    def __init__(self, study: Study, console: Console | None = None) -> None:
        self.study = study
        tunnel = study.tunnel
        self._names = dict(zip(study.shown_keys, short_names(study.shown_keys), strict=True))
        self._runs = tunnel.trials + tunnel.confirm * (tunnel.seeds - 1)
        self._console = console or Console(stderr=True)
        self._trials: list[optuna.trial.FrozenTrial] = []
        self._known: set[int] | None = None
        self._confirmed = (0, 0)
        self._done = -1
        self._pace: Pace | None = None
        self._live: Live | None = None

    def __enter__(self) -> TrialsTable:
        if self._console.is_terminal:
            live = Live(console=self._console, refresh_per_second=2, get_renderable=self.frame)
            live.start()
            self._live = live
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, trials: list[optuna.trial.FrozenTrial]) -> None:
        """Show all trials as they stand."""
        self._trials = trials
        self._note()
        ended = [trial for trial in trials if trial.state.is_finished()]
        new = [trial for trial in ended if self._known is not None and trial.number not in self._known]
        self._known = {trial.number for trial in ended}
        if self._live is None:
            for trial in new:
                self._console.print(
                    f"{self._line(trial)}; {self._standing()}", highlight=False, soft_wrap=True
                )

    def confirmed(self, done: int, total: int) -> None:
        """Show how many of the runs with other seeds are done."""
        if self._live is None and (done, total) != self._confirmed and done:
            self._console.print(f"other seeds of the best: {done} of {total} runs", highlight=False)
        self._confirmed = done, total
        self._note()

    def frame(self) -> Group:
        """What stands on the terminal now."""
        return Group(Text(self._standing(), style="bold"), self._table(), *map(Text, self._beside()))

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
        table.add_column("trial", justify="right")
        for name in self._fitting().values():
            table.add_column(
                name.replace("_", " "), justify="right", overflow="fold", min_width=KNOB_WIDTH - 2
            )
        table.add_column(
            "objective" if self.study.goal.tasks else "bits per byte", justify="right", min_width=7
        )
        table.add_column("", overflow="ellipsis", no_wrap=True)
        rows = max(2, min(SHOWN, self._console.height - BESIDE_ROWS))
        best = self._ranked()[: rows // 2]
        among_best = {trial.number for trial in best}
        newest = [trial for trial in self._trials if trial.number not in among_best][-(rows - len(best)) :]
        for trial in best:
            table.add_row(*self._row(trial), style="bold" if trial is best[0] else None)
        if best and newest:
            table.add_section()
        for trial in newest:
            table.add_row(*self._row(trial))
        return table

    def _ranked(self) -> list[optuna.trial.FrozenTrial]:
        complete = [trial for trial in self._trials if trial.state.name == "COMPLETE"]
        return sorted(complete, key=lambda trial: (trial.value, trial.number))

    def _note(self) -> None:
        """The pace, when something ended."""
        done = sum(trial.state.is_finished() for trial in self._trials) + self._confirmed[0]
        if done == self._done:
            return
        self._done = done
        now = time.monotonic()
        share = min(1.0, done / self._runs)
        if self._pace is None:
            self._pace = Pace(share, now)
        self._pace.note(share, now)

    def _standing(self) -> str:
        ended = sum(trial.state.is_finished() for trial in self._trials)
        parts = [f"{ended} of {self.study.tunnel.trials} trials"]
        if ranked := self._ranked():
            parts.append(f"best so far {ranked[0].value:.4f} (trial {ranked[0].number})")
        left = self._pace.left(time.monotonic()) if self._pace is not None else None
        if left is not None and self._done < self._runs:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def _fitting(self) -> dict[str, str]:
        """Knobs for which there is room."""
        count = max(1, (self._console.width - BESIDE_KNOBS) // KNOB_WIDTH)
        return dict(list(self._names.items())[:count])

    def _beside(self) -> list[str]:
        """What is no trial, in a line each."""
        lines = []
        if hidden := [name for key, name in self._names.items() if key not in self._fitting()]:
            lines.append(f"no room for {', '.join(hidden)}")
        done, total = self._confirmed
        if total:
            lines.append(f"the best with other seeds: {done} of {total} runs")
        return lines

    def _row(self, trial: optuna.trial.FrozenTrial) -> list[str]:
        shown = self._shown(trial)
        values = [f"{shown[key]:.4g}" if key in shown else "" for key in self._fitting()]
        value = _reached(trial)
        return [str(trial.number), *values, "-" if value is None else f"{value:.4f}", self._state(trial)]

    def _line(self, trial: optuna.trial.FrozenTrial) -> str:
        shown = self._shown(trial)
        values = ", ".join(f"{name} {shown[key]:.4g}" for key, name in self._names.items() if key in shown)
        value, state = _reached(trial), self._state(trial)
        came_to = [
            text for text in (state, "" if value is None else f"{value:.4f} {self.study.goal.unit}") if text
        ]
        return f"trial {trial.number}: {' at '.join(came_to)}: {values}"

    def _shown(self, trial: optuna.trial.FrozenTrial) -> dict[str, float]:
        """Empty until it has all its values."""
        complete = trial.params.keys() == self.study.tunnel.space.keys()
        return self.study.shown(trial.params) if complete else {}

    def _state(self, trial: optuna.trial.FrozenTrial) -> str:
        """Empty for a complete trial."""
        if DIVERGED in trial.user_attrs:
            return "diverged"
        name = trial.state.name.lower()
        if name == "complete":
            return ""
        if name == "waiting":
            return "to be repeated"
        if name != "running":
            return name
        clock = max(trial.intermediate_values, default=0)
        part = f"at {clock / self.study.proxy.training.tokens:.0%}" if clock else "running"
        machine = trial.user_attrs.get(MACHINE, machine_name())
        return part + (f", {machine.partition('.')[0]}" if machine != machine_name() else "")


def short_names(keys: Sequence[str]) -> list[str]:
    """Of each key as many of its last parts as tell it from the others."""
    split = [key.split(".") for key in keys]
    longest = max((len(parts) for parts in split), default=0)
    chosen = [1] * len(split)
    for _ in range(longest):
        names = _joined(split, chosen)
        chosen = [count + (names.count(name) > 1) for count, name in zip(chosen, names, strict=True)]
    return _joined(split, chosen)


def _joined(split: Sequence[Sequence[str]], counts: Iterable[int]) -> list[str]:
    return [".".join(parts[-count:]) for parts, count in zip(split, counts, strict=True)]


def _reached(trial: optuna.trial.FrozenTrial) -> float | None:
    """Bits per byte at its end, where it was pruned, or at its last rung; None where it diverged or just began."""
    if DIVERGED in trial.user_attrs:
        return None
    if trial.state.name == "COMPLETE":
        return trial.value
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def duration(seconds: float) -> str:
    """Roughly, for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
