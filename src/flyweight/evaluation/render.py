"""Results as a table for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table


def render_results(results: dict[str, Any]) -> Table:
    """A table of what `evaluate` returned: one row a metric, subsets that are many left out."""
    table = Table("task", "items", "metric", "value", "± error", "chance", title=f"{results['model']}")
    for name, task in results["tasks"].items():
        chance = f"{task['chance']:.1%}"
        for label, part in ((name, task), *_versions(name, task)):
            for metric in ("acc", "acc_norm"):
                if metric in part:
                    error = part[f"{metric}_stderr"]
                    shown = "" if error is None else f"{error:.1%}"
                    table.add_row(label, f"{part['n']:,}", metric, f"{part[metric]:.1%}", shown, chance)
    return table


def _versions(name: str, task: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """ArithMark's versions, and each of them by number of operands."""
    for version, part in task.items():
        if isinstance(part, dict) and "acc" in part:
            yield f"{name} {version}", part
            for operands, group in part.get("by_operands", {}).items():
                yield f"  {operands} operands", group
