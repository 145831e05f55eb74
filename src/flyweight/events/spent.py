"""What a run has spent, all its attempts together: also what was undone later, for it was spent all the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.events.record import raw_events


@dataclass(frozen=True)
class Spent:
    """Seconds, tokens and joules, added up over attempts."""

    attempts: int
    killed: int
    """Attempts without an end on record: what they spent after their last line is not known."""
    seconds: float
    """From the beginning of each attempt to its end."""
    training_seconds: float
    """In steps; waiting for data is part of it."""
    data_seconds: float
    checkpoint_seconds: float
    validation_seconds: float
    recovery_seconds: float
    """Going back to checkpoints after faults."""
    tokens: float
    """Trained on."""
    joules: float | None
    """None where an attempt was not measured: a part would look like the whole."""
    energy_from: str
    """What measured them."""
    energy_of_steps: int = 0
    """Attempts of which only the joules of logged steps are known: those that were killed, and those of several
    processes that failed."""

    @property
    def other_seconds(self) -> float:
        """In none of these: building, compiling, the end."""
        parts = (
            self.training_seconds, self.checkpoint_seconds, self.validation_seconds, self.recovery_seconds,
        )  # fmt: skip
        return max(0.0, self.seconds - sum(parts))

    @property
    def joules_per_token(self) -> float | None:
        """Of all that was spent, validations and checkpoints included; but see `energy_of_steps`."""
        return self.joules / self.tokens if self.joules is not None and self.tokens else None

    @property
    def kilowatt_hours(self) -> float | None:
        """The joules in the unit that electricity is sold by."""
        return None if self.joules is None else self.joules / 3.6e6


def run_spent(run_folder: Path) -> Spent | None:
    """What the run in a folder has spent so far; None where nothing is on record.

    Raises:
        UserError: the folder holds no record.
    """
    attempts: dict[str, list[dict[str, Any]]] = {}
    for event in raw_events(run_folder):
        attempts.setdefault(event.get("attempt", ""), []).append(event)
    parts = [_attempt(events) for events in attempts.values()]
    if not parts:
        return None
    trained = [part for part in parts if part.tokens]
    measured = trained and all(part.joules is not None for part in trained)
    return Spent(
        attempts=len(parts),
        killed=sum(part.killed for part in parts),
        seconds=sum(part.seconds for part in parts),
        training_seconds=sum(part.training_seconds for part in parts),
        data_seconds=sum(part.data_seconds for part in parts),
        checkpoint_seconds=sum(part.checkpoint_seconds for part in parts),
        validation_seconds=sum(part.validation_seconds for part in parts),
        recovery_seconds=sum(part.recovery_seconds for part in parts),
        tokens=sum(part.tokens for part in parts),
        joules=sum(part.joules or 0.0 for part in parts) if measured else None,
        energy_from="; ".join(dict.fromkeys(part.energy_from for part in parts if part.energy_from)),
        energy_of_steps=sum(part.energy_of_steps for part in parts),
    )


def _attempt(events: list[dict[str, Any]]) -> Spent:
    end = next((event for event in events if event["kind"] == "run_finished"), None)
    steps = [event for event in events if event["kind"] == "step"]
    measured = [step["joules"] for step in steps if step.get("joules") is not None]
    joules = sum(measured) if len(measured) == len(steps) else None
    if end is not None and end.get("training_seconds") is not None:
        keys = ("seconds", "training_seconds", "data_seconds", "checkpoint_seconds", "validation_seconds")
        numbers = {key: end[key] for key in (*keys, "tokens", "energy_from")}
        # Where one of several processes failed, the others' meters could not be asked at the end.
        told = end["joules"] is not None or not end["energy_from"]
        return Spent(
            attempts=1,
            killed=0,
            **numbers,
            recovery_seconds=end.get("recovery_seconds", 0.0),
            joules=end["joules"] if told else joules,
            energy_of_steps=int(not told and joules is not None),
        )
    # Killed, or of an earlier version: what its lines add up to.
    return Spent(
        attempts=1,
        killed=int(end is None),
        seconds=end["seconds"] if end is not None else events[-1]["time"] - events[0]["time"],
        training_seconds=sum(step["seconds"] for step in steps),
        data_seconds=sum(step.get("data_seconds", 0.0) for step in steps),
        checkpoint_seconds=sum(
            e.get("held_seconds", e["seconds"]) for e in events if e["kind"] == "checkpoint_saved"
        ),
        validation_seconds=sum(e["seconds"] for e in events if e["kind"] in ("validated", "evaluated")),
        recovery_seconds=sum(e["seconds"] for e in events if e["kind"] == "rolled_back"),
        tokens=sum(step["tokens_per_second"] * step["seconds"] for step in steps),
        joules=joules,
        energy_from="",
        energy_of_steps=int(bool(steps) and joules is not None),
    )
