"""What a task is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from flyweight.inference import LanguageModel


class TaskInput(NamedTuple):
    """The model to measure and how."""

    model: LanguageModel
    """What is measured."""
    data: Path | None
    """Folder with the files of tasks that need some."""
    limit: int | None
    """At most this many items of each subset."""
    seed: int
    """Seed of tasks that generate their items."""
    output: Path | None
    """Folder into which generated items are written."""
    progress: Callable[[float], None] | None
    """Called with the share of the task that is done."""
    offline: bool = False
    """Never use the network; files that were fetched before are found all the same."""
    schema: Path | None = None
    """YAML or JSON file that says what the fields of a task's data are called, for tasks that ask for it."""
