"""What a run folder says about its run, in one object."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from flyweight.base import UserError, read_json
from flyweight.evaluation import RESULTS_FILE
from flyweight.events import Spent, read_events, run_spent
from flyweight.inference import layout
from flyweight.inference.checkpoint import checkpoint_title
from flyweight.planning.realised import Realised, realised_tokens
from flyweight.recipe import Recipe, identity_hash, load_recipe
from flyweight.release import EXPORT_FILE
from flyweight.training.folder import is_locked

_LAST_SHARE, _FEW_LINES, _NEAR_SHARE = 0.01, 3, 0.1
"""The last loss is a mean of this share of the tokens; of at least so many lines that lie in that share."""

EXPORT_FOLDER = "export"
"""Where an export is looked for: in the run's folder or beside it."""


@dataclass(frozen=True)
class RunRecord:
    """A run as its files tell it; what a file does not say is empty here."""

    name: str
    recipe: Recipe
    folder: str
    """The run folder's own name."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """One history, without what later attempts undid."""
    execution: dict[str, Any] = field(default_factory=dict)
    """The frozen execution plan: device, precision, hardware, peak."""
    corpus: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By source: kind, licence, documents, tokens, bytes."""
    results: dict[str, Any] = field(default_factory=dict)
    """results.json."""
    export: dict[str, Any] = field(default_factory=dict)
    """flyweight_export.json of an export of this run."""
    spent: Spent | None = None
    """By all attempts together, what was undone included."""
    locked: bool = False
    """Whether a process was training in the folder when it was read."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind, oldest first."""
        return [event for event in self.events if event["kind"] == kind]

    @cached_property
    def steps(self) -> list[dict[str, Any]]:
        """The log lines of training."""
        return self.of("step")

    @property
    def clock(self) -> int:
        """Tokens trained on, as far as the record goes."""
        return self.steps[-1]["clock"] if self.steps else 0

    @property
    def began(self) -> int:
        """The clock at which the run began: 0, or that of another run's checkpoint that it started from."""
        starts = self.of("run_started")
        return (starts[0]["resumed_from"] or 0) if starts else 0

    @cached_property
    def realised(self) -> Realised | None:
        """What it read from each source so far; None where nothing is on record."""
        return realised_tokens(self.steps, self.began)

    @property
    def corpus_tokens(self) -> dict[str, int]:
        """Training tokens of each source in the corpus, where they are on record."""
        return {name: source["tokens"] for name, source in self.corpus.items() if "tokens" in source}

    @property
    def state(self) -> str:
        """`running`, `finished`, `interrupted`, `failed: ...`, or `running or killed` where nothing tells which."""
        if self.locked:
            return "running"
        ends = self.of("run_finished")
        return str(ends[-1]["reason"]) if ends else "running or killed"

    @property
    def training_seconds(self) -> float | None:
        """Time spent in steps, validations and checkpoints left out."""
        return sum(step["seconds"] for step in self.steps) if self.steps else None

    @property
    def last_loss(self) -> tuple[float | None, int]:
        """The mean training loss of the last steps, and how many these are; None if one of them was not finite.

        The last log line alone may cover two steps, which is noise: all lines of the last 1 % of the tokens count,
        or the last three that are not far off, each by its steps.
        """
        if not self.steps:
            return None, 0
        first = self.steps[0]
        begin = (first["clock"] - self.began) / (first["batch_size"] * first["sequence_length"])
        covered = [max(1, round(begin))]
        covered += [max(1, after["step"] - before["step"]) for before, after in pairwise(self.steps)]
        clocks = [line["clock"] for line in self.steps]
        last = sum(clock > (1 - _LAST_SHARE) * self.clock for clock in clocks)
        near = sum(clock > (1 - _NEAR_SHARE) * self.clock for clock in clocks)
        count = max(last, min(near, _FEW_LINES))
        losses, weights = [line["loss"] for line in self.steps[-count:]], covered[-count:]
        if not all(isinstance(loss, int | float) and math.isfinite(loss) for loss in losses):
            return None, sum(weights)
        return statistics.fmean(losses, weights), sum(weights)

    @property
    def tokens_per_second(self) -> float | None:
        """The median over the log lines."""
        return statistics.median(step["tokens_per_second"] for step in self.steps) if self.steps else None

    @property
    def share_of_peak(self) -> float | None:
        """The median over the log lines that know the device's peak."""
        known = [step["share_of_peak"] for step in self.steps if step.get("share_of_peak") is not None]
        return statistics.median(known) if known else None

    @property
    def hardware(self) -> str | None:
        """What the run was trained on."""
        return self.execution.get("hardware")

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the last attempt."""
        starts = self.of("run_started")
        return starts[-1].get("versions", {}) if starts else {}

    @property
    def bits_per_byte(self) -> dict[str, float]:
        """By source, of the newest validation on all held-out text, else of the newest one."""
        return (self.final_validation or {}).get("bits_per_byte", {})

    @property
    def final_validation(self) -> dict[str, Any] | None:
        """The newest validation on all held-out text, else the newest one."""
        validations = self.of("validated")
        full = [event for event in validations if event.get("full")]
        return (full or validations or [None])[-1]

    def until(self, clock: int, average: Mapping[str, Any] | None = None, fingerprint: str = "") -> RunRecord:
        """The record as it was at `clock`; results stay only if they belong to the model of that clock.

        Args:
            clock: of a checkpoint.
            average: `average` of its state.
            fingerprint: of its weights, where it is known.
        """
        events = [event for event in self.events if event.get("clock", 0) <= clock]
        if measured_model(self.results) is None:
            fits = clock >= self.clock and not average
        else:
            fits = is_measured(self.results, checkpoint_title(self.recipe, clock, average), fingerprint)
        spent = self.spent if clock >= self.clock else None  # what was spent until then is not on record
        return replace(self, events=events, results=self.results if fits else {}, spent=spent)


def measured_model(results: Mapping[str, Any]) -> str | None:
    """The name of the model that results are of, where they say it."""
    model = results.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    return name if isinstance(name, str) else None


def is_measured(results: Mapping[str, Any], title: str, fingerprint: str = "") -> bool:
    """Whether results are of the model that they call `title`, and of these weights where both sides know them.

    Names are rounded, and two seeds of a recipe have the same.
    """
    if measured_model(results) != title:
        return False
    found = results["model"].get("fingerprint")
    return not fingerprint or not found or found == fingerprint


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a run's: it holds events."""
    return (Path(folder) / layout.EVENTS_FILE).is_file()


