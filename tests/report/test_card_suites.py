"""Results in the cards' own columns: our row with its errors, the published ones with where they are from."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError, read_json, write_json
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.suites import SUITES, measured_suites, suite_row
from flyweight.planning import plan_recipe
from flyweight.recipe import Recipe, format_tokens
from flyweight.report import CardFacts, write_model_card

SHARES = {"hellaswag": 0.25, "arc_easy": 0.3, "piqa": 0.55, "blimp": 0.6}


def results_of(tasks: dict[str, Any], limit: int | None = None) -> dict[str, Any]:
    return {
        "format": 2,
        "model": {"name": "tiny@16.38K", "precision": "float32"},
        "settings": {"limit": limit, "data": "/home/somebody/eval"},
        "versions": {"lm-eval": "0.4.13"},
        "tasks": tasks,
        "missing": {"arithmark": "/home/somebody/eval: none of ArithMark's files is here"},
    }


def task(value: float, metric: str = "acc_norm", stderr: float | None = 0.01) -> dict[str, Any]:
    return {"metrics": {metric: {"value": value, "stderr": stderr, "n": 100}}, "chance": 0.25}


def gpt_s(**more: Any) -> dict[str, Any]:
    return {
        name: task(share, "acc" if name == "blimp" else "acc_norm") for name, share in SHARES.items()
    } | more


@pytest.fixture
def export(run: Path, recipe: Recipe, export_record: Any, tmp_path: Path) -> Path:
    return export_record(tmp_path / "export", recipe, 16384)


def card(run: Path, export: Path, results: dict[str, Any]) -> str:
    write_json(run / "results.json", results)
    return write_model_card(run, export).read_text(encoding="utf-8")


def size_of(recipe: Recipe) -> str:
    return format_tokens(plan_recipe(recipe).parameters["total"])


def test_the_table_is_that_of_the_card_with_its_rows(run: Path, export: Path, recipe: Recipe) -> None:
    text = card(run, export, results_of(gpt_s(arithmark=task(0.31, "acc,v2"))))
    assert "| Model | Parameters | HellaSwag | ARC (easy) | PIQA | ArithMark | BLiMP | Average |" in text
    ours = f"| tiny | {size_of(recipe)} | 25.00 ± 1.00 | 30.00 ± 1.00 | 55.00 ± 1.00 | 31.00 ± 1.00 | 60.00 ± 1.00 |"
    average = 100 * (0.25 + 0.3 + 0.55 + 0.31 + 0.6) / 5
    error = 100 * math.sqrt(5) * 0.01 / 5
    assert f"{ours} {average:.2f} ± {error:.2f} |" in text
    shown = {"GPT-S-5M": "5M", "Spark-5M-Base-v4": "5M", "Supra-Mini-v4-2M": "2M"}
    for peer in SUITES["gpt-s-5m"].published:
        row = f"| {peer.model} | {shown.get(peer.model)} | {' | '.join(f'{value:.2f}' for value in peer.values)} |"
        assert (row in text) == (peer.model in shown)
        assert (peer.model in text) == (peer.model in shown)
    assert "Those nearest in size are shown, 3 of other sizes are not." in text
    assert "measured by others and not here (card of GPT-S-5M: its authors' own harness" in text
    assert "lm-eval 0.4.13's tasks" in text
    assert "in float32" in text
    assert "SmolLM2-135M" not in text  # peers of another size are another suite's


def test_what_was_not_measured_leaves_a_hole_and_no_average(run: Path, export: Path, recipe: Recipe) -> None:
    text = card(run, export, results_of(gpt_s()))
    assert (
        f"| tiny | {size_of(recipe)} | 25.00 ± 1.00 | 30.00 ± 1.00 | 55.00 ± 1.00 |  | 60.00 ± 1.00 |  |"
        in text
    )
    assert "ArithMark was not measured, so no average." in text
    assert "/home/somebody" not in text  # why it was not is nobody else's business


def test_a_part_of_the_sets_is_said_to_be_one(run: Path, export: Path, recipe: Recipe) -> None:
    text = card(run, export, results_of(gpt_s(), limit=100))
    assert f"| tiny, on a part of each set | {size_of(recipe)} | 25.00" in text
    assert "its numbers do not compare with the others" in text
    assert (
        "acc_norm\n" not in text.split("\n---\n")[0]
    )  # the metadata, which the Hub compares, holds none of it


def test_a_few_tasks_make_no_table_of_a_card(run: Path, export: Path) -> None:
    text = card(run, export, results_of({"hellaswag": task(0.25), "piqa": task(0.55)}))
    assert "pythia" not in text
    assert "| hellaswag | acc\\_norm | 25.0% |" in text


def test_a_wide_table_is_turned(run: Path, export: Path, recipe: Recipe) -> None:
    suite = SUITES["xmodel-2.5"]
    tasks = {part.key: task(0.5, part.metric) for part in suite.parts}
    text = card(run, export, results_of(tasks))
    assert "|  | tiny | Xmodel-2 | MiniCPM-1B | Llama-3.2-1B |" in text  # the three smallest
    assert f"| Parameters | {size_of(recipe)} | 1.2B | 1B | 1B |" in text
    assert re.search(r"^\| ARC-Challenge \| 50\.00 ± 1\.00 \| 46\.16 \|  \|  \|", text, re.M)
    assert re.search(r"^\| Average \| 50\.00 ± 0\.28 \| 50\.34 \| 48\.95 \| 44\.72 \|", text, re.M)


def test_peers_are_of_about_the_models_size() -> None:
    def names(suite: str, parameters: float) -> list[str]:
        return [row.model for row in SUITES[suite].peers(int(parameters))]

    everyone = [row.model for row in SUITES["gpt-s-5m"].published]
    assert names("gpt-s-5m", 5.158e6) == everyone
    assert names("gpt-s-5m", 60e6) == ["pythia-31m", "pythia-14m", "Supra-Mini-v5-8M"]
    assert names("gpt-s-5m", 39e6) == [
        "GPT-S-5M",
        "pythia-31m",
        "pythia-14m",
        "Spark-5M-Base-v4",
        "Supra-Mini-v5-8M",
    ]
    assert names("gpt-s-5m", 1.3e9) == ["pythia-31m", "pythia-14m", "Supra-Mini-v5-8M"]
    assert names("gpt-x2", 5e6) == ["GPT-X2-125M", "GPT-X-125M", "GPT-2 (124M)"]
    assert len(names("xmodel-2", 1.2e9)) == len(SUITES["xmodel-2"].published)


def test_errors_of_columns_and_averages() -> None:
    suite = SUITES["gpt-x2"]
    tasks = {part.key: TaskResult({part.metric: Metric(0.5, 0.02, 10)}, {}) for part in suite.parts}
    row = suite_row(suite, tasks)
    assert row.errors[0] == pytest.approx(2.0)
    assert row.errors[1] == pytest.approx(2.0 / math.sqrt(2))  # of two parts
    assert row.average_error == pytest.approx(math.sqrt(5 * 4 + 2) / 6)
    tasks["piqa"] = TaskResult({"acc_norm": Metric(0.5, None, 10)}, {})
    row = suite_row(suite, tasks)
    assert row.errors[2] is None
    assert row.average is not None
    assert row.average_error is None


@pytest.mark.parametrize("name", SUITES)
def test_a_suites_own_results_are_known_as_its_own(name: str) -> None:
    suite = SUITES[name]
    tasks = {part.key: TaskResult({part.metric: Metric(0.5, 0.01, 10)}, {}) for part in suite.parts}
    for both in suite.parts:  # lm-eval gives both accuracies, and another suite quotes the other one
        tasks[both.key].metrics.update(dict.fromkeys(("acc", "acc_norm"), Metric(0.5, 0.01, 10)))
    assert measured_suites(tasks) == [name]
    last = suite.parts[-1].key
    del tasks[last]
    assert measured_suites(tasks) == []
    assert measured_suites(tasks, [last]) == [name]
    assert measured_suites({}, [part.key for part in suite.parts]) == []


def test_results_of_elsewhere_are_taken_if_they_are_of_this_model(
    run: Path, export: Path, recipe: Recipe, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "evaluation"
    write_json(elsewhere / "results.json", results_of(gpt_s()))
    for place in (elsewhere, elsewhere / "results.json"):
        text = write_model_card(run, export, CardFacts(results=place)).read_text(encoding="utf-8")
        assert f"| tiny | {size_of(recipe)} | 25.00 ± 1.00" in text
    write_json(elsewhere / "results.json", results_of(gpt_s()) | {"model": {"name": "other@1M"}})
    with pytest.raises(UserError, match=r"these results are of 'other@1M'; expected those of 'tiny@16\.38K'"):
        write_model_card(run, export, CardFacts(results=elsewhere))
    with pytest.raises(UserError, match="no such file or folder"):
        write_model_card(run, export, CardFacts(results=tmp_path / "nowhere"))


def test_results_of_other_weights_are_not_taken_for_this_models(
    run: Path, export: Path, recipe: Recipe, tmp_path: Path
) -> None:
    write_json(
        export / "flyweight_export.json",
        read_json(export / "flyweight_export.json", "record") | {"fingerprint": "a"},
    )
    for fingerprint, told in (("a", True), ("b", False)):
        results = results_of(gpt_s())
        results["model"]["fingerprint"] = fingerprint
        assert ("25.00 ± 1.00" in card(run, export, results)) == told
    with pytest.raises(UserError, match=r"called 'tiny@16\.38K' too, but has other weights"):
        write_model_card(run, export, CardFacts(results=run))


def test_a_validation_of_another_clock_is_not_the_exported_models(
    run: Path, recipe: Recipe, export_record: Any, tmp_path: Path
) -> None:
    (run / "results.json").unlink()
    at_end = write_model_card(run, export_record(tmp_path / "end", recipe, 16384)).read_text(encoding="utf-8")
    assert "| after training | 1.5" in at_end
    assert "type: bits_per_byte" in at_end
    between = export_record(tmp_path / "between", recipe, 9000)
    text = write_model_card(run, between).read_text(encoding="utf-8")
    assert "after training" not in text
    assert re.search(r"\| at [\d.]+K tokens \| 1\.", text)
    assert "bits_per_byte" not in text.split("\n---\n")[0]


BROKEN = (
    {"tasks": 3},
    {"tasks": {"hellaswag": {"metrics": None}}},
    {"versions": 1, "model": [], "missing": 7},
)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_broken_results_make_a_card_all_the_same(run: Path, export: Path, broken: dict[str, Any]) -> None:
    assert "No task was measured." in card(run, export, results_of({}) | broken)
