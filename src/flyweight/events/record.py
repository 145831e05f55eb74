"""events.jsonl: the truth about a run, one JSON object a line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flyweight.base import UserError, explain_write_errors, open_own
from flyweight.events.types import Event

EVENTS_FILE = "events.jsonl"


class EventWriter:
    """Appends events of one attempt to a run's record."""

    def __init__(self, run_folder: Path, attempt: str):
        self.attempt = attempt
        self._path = run_folder / EVENTS_FILE
        descriptor = open_own(self._path, os.O_RDWR | os.O_APPEND)
        _end_last_line(descriptor)
        self._file = os.fdopen(descriptor, "a", encoding="utf-8")

    def write(self, event: Event) -> None:
        """Append one event and hand it to the operating system at once, so that a kill loses nothing."""
        values = dataclasses.asdict(event)
        line = {"kind": event.kind, "attempt": self.attempt, "time": round(time.time(), 3), **values}
        with explain_write_errors(self._path):
            self._file.write(json.dumps(_finite(line), ensure_ascii=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # what could not be written was told when it was written
            self._file.close()


def _end_last_line(descriptor: int) -> None:
    """After a kill in the middle of a write, keep the torn line apart from what follows."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN or infinity: they become text, which readers turn back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _restored(value: Any) -> Any:
    if value in ("nan", "inf", "-inf"):
        return float(value)
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    return value


def read_events(run_folder: Path) -> list[dict[str, Any]]:
    """All events of a run as one history, oldest first.

    When an attempt resumed from a checkpoint at clock c, what earlier attempts recorded past c did
    not happen as far as the run is concerned: those events are dropped. A last line torn by a kill
    is dropped too.

    Raises:
        UserError: the folder holds no record.
    """
    history: list[dict[str, Any]] = []
    for event in raw_events(run_folder):
        if event["kind"] == "run_started":
            resumed = -1 if event["resumed_from"] is None else event["resumed_from"]
            history = [
                old for old in history if old["kind"] != "run_finished" and old.get("clock", -1) <= resumed
            ]
        elif event["kind"] == "rolled_back":
            history = [old for old in history if old.get("clock", -1) <= event["clock"]]
        elif event["kind"] == "step_skipped":  # an attempt that goes on from this very clock skips it again
            history = [old for old in history if not _is_same_skip(old, event)]
        history.append(event)
    return history


def raw_events(run_folder: Path) -> Iterator[dict[str, Any]]:
    """Every event that was written, oldest first, also what was undone later; torn lines are left out.

    Raises:
        UserError: the folder holds no record.
    """
    path = run_folder / EVENTS_FILE
    if not path.is_file():
        raise UserError(f"{run_folder}: no run here (there is no {EVENTS_FILE}).")
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
                yield _restored(json.loads(line))


def _is_same_skip(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return all(one.get(key) == two[key] for key in ("kind", "clock", "first"))
