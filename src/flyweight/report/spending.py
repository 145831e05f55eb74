"""Where a run's time and energy went, as rows of a table."""

from __future__ import annotations

from flyweight.events import Spent
from flyweight.planning.rendering import format_duration


def time_rows(spent: Spent) -> list[list[str]]:
    """(what, time, share) of everything that a run spent time on; the last row is the sum."""
    parts = [
        ("steps", spent.training_seconds - spent.data_seconds),
        ("waiting for data", spent.data_seconds),
        ("checkpoints", spent.checkpoint_seconds),
        ("validation", spent.validation_seconds),
        ("going back to checkpoints", spent.recovery_seconds),
        ("building, compiling, ending", spent.other_seconds),
    ]
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
