"""Tasks during training, calibration, the law of context and samples: of one run, and of several beside each other."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import read_json, write_json
from flyweight.plots import colors
from flyweight.report import figures, read_run, write_report
from flyweight.report.calibration import calibration_of
from flyweight.report.comparison import differences
from flyweight.report.context import context_of
from flyweight.report.names import short, short_names, titles_of
from flyweight.report.on_the_way import on_the_way, task_curves
from flyweight.report.run import RunRecord
from flyweight.report.samples import samples_of, samples_side_by_side
from flyweight.report.scores import MANY_DOTS, quoted, results_of, task_dots
from flyweight.report.sections import run_parts


@pytest.fixture
def record(run: Path, everything: dict[str, Any]) -> RunRecord:
    write_json(run / "results.json", everything)
    return read_run(run)


@pytest.fixture
def other(other_run: Path) -> RunRecord:
    return read_run(other_run)


def plain(parts: Any) -> str:
    return "".join(parts)


def cells(page: str, label: str) -> list[str]:
    """The cells of the row with this label."""
    row = page.split(f'<th scope="row">{label}</th>')[1].split("</tr>")[0]
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def test_curves_hold_what_was_measured(record: RunRecord):
    found = task_curves(record)
    events = record.of("evaluated")
    assert found["arc_easy"].values == {e["clock"]: e["scores"]["arc_easy"] for e in events}
    assert found["arc_easy"].is_share
    assert not found["wikitext"].is_share  # a perplexity is not drawn in percent
    shown = plain(on_the_way([record]))
    assert "acc_norm, percent" in shown
    assert "word_perplexity over tokens. score: from 74 at" in shown
    assert cells(shown, "16.38K") == ["31.4% ± 5.0%", "26"]
    assert ">60 items<" in shown


def test_runs_are_compared_at_the_last_clock_that_all_of_them_have(record: RunRecord, other: RunRecord):
    shown = plain(on_the_way([record, other]))
    assert shown.count("<svg") == 2  # a figure a task, both runs in it
    common = max(set(task_curves(record)["arc_easy"].values) & set(task_curves(other)["arc_easy"].values))
    assert common < 16384  # the other one stopped at three quarters
    metric, clock, *values = cells(shown, "arc_easy")
    assert "Last measured at the same clock" in shown
    assert (metric, clock) == ("acc_norm", "12.29K")
    assert values == ["29.8% ± 5.0%"] * 2


def test_runs_that_were_never_measured_at_the_same_clock_say_when(record: RunRecord, other: RunRecord):
    for event in other.events:
        if event["kind"] == "evaluated":
            event["clock"] += 1
    shown = plain(on_the_way([record, other]))
    assert "never measured at the same clock" in shown
    assert "Last measured at the same clock" not in shown
    assert cells(shown, "arc_easy")[1:] == [
        "",
        "31.4% ± 5.0% at 16.38K",
        "29.8% ± 5.0% at 12.29K",
    ]


def test_calibration_shows_the_diagram_and_three_readings(record: RunRecord, everything: dict[str, Any]):
    shown, node = plain(calibration_of([record])), everything["calibration"]["mmlu"]
    assert shown.count("<svg") == 1
    for name, label in (
        ("options", "ECE, all choices, bins of equal width"),
        ("top-1", "ECE, the likeliest choice, bins of equal width"),
    ):
        one = node["readings"][name]
        assert cells(shown, label) == [f"{one['ece']:.3f} ({one['ece_low']:.3f} to {one['ece_high']:.3f})"]
    assert cells(shown, "accuracy") == [f"{node['accuracy']:.3f} ± {node['accuracy_stderr']:.3f}"]
    assert f"accuracy {node['accuracy']:.3f}, ECE {node['readings']['options']['ece']:.3f}" in shown


def test_several_models_share_a_diagram(record: RunRecord, other: RunRecord, everything: dict[str, Any]):
    second = dataclasses.replace(other, results=everything)
    shown = plain(calibration_of([record, second]))
    assert shown.count("<svg") == 1
    assert len(cells(shown, "accuracy")) == 2
    assert "tiny (first): accuracy" in shown
    assert "tiny (second): accuracy" in shown
    assert cells(plain(calibration_of([record, other])), "items") == ["400"]  # only one of them measured it


@pytest.mark.parametrize(
    "broken", [None, [], "x", {"mmlu": None}, {"mmlu": {"readings": {"options": {"bins": [{}]}}}}]
)
def test_what_is_broken_in_calibration_is_left_out(record: RunRecord, broken: Any):
    assert calibration_of([dataclasses.replace(record, results={"calibration": broken})]) == []


def test_the_law_of_context_shows_coefficients_and_what_lies_beyond(
    record: RunRecord, everything: dict[str, Any]
):
    shown, node = plain(context_of([record])), everything["context_law"]
    low, high = node["intervals"]["b"]
    assert cells(shown, "b, the floor in nats") == [f"{node['law']['b']:.4g} ({low:.4g} to {high:.4g})"]
    assert cells(shown, "trained length") == ["64"]
    assert cells(shown, "text") == ["text.txt"]  # not the folders of a machine
    assert "beyond the trained length, not in the fit" in shown


def test_laws_of_several_runs_are_drawn_in_bits_per_byte(
    record: RunRecord, other: RunRecord, everything: dict[str, Any]
):
    second = copy.deepcopy(everything)
    second["context_law"]["files"] = ["another.txt"]
    shown = plain(context_of([record, dataclasses.replace(other, results=second)]))
    assert "bits per byte" in shown
    assert "beyond the trained length" not in shown
    assert "these curves do not compare" in shown


def test_a_law_of_an_earlier_version_has_no_band(record: RunRecord, everything: dict[str, Any]):
    old = copy.deepcopy(everything["context_law"])
    for piece in old["bins"]:
        del piece["fitted_low"], piece["fitted_high"]
    assert "<svg" in plain(context_of([dataclasses.replace(record, results={"context_law": old})]))
    for odd in (None, {"b": 3}, {"b": ["inf", 2.0]}, {"b": [1.0]}, ["b"]):
        strange = {**old, "intervals": odd}
        assert "<svg" in plain(context_of([dataclasses.replace(record, results={"context_law": strange})]))
    for broken in (
        None,
        {},
        {"law": {"a": 1}},
        {**old, "bins": []},
        {**old, "law": {"a": "x", "b": 1, "c": 1}},
    ):
        assert context_of([dataclasses.replace(record, results={"context_law": broken})]) == []


def test_samples_stand_by_prompt_newest_first(record: RunRecord, other: RunRecord):
    shown = plain(samples_of(record))
    assert shown.index("upon a time") < shown.index("From nothing")
    once = shown.split("Going on from “Once &lt;b&gt;”")[1]
    order = ("upon 16384", "upon 12288", "2 earlier ones", "upon 8192", "upon 4096")
    assert [once.index(text) for text in order] == sorted(once.index(text) for text in order)
    beside = plain(samples_side_by_side([record, other]))
    assert beside.count("upon 16384") == 1
    assert beside.count("upon 12288") == 1
    assert "upon 4096" not in beside


def test_every_task_is_shown_by_the_metric_that_it_is_quoted_by(record: RunRecord):
    results = {
        "tasks": {
            "arc_easy": {
                "metrics": {"acc": {"value": 0.3, "stderr": 0.1}, "acc_norm": {"value": 0.4, "stderr": 0.1}}
            },
            "own": {"metrics": {"a": {"value": 0.1}, "f1": {"value": 0.2}}, "details": {"main_metric": "f1"}},
        }
    }
    assert {task: row.metric for task, row in quoted(results).items()} == {
        "arc_easy": "acc_norm",
        "own": "f1",
    }


def test_very_many_tasks_and_sources_stay_readable(record: RunRecord):
    tasks = {
        f"task_{n}": {"metrics": {"acc": {"value": n / 100, "stderr": 0.01, "n": 5}}, "chance": 0.25}
        for n in range(2 * MANY_DOTS + 1)
    }
    sources = {f"source {n}": 1.0 + n / 100 for n in range(60)}
    events = [
        {**event, "bits_per_byte": sources} if event["kind"] == "validated" else event
        for event in record.events
    ]
    many = dataclasses.replace(record, results={"tasks": tasks}, events=events)
    assert len(task_dots([many])) == 3
    shown = plain(results_of(many))
    assert "Bits per byte of 60 sources" in shown
    (bits,) = figures.bits_figures([many])
    assert "60 sources: mean, range" in bits
    assert "lowest 1.295" in bits  # the mean of 1.00, 1.01, ... 1.59
    training = dict((part.title, plain(part.content)) for part in run_parts(many)[1])["Training"]
    assert "Bits per byte of each of the 60 sources" in training
    assert training.count("held-out source ") == 60
    own = dict((part.title, plain(part.content)) for part in run_parts(record)[1])["Training"]
    assert "Bits per byte of each" not in own


def test_recipes_are_compared_by_what_changes_what_is_learned(record: RunRecord, other: RunRecord):
    shown = differences([record, other], ["a", "b"])
    assert cells(shown, "seed") == ["7", "8"]
    assert shown.count('<th scope="row">') == 1
    assert "the recipes are the same" in differences([record, record], ["a", "b"])
    slower = record.recipe.to_dict()
    slower["training"]["weight_decay"] = [
        {"at": 0, "value": 0.1},
        {"at": 4096, "value": 0.2, "shape": "linear"},
    ]
    slower["training"]["mixture"] = [{"at": 0, "weights": {"english": 0.75, "mine": 0.25}}]
    changed = dataclasses.replace(record, recipe=type(record.recipe).model_validate(slower))
    found = differences([record, changed], ["a", "b"])
    assert cells(found, "training.weight_decay")[1] == "0.1; linearly to 0.2 at 4.096K"
    assert cells(found, "training.mixture")[1] == "english 0.75, mine 0.25"


def test_runs_of_the_same_name_in_folders_of_the_same_name_are_told_apart(record: RunRecord):
    assert titles_of([record, record]) == ["tiny (first) #1", "tiny (first) #2"]
    assert titles_of([record]) == ["tiny"]


def test_long_names_are_shortened_and_stay_different():
    assert short("n" * 30) == "n" * 30
    assert short("a" * 40 + "-version-2") == "a" * 21 + "…ersion-2"
    alike = ["x" * 30 + f"{n:09}" + "y" * 8 for n in range(3)]
    labels = short_names(alike)
    assert len(set(labels.values())) == 3
    assert max(map(len, labels.values())) <= 33


def test_a_run_has_the_same_colour_in_every_figure(record: RunRecord, other: RunRecord):
    begun = dataclasses.replace(other, name="begun", events=[])
    third = dataclasses.replace(other, name="third")
    (axes,) = figures.loss_figure([record, begun, third]).axes
    found = {str(line.get_label()): line.get_color() for line in axes.lines}
    expected = colors(3)
    assert found == {"tiny": expected[0], "third": expected[2]}  # the one without steps keeps its colour


def test_skipped_steps_are_marked_on_the_curves(record: RunRecord):
    fault = {"kind": "step_skipped", "clock": 4096, "reason": "the loss is nan", "first": 0, "end": 8}
    faulty = dataclasses.replace(record, events=[*record.events, fault])
    (axes,) = figures.loss_figure([faulty]).axes
    (mark,) = [one for one in axes.collections if one.get_label() == "step skipped"]
    assert [segment[0][0] for segment in mark.get_segments()] == [4096.0]  # type: ignore[attr-defined]


def test_records_of_earlier_versions_lack_keys(run: Path, tmp_path: Path):
    needed = {"kind", "attempt", "time", "step", "clock", "loss", "grad_norm", "learning_rate", "realised",
              "resumed_from", "name", "path", "bits_per_byte", "full", "text", "prompt", "message", "reason", "scores",
              "seconds", "tokens_per_second", "batch_size", "sequence_length"}  # fmt: skip
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [json.dumps({key: value for key, value in line.items() if key in needed}) for line in lines]
    (run / "events.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    results = read_json(run / "results.json")
    for task in results["tasks"].values():
        task.pop("details", None)
    write_json(run / "results.json", results)
    write_report([run], tmp_path / "page.html")
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "score, percent over tokens" in shown


def test_a_run_that_failed_says_so_and_shows_a_loss_that_is_no_number(run: Path, tmp_path: Path):
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [place for place, line in enumerate(lines) if '"kind": "step"' in line]
    lines[steps[-1]] = re.sub(r'"loss": [0-9.]+', '"loss": "nan"', lines[steps[-1]])
    lines[-1] = lines[-1].replace('"reason": "finished"', '"reason": "failed: the loss is <nan>"')
    (run / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_report([run], tmp_path / "page.html")
    shown = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "not finished: failed: the loss is &lt;nan&gt;" in shown
    assert "<b>not a number</b>" in shown
