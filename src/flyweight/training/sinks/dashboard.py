"""The live view of a run in a terminal."""

from __future__ import annotations

import itertools

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flyweight.events import CheckpointSaved, Event, Notice, RunFinished, Sampled, StepDone
from flyweight.recipe import format_tokens
from flyweight.training.sinks.progress import Progress, duration, fault_line, one_line, waiting_for_data

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int) -> str:
    """The values as a row of `width` blocks at most, each the mean of a stretch of equal length."""
    if not values:
        return ""
    width = min(width, len(values))
    borders = [round(i * len(values) / width) for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(borders)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BLOCKS[min(7, int(8 * (mean - low) / span))] for mean in means)


class Dashboard:
    """Loss, bits per byte, speed, share of peak, rate, realised mixture and time left, in place."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._progress = Progress()
        self._sample = ""
        self._saved = ""
        self._live = Live(console=self._console, refresh_per_second=4, transient=False)
        self._live.start()

    def handle(self, event: Event) -> None:
        """See `Sink`."""
        self._progress.take(event)
        if isinstance(event, Notice):
            self._live.console.print(f"[yellow]note:[/] {escape(event.message)}", highlight=False)
        elif isinstance(event, CheckpointSaved):
            self._saved = event.path
        elif isinstance(event, Sampled):
            self._sample = event.prompt + event.text
        elif fault := fault_line(event):
            self._live.console.print(f"[red]{escape(fault)}[/]", highlight=False)
        elif isinstance(event, RunFinished):
            style = "green" if event.reason == "finished" else "yellow"
            self._live.console.print(
                f"[{style}]{escape(event.reason)}[/] at {event.clock:,} tokens after {duration(event.seconds)}",
                highlight=False,
            )
        self._live.update(self._render())

    def close(self) -> None:
        """See `Sink`."""
        self._live.stop()

    def _render(self) -> Panel:
        progress = self._progress
        started = progress.started
        title = ""
        if started is not None:
            title = f"{started.name} · {format_tokens(started.parameters)} parameters · {started.plan['hardware']}"
        parts: list[RenderableType] = [self._bar(), self._numbers()]
        if progress.last is not None:
            parts.append(self._mixture(progress.last))
        if self._sample:
            text = " ".join(self._sample.split())
            parts.append(Text(f"it writes: {text}", style="italic dim", overflow="ellipsis", no_wrap=True))
        return Panel(Group(*parts), title=title, border_style="cyan")

    def _bar(self) -> Table:
        progress = self._progress
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(justify="right")
        total = progress.started.tokens if progress.started else 1
        row.add_row(
            ProgressBar(total=total, completed=progress.clock),
            f"{format_tokens(progress.clock)} of {format_tokens(total)} tokens · "
            f"{duration(progress.seconds_left)} left",
        )
        return row

    def _numbers(self) -> Table:
        progress, last = self._progress, self._progress.last
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", justify="right")
        table.add_column()
        if last is not None:
            width = max(10, self._console.width - 40)
            table.add_row("loss", f"{last.loss:.4f}  [cyan]{sparkline(progress.losses, width)}[/]")
        if progress.validated is not None:
            table.add_row("bits per byte", escape(one_line(progress.validated.bits_per_byte)))
        if last is not None:
            peak = "" if last.share_of_peak is None else f" · {last.share_of_peak:.0%} of peak"
            waiting = waiting_for_data(last)
            table.add_row("speed", f"{progress.speed:,.0f} tokens/s{peak}{waiting}")
            stage = progress.stage
            shape = (
                f" · {stage.batch_size} x {stage.sequence_length} tokens · {stage.optimizer}" if stage else ""
            )
            table.add_row("learning rate", f"{last.learning_rate:.2e} · gradient {last.grad_norm:.2f}{shape}")
        if self._saved:
            table.add_row("checkpoint", self._saved)
        if progress.skipped or progress.rollbacks:
            faults = f"{progress.skipped} steps skipped, {progress.rollbacks} times back to a checkpoint"
            table.add_row("faults", f"[red]{faults}[/]")
        return table

    def _mixture(self, last: StepDone) -> Text:
        total = sum(last.realised.values()) or 1
        text = Text("mixture so far  ", style="dim")
        styles = ("cyan", "magenta", "green", "yellow", "blue", "red")
        for index, (name, count) in enumerate(last.realised.items()):
            if count:
                style = styles[index % len(styles)]
                text.append("█" * max(1, round(24 * count / total)), style=style)
                text.append(f" {name} {count / total:.1%}  ", style="default")
        return text
