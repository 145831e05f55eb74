"""Several runs side by side: what stands in the table, and what cannot be compared."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from flyweight.base import UserError
from flyweight.evaluation import Metric, Run, TaskResult
from flyweight.evaluation.across import across, render_across
from flyweight.evaluation.figures import runs_figure


def result(metric: str, value: float, n: int = 100, data: str = "f") -> TaskResult:
    metrics = {"other": Metric(0.1, None, n), metric: Metric(value, 0.01, n)}
    details = {"main_metric": metric}
    return TaskResult(metrics, {"id": []}, chance=0.25, data={"fingerprint": data}, details=details)


def run(name: str, **tasks: TaskResult) -> Run:
    return Run(name, name, tasks)


def test_each_task_stands_with_its_quoted_metric_in_every_run():
    a = run("A", piqa=result("acc_norm", 0.5), text=result("bits_per_byte", 1.2), boolq=result("acc", 0.6))
    b = run("B", boolq=result("acc", 0.7), sciq=result("acc_norm", 0.4), text=result("bits_per_byte", 1.1))
    found = across([a, b])
    assert [(line.task, line.metric) for line in found.lines] == [
        ("piqa", "acc_norm"), ("text", "bits_per_byte"), ("boolq", "acc"), ("sciq", "acc_norm"),
    ]  # fmt: skip
    values = [[None if value is None else value.value for value in line.values] for line in found.lines]
    assert values == [[0.5, None], [1.2, 1.1], [0.6, 0.7], [None, 0.4]]
    assert [line.best for line in found.lines] == [None, 1.1, 0.7, None]  # less is better for bits per byte
    assert found.averages is None  # one share in common
    assert found.shares == [("piqa", "acc_norm"), ("boolq", "acc"), ("sciq", "acc_norm")]
    assert json.loads(json.dumps(found.to_json()))["tasks"][1]["values"][1]["value"] == 1.1


def test_averages_are_over_what_all_runs_have():
    runs = [
        run("A", piqa=result("acc_norm", 0.5), boolq=result("acc", 0.6), sciq=result("acc_norm", 0.9)),
        run("A", piqa=result("acc_norm", 0.3), boolq=result("acc", 0.6)),
    ]
    found = across(runs)
    assert found.names == ("A (1)", "A (2)")
    assert found.averages == pytest.approx((0.55, 0.45))
    console = Console(width=80, file=io.StringIO())
    console.print(render_across(found))
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "average of 2 55.0 45.0" in text
    assert "piqa acc_norm 25% 50.0 ± 1.0 30.0 ± 1.0" in text


def test_other_data_and_other_numbers_of_items_are_noted():
    a = run("A", piqa=result("acc_norm", 0.5), boolq=result("acc", 0.6), sciq=result("acc_norm", 0.6))
    b = run("B", piqa=result("acc_norm", 0.5, data="g"), boolq=result("acc", 0.6, n=20), sciq=a.tasks["sciq"])
    assert across([a, b]).notes() == [
        "piqa: measured on different data; these values cannot be compared",
        "boolq: measured on different numbers of items (20, 100)",
    ]
    assert across([a, b]).common == 2  # piqa is no part of an average


def test_the_figure_has_a_row_a_share():
    a = run("A", piqa=result("acc_norm", 0.005), text=result("bits_per_byte", 1.2))
    found = across([a])
    axes = runs_figure(found.by_name, found.shares).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["piqa acc_norm"]
    [[start, end]] = axes.collections[0].get_segments()
    assert (start[0], end[0]) == pytest.approx((0.0, 2.46))  # a share is not below zero


def test_nothing_to_show_is_told():
    with pytest.raises(UserError, match="no finished task"):
        across([run("A")])
