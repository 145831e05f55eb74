"""Results of evaluation, whatever their nesting, as plain rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

_ABOUT = {"n", "chance", "seconds", "truncated", "subsets", "seed", "limit", "items", "stderr"}
"""Numbers beside the metrics that say something about the measurement, not about the model."""

_SHARES = ("acc", "exact", "pass", "f1")
"""Metrics that are shares, shown in per cent."""


@dataclass(frozen=True)
class Measurement:
    """One number, and how sure it is."""

    task: str
    part: tuple[str, ...]
    """Which part of the task: () for the whole, ("v2", "operands 3")."""
    metric: str
    value: float
    stderr: float | None = None
    n: int | None = None
    chance: float | None = None
    grouped: bool = False
    """One of a group such as `by_operands`."""
    partial: bool = False
    """Measured on a part of a published set, so that its numbers do not compare with others'."""

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
    """Every metric under `tasks`, in the order of the file.

    A metric is a number (its standard error beside it as NAME_stderr), or an object with `value` and
    perhaps `stderr` and `n`. Other objects are parts of their task; `chance` and `n` hold for the
    metrics beside them, `chance` also for the parts below.
    """
    tasks = results.get("tasks")
    if not isinstance(tasks, Mapping):
        return []
    return [
        replace(row, partial=node.get("complete") is False)
        for task, node in tasks.items()
        if isinstance(node, Mapping)
        for row in _walk(str(task), (), node, None, grouped=False)
    ]


def _walk(
    task: str, part: tuple[str, ...], node: Mapping[str, Any], chance: float | None, *, grouped: bool
) -> Iterator[Measurement]:
    chance = _number(node.get("chance")) if "chance" in node else chance
    deeper = []
    for key, value in node.items():
        if isinstance(value, Mapping):
            if _number(value.get("value")) is None:
                deeper.append((key, value))
                continue
            number, error, count = value["value"], value.get("stderr"), value.get("n", node.get("n"))
        elif _number(value) is None or key in _ABOUT or key.endswith("_stderr"):
            continue
        else:
            number, error, count = value, node.get(f"{key}_stderr"), node.get("n")
        whole = count if isinstance(count, int) else None
        yield Measurement(task, part, key, float(number), _number(error), whole, chance, grouped)
    for key, value in deeper:
        if key.startswith("by_"):
            for name, item in value.items():
                if isinstance(item, Mapping):
                    place = (*part, f"{key[3:]} {name}")
                    yield from _walk(task, place, item, chance, grouped=True)
        elif key == "versions":
            yield from _walk(task, part, value, chance, grouped=grouped)
        else:
            yield from _walk(task, (*part, str(key)), value, chance, grouped=grouped)


def _number(value: Any) -> float | None:
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
            numbers = {source: _number(value) for source, value in values.items()}
            rows[label] = {source: value for source, value in numbers.items() if value is not None}
    if measured and "after training" not in rows:
        rows["after training"] = dict(measured)
    return {label: values for label, values in rows.items() if values}