def read_run(folder: Path) -> RunRecord:
    """Read a run folder.

    Raises:
        UserError: no run there, or a file of it that is broken.
    """
    if folder.is_file():
        raise UserError(f"{folder}: this is a file, not a run folder.")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected a run folder.")
    events = read_events(folder)
    recipe_file = folder / layout.RUN_RECIPE_FILE
    if not recipe_file.is_file():
        raise UserError(f"{folder}: {layout.RUN_RECIPE_FILE} is missing; this is not a whole run folder.")
    recipe = load_recipe(recipe_file)
    frozen = _optional(folder / layout.PLAN_FILE, "execution plan")
    return RunRecord(
        name=recipe.name,
        recipe=recipe,
        folder=folder.resolve().name,
        events=events,
        execution=_section(frozen, "plan"),
        corpus=_section(frozen, "corpus"),
        results=_optional(folder / RESULTS_FILE, "results"),
        export=_find_export(folder, recipe),
        spent=run_spent(folder),
        locked=is_locked(folder),
    )


def _find_export(run: Path, recipe: Recipe) -> dict[str, Any]:
    """The record of an export in the run's folder or beside it; another recipe's does not count."""
    for place in (run / EXPORT_FOLDER, run.resolve().parent / EXPORT_FOLDER):
        record = _optional(place / EXPORT_FILE, "record of an export")
        if record.get("recipe_hash") == identity_hash(recipe):
            return record
    return {}


def _optional(path: Path, what: str) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected keys and values in this {what}, found {type(value).__name__}.")
    return value


def _section(value: dict[str, Any], key: str) -> dict[str, Any]:
    part = value.get(key)
    return part if isinstance(part, dict) else {}
