"""Where a run's time and energy went, as rows of tables and as a bar."""

from __future__ import annotations

from collections.abc import Sequence

from flyweight.events import Spent
from flyweight.planning.rendering import format_duration
from flyweight.plots import colors
from flyweight.report.markup import Html, h, pairs, table
from flyweight.report.names import titles_of
from flyweight.report.run import RunRecord

_PARTS = (
    "steps",
    "waiting for data",
    "checkpoints",
    "validation",
    "going back to checkpoints",
    "building, compiling, ending",
)
_COLORS = colors(len(_PARTS))


def time_parts(spent: Spent) -> list[tuple[str, float]]:
    """(what, seconds) of everything that a run spent time on."""
    seconds = (
        spent.training_seconds - spent.data_seconds,
        spent.data_seconds,
        spent.checkpoint_seconds,
        spent.validation_seconds,
        spent.recovery_seconds,
        spent.other_seconds,
    )
    return list(zip(_PARTS, seconds, strict=True))


def time_rows(spent: Spent) -> list[list[str]]:
    """(what, time, share) of everything that a run spent time on; the last row is the sum."""
    parts = time_parts(spent)
    total = sum(seconds for _, seconds in parts)
    if not total:
        return []
    rows = [[name, format_duration(seconds), _share(seconds / total)] for name, seconds in parts]
    attempts = f"all, in {spent.attempts} attempts" if spent.attempts > 1 else "all"
    return [*rows, [attempts, format_duration(total), ""]]


def _share(share: float) -> str:
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"


def caveat(spent: Spent) -> str | None:
    """What the table does not hold; None where it holds everything."""
    missing = []
    if spent.killed:
        ends = "attempt has" if spent.killed == 1 else "attempts have"
        missing.append(
            f"{spent.killed} {ends} no end on record: what came after the last line of the record is not counted."
        )
    if spent.energy_of_steps and spent.joules is not None:
        attempts = "1 attempt" if spent.energy_of_steps == 1 else f"{spent.energy_of_steps} attempts"
        missing.append(
            f"The energy of {attempts} that did not end in order is that of logged steps only: validations and "
            f"checkpoints come on top."
        )
    return " ".join(missing) or None


def energy_rows(spent: Spent) -> list[tuple[str, str]]:
    """(label, value) of the energy; nothing where it was not measured."""
    if spent.kilowatt_hours is None or spent.joules_per_token is None:
        return []
    source = f" ({spent.energy_from})" if spent.energy_from else ""  # only an attempt's end tells of it
    return [
        ("energy", f"{spent.kilowatt_hours:.3g} kWh{source}"),
        ("energy per token", f"{spent.joules_per_token:.3g} J"),
    ]


def spending_of(run: RunRecord) -> list[Html]:
    """Where the time and the energy of a run went."""
    rows = time_rows(run.spent) if run.spent is not None else []
    if run.spent is None or not rows:
        return []
    missing, energy = caveat(run.spent), energy_rows(run.spent)
    return [
        _bar(run.spent, run.spent.seconds),
        _key(_seconds(run.spent)),
        table(["what", "time", "share"], [row for row in rows if row[1] != format_duration(0)], name="Time"),
        *([h("p", missing, class_="quiet")] if missing else []),
        *([pairs(energy)] if energy else []),
    ]


def spending_side_by_side(runs: Sequence[RunRecord]) -> list[Html]:
    """The same of several runs: bars of one scale, and a column a run."""
    titles = titles_of(runs)
    known = [
        (title, run.spent) for title, run in zip(titles, runs, strict=True) if run.spent and run.spent.seconds
    ]
    if not known:
        return []
    longest = max(spent.seconds for _, spent in known)
    bars = [[h("p", title, class_="quiet"), _bar(spent, longest)] for title, spent in known]
    bars.append(
        [_key([sum(column) for column in zip(*(_seconds(spent) for _, spent in known), strict=True)])]
    )
    parts = {title: dict(time_parts(spent)) for title, spent in known}
    names = [name for name in next(iter(parts.values())) if any(found[name] for found in parts.values())]
    rows = [
        [name, *(f"{format_duration(found[name])} ({_share(found[name] / spent.seconds)})"
                 for found, (_, spent) in zip(parts.values(), known, strict=True))]
        for name in names
    ]  # fmt: skip
    rows.append(["all", *(format_duration(spent.seconds) for _, spent in known)])
    energy = [dict(energy_rows(spent)) for _, spent in known]
    labels = dict.fromkeys(label for found in energy for label in found)
    rows += [[label, *(found.get(label, "") for found in energy)] for label in labels]
    return [*(piece for bar in bars for piece in bar), table(["what", *parts], rows, name="Time by run")]


def _bar(spent: Spent, longest: float) -> Html:
    """Time as a bar of which `longest` seconds fill the width; a table says the same in numbers."""
    pieces = [
        h(
            "span",
            title=f"{name}: {format_duration(seconds)}",
            style=f"width:{seconds / longest:.3%};background:{color}",
        )
        for (name, seconds), color in zip(time_parts(spent), _COLORS, strict=True)
        if seconds > 0
    ]
    return h("div", pieces, class_="bar", aria_hidden="true")


def _key(seconds: Sequence[float]) -> Html:
    """Which colour stands for what, of those that took time."""
    named = zip(_PARTS, seconds, _COLORS, strict=True)
    return h("ul", [h("li", h("i", style=f"background:{color}"), name) for name, some, color in named if some > 0],
             class_="key")  # fmt: skip


def _seconds(spent: Spent) -> list[float]:
    return [seconds for _, seconds in time_parts(spent)]
