"""How far the probabilities of models can be believed: reliability diagrams and calibration errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flyweight.evaluation.calibration import READINGS
from flyweight.plots import ReliabilityBin, reliabilities
from flyweight.report.figures import svg
from flyweight.report.markup import Html, beside, h, table
from flyweight.report.names import labelled, palette_of
from flyweight.report.results import number
from flyweight.report.run import RunRecord

DRAWN = "options"
"""The reading whose diagram is drawn; the others' errors stand in the table."""

_HOW = (
    "A calibrated model is right as often as it says: its points lie on the diagonal. Read the accuracy first: a model "
    "that says the same of every choice is calibrated and knows nothing. An error below what a calibrated model "
    "exceeds in one case of twenty is no sign of miscalibration."
)


def calibration_of(runs: Sequence[RunRecord]) -> list[Html]:
    """A diagram and a table for each task whose calibration was measured in one of the runs."""
    by_run = [(label, _tasks(run)) for run, label in labelled(runs, "model")]
    tasks = dict.fromkeys(task for _, found in by_run for task in found)
    parts = [
        _task(task, {label: found[task] for label, found in by_run if task in found}, palette_of(runs))
        for task in tasks
    ]
    return [h("p", _HOW, class_="quiet"), *parts] if any(parts) else []


def _tasks(run: RunRecord) -> dict[str, Mapping[str, Any]]:
    found = run.results.get("calibration")
    return (
        {str(task): node for task, node in found.items() if _is_whole(node)}
        if isinstance(found, dict)
        else {}
    )


def _is_whole(node: Any) -> bool:
    """Whether something can be shown of it: bins of the reading that is drawn."""
    return isinstance(node, Mapping) and bool(_bins(node))


def _task(task: str, models: Mapping[str, Mapping[str, Any]], palette: Mapping[str, str]) -> Html:
    several = bool(palette)
    labels = {
        label: f"{label + ': ' if several else ''}accuracy {_three(node.get('accuracy'))}, "
        f"ECE {_three(_reading(node, DRAWN).get('ece'))}"
        for label, node in models.items()
    }
    drawn = reliabilities(
        {labels[label]: _bins(node) for label, node in models.items()},
        band_label="95% bootstrap",
        title=f"{task}: reliability",
        x_label=f"P(answer): {READINGS[DRAWN]}",
        palette={labels[label]: color for label, color in palette.items() if label in labels},
    )
    told = f"Reliability diagram of {task}. {'; '.join(labels.values())}."
    shown = table(["", *(models if several else ["value"])], _rows(models), f"Calibration on {task}")
    return beside(svg(drawn, told), shown)


def _rows(models: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """A row a number, a column a model."""
    rows = [
        ["items", *(_whole(node.get("items")) for node in models.values())],
        ["accuracy", *(_with_error(node, "accuracy", "accuracy_stderr") for node in models.values())],
    ]
    for name, what in READINGS.items():
        readings = [_reading(node, name) for node in models.values()]
        rows.append([f"ECE, {what}", *(_ece(one) for one in readings)])
        if name == DRAWN:
            exceeded = [_three(one.get("ece_if_calibrated_high")) for one in readings]
            rows.append(["a calibrated model exceeds, 1 in 20", *exceeded])
    rows.append(["Brier score", *(_three(node.get("brier")) for node in models.values())])
    rows.append(["mass on the choices, mean", *(_three(node.get("mass_mean")) for node in models.values())])
    return [row for row in rows if any(row[1:])]


def _bins(node: Mapping[str, Any]) -> list[ReliabilityBin]:
    """The bins that are not empty."""
    keys = ("low", "high", "count", "confidence", "right", "right_low", "right_high")
    found = []
    for piece in _reading(node, DRAWN).get("bins") or ():
        values = [number(piece.get(key)) for key in keys] if isinstance(piece, Mapping) else [None]
        known = [value for value in values if value is not None]
        if len(known) == len(keys):
            low, high, count, *rest = known
            found.append(ReliabilityBin(low, high, int(count), *rest))
    return found


def _reading(node: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    readings = node.get("readings")
    found = readings.get(name) if isinstance(readings, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _ece(reading: Mapping[str, Any]) -> str:
    low, high = _three(reading.get("ece_low")), _three(reading.get("ece_high"))
    return _three(reading.get("ece")) + (f" ({low} to {high})" if low and high else "")


def _with_error(node: Mapping[str, Any], key: str, error: str) -> str:
    spread = _three(node.get(error))
    return _three(node.get(key)) + (f" ± {spread}" if spread else "")


def _three(value: Any) -> str:
    found = number(value)
    return "" if found is None else f"{found:.3f}"


def _whole(value: Any) -> str:
    found = number(value)
    return "" if found is None else f"{found:,.0f}"
