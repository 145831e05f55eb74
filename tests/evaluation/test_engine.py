from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from flyweight.base import UserError, read_json
from flyweight.evaluation import evaluate, render_results
from flyweight.inference import DecoderModel


def test_results_say_what_was_measured_and_lie_beside(
    model: DecoderModel, blimp_folder: Path, tmp_path: Path
):
    seen: list[tuple[str, float]] = []
    results = evaluate(
        model, ["blimp", "arithmark-gen"], blimp_folder, limit=2, seed=4, output=tmp_path / "out",
        progress=lambda task, share: seen.append((task, share)),
    )  # fmt: skip
    assert read_json(tmp_path / "out" / "results.json") == json.loads(json.dumps(results, allow_nan=False))
    assert (results["model"], results["seed"], results["limit"], results["precision"]) == (
        "tiny",
        4,
        2,
        "float32",
    )
    assert list(results["tasks"]) == ["blimp", "arithmark-gen"]
    assert all(task["seconds"] >= 0 for task in results["tasks"].values())
    assert ("blimp", 1.0) in seen
    assert ("arithmark-gen", 1.0) in seen


def test_the_table_for_people_has_every_task_and_version(model: DecoderModel, blimp_folder: Path):
    results = evaluate(model, ["blimp", "arithmark-gen"], blimp_folder, limit=3)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render_results(results))
    text = console.export_text()
    accuracy = results["tasks"]["arithmark-gen"]["v3"]["acc_norm"]
    assert re.search(rf"arithmark-gen v3 .* acc_norm .* {accuracy:.1%} .* 25\.0%", text)
    assert re.search(r"blimp +│ 6 +│ acc .* 50\.0%", text)
    assert text.count("2 operands") == 3


def test_the_same_again(model: DecoderModel):
    one, two = (evaluate(model, ["arithmark-gen"], limit=3, seed=1) for _ in range(2))
    for results in (one, two):
        del results["tasks"]["arithmark-gen"]["seconds"]
    assert one == two


def test_a_single_item_has_no_standard_error(model: DecoderModel, blimp_folder: Path):
    result = evaluate(model, ["blimp"], blimp_folder, limit=1)["tasks"]["blimp"]
    assert result["acc_stderr"] is None


def test_an_unknown_task_or_limit_is_refused_before_any_work(model: DecoderModel):
    with pytest.raises(UserError, match="no task 'blinp'; the tasks are arithmark, arithmark-gen, blimp"):
        evaluate(model, ["arithmark-gen", "blinp"], limit=1)
    with pytest.raises(UserError, match="the limit is 0"):
        evaluate(model, ["arithmark-gen"], limit=0)


def test_what_was_finished_is_kept_when_a_later_task_fails(model: DecoderModel, tmp_path: Path):
    with pytest.raises(UserError, match="no BLiMP files"):
        evaluate(model, ["arithmark-gen", "blimp"], tmp_path / "nothing", limit=1, output=tmp_path / "out")
    assert list(read_json(tmp_path / "out" / "results.json")["tasks"]) == ["arithmark-gen"]
