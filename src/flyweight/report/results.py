"""Results of evaluation as plain rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from flyweight.recipe import format_tokens
from flyweight.report.run import RunRecord

_SHARES = ("acc", "exact", "pass", "f1")
"""Metrics that are shares, shown in per cent."""

_TEXT = "text"
"""Bits per byte of the user's own text, all of which is measured whatever the limit of items."""


@dataclass(frozen=True)
class Measurement:
    """One number, and how sure it is."""

    task: str
    part: tuple[str, ...]
    """Which part of the task: () for the whole, ("operands 3",)."""
    metric: str
    value: float
    stderr: float | None = None
    n: int | None = None
    chance: float | None = None
    grouped: bool = False
    """A subset, one of several."""
    partial: bool = False
    """Measured on a part of a published set, so that its numbers do not compare with others'."""
    file: str = ""
    """Of the user's own text, what it is called."""

    @property
    def named(self) -> str:
        """The task, and of a text its name."""
        return f"{self.task} {self.file}" if self.file else self.task

    @property
    def label(self) -> str:
        """The part in words."""
        return ", ".join(self.part) or ("a part of the set" if self.partial else "all")

    @property
    def is_share(self) -> bool:
        """Whether the value is a share between 0 and 1."""
        return self.metric.startswith(_SHARES) and 0 <= self.value <= 1

    def text(self) -> str:
        """The value for people: 27.4% or 1.234."""
        return f"{self.value:.1%}" if self.is_share else f"{self.value:.4g}"

    def stderr_text(self) -> str:
        """The standard error in the value's unit, or nothing where it is not known."""
        if self.stderr is None:
            return ""
        return f"± {self.stderr:.1%}" if self.is_share else f"± {self.stderr:.2g}"

    def chance_text(self) -> str:
        """What guessing gives, or nothing where that is not known."""
        if self.chance is None:
            return ""
        return f"{self.chance:.1%}" if self.is_share else f"{self.chance:.4g}"


def measurements(results: Mapping[str, Any]) -> list[Measurement]:
    """Every metric of every task and of its subsets, in the order of the file; what is broken is left out.

    A subset's name begins with what it is a subset by (`operands 3`); where it does not, it is a `subset`.
    """
    settings = results.get("settings")
    limited = isinstance(settings, Mapping) and settings.get("limit") is not None
    return [row for task, node in _mapped(results.get("tasks")) for row in _task_rows(task, node, limited)]


def _task_rows(task: str, node: Mapping[str, Any], limited: bool) -> Iterator[Measurement]:
    chance = number(node.get("chance"))
    partial = limited and task != _TEXT and not task.endswith("-gen")
    file = _file(task, node)
    for metric, found in _mapped(node.get("metrics")):
        yield from _row(task, (), metric, found, chance, partial, file)
    for subset, metrics in _mapped(node.get("subsets")):
        part = (subset if " " in subset else f"subset {subset}",)
        for metric, found in _mapped(metrics):
            yield from _row(task, part, metric, found, chance, partial)


def _file(task: str, node: Mapping[str, Any]) -> str:
    data = node.get("data")
    source = data.get("source") if task == _TEXT and isinstance(data, Mapping) else None
    return PurePath(source).name if isinstance(source, str) else ""


def text_compressors(results: Mapping[str, Any]) -> dict[str, float]:
    """Bits per byte of the user's own text by general compressors."""
    tasks = results.get("tasks")
    text = tasks.get(_TEXT) if isinstance(tasks, Mapping) else None
    details = text.get("details") if isinstance(text, Mapping) else None
    found = details.get("compressors") if isinstance(details, Mapping) else None
    known = {name: number(value) for name, value in found.items()} if isinstance(found, Mapping) else {}
    return {name: value for name, value in known.items() if value is not None}


def _row(
    task: str,
    part: tuple[str, ...],
    metric: str,
    found: Mapping[str, Any],
    chance: float | None,
    partial: bool,
    file: str = "",
) -> Iterator[Measurement]:
    value, n = number(found.get("value")), found.get("n")
    if value is not None:
        count = n if isinstance(n, int) else None
        error = number(found.get("stderr"))
        yield Measurement(task, part, metric, value, error, count, chance, bool(part), partial, file)


def _mapped(node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of an object that are objects themselves."""
    if isinstance(node, Mapping):
        yield from ((str(key), value) for key, value in node.items() if isinstance(value, Mapping))


def number(value: Any) -> float | None:
    """A finite number, or None: records hold what was not finite as text."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def bits_per_byte_rows(
    results: Mapping[str, Any], measured: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Bits per byte by row and source: before and after training, then the compressors.

    `measured` stands for the row after training where results.json has none.
    """
    labels = {"before": "before training", "after": "after training"}
    rows: dict[str, dict[str, float]] = {}
    section = results.get("bits_per_byte")
    for key, values in section.items() if isinstance(section, Mapping) else ():
        if isinstance(values, Mapping):
            name = values.get("name")
            label = labels.get(key, name if isinstance(name, str) else str(key))
            numbers = {source: number(value) for source, value in values.items()}
            rows[label] = {source: value for source, value in numbers.items() if value is not None}
    if measured and "after training" not in rows:
        rows["after training"] = dict(measured)
    return {label: values for label, values in rows.items() if values}


def bits_rows(run: RunRecord, clock: int | None) -> dict[str, dict[str, float]]:
    """`bits_per_byte_rows` of a run as what is said of its model at `clock`; None: of a model never validated.

    A validation at another clock says at which.
    """
    rows, validated = bits_per_byte_rows(run.results, run.bits_per_byte), run.final_validation
    measured = bits_per_byte_rows(run.results, {})
    if validated is None or "after training" in measured or validated["clock"] == clock:
        return rows
    label = f"at {format_tokens(validated['clock'])} tokens"
    return {label if name == "after training" else name: values for name, values in rows.items()}


def exported_bits(run: RunRecord, export: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """`bits_rows` of the checkpoint of a record of an export; training validates no average."""
    source = export.get("source", {})
    return bits_rows(run, None if source.get("average") else source.get("clock"))
