"""Jobs: pure functions from inputs to a folder that appears whole, under a key."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.base import atomic_folder, read_json, write_json

KEY_FILE = "key.json"

REPORT_SECONDS = 0.5
"""Seconds between two reports of a job's progress."""

Report = Callable[[float], None]
"""Takes the share of a job that is done."""


@dataclass(frozen=True)
class Job:
    """A call that can be made in any process, any number of times: `function(*arguments, report)`.

    It must be importable by name, give the same result every time, and leave nothing half-written.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    name: str
    """For people: what it does to what."""
    size: float = 1.0
    """How much of the whole work it is, in any unit that its neighbours share."""
    lane: str = ""
    """Jobs of one lane start in their order."""


def finished(folder: Path, key: str) -> bool:
    """Whether `folder` holds the result of the job with this key."""
    place = folder / KEY_FILE
    return place.is_file() and read_json(place) == key


@contextlib.contextmanager
def finished_folder(folder: Path, key: str) -> Iterator[Path]:
    """A temporary folder that becomes `folder` with its key, whole, when the block ends without an error."""
    with atomic_folder(folder) as temporary:
        yield temporary
        write_json(temporary / KEY_FILE, key)


class ProgressFile:
    """The share of a job that is done, in a file that the scheduler looks at."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = time.monotonic()

    def __call__(self, share: float) -> None:
        """Note the share; written at most every REPORT_SECONDS."""
        now = time.monotonic()
        if now - self._written >= REPORT_SECONDS:
            self._written = now
            with contextlib.suppress(OSError):  # a full disk is for the job itself to report
                self._path.write_text(repr(share))


def read_progress(path: Path) -> float:
    """The share that a job noted last; 0 before the first note."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


def perform(job: Job, progress: str) -> Any:
    """Carry out a job, in whatever process this is."""
    return job.function(*job.arguments, ProgressFile(Path(progress)))
