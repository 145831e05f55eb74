from __future__ import annotations

import math
from pathlib import Path

import pytest

from flyweight.base import UserError, read_json
from flyweight.evaluation import Settings, Wanted, evaluate
from flyweight.evaluation.further import add_calibration, add_texts
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.inference import DecoderModel, LanguageModel


def test_texts_are_measured_beside_compressors(uniform: LanguageModel, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("one two three " * 40)
    results = evaluate(uniform, [], Settings())
    (line,) = add_texts(results, uniform, [text], tmp_path / "out")
    # Each of 260 tokens is as likely as every other, and a token is a byte.
    found = results["tasks"]["text"]["metrics"]
    assert any(metric["value"] == pytest.approx(math.log2(260), abs=1e-4) for metric in found.values())
    assert f"{math.log2(260):.4f} bits per byte" in line
    compressors = results["tasks"]["text"]["details"]["compressors"]
    assert list(compressors) == ["zstd-19", "lzma"]
    for name, value in compressors.items():
        assert f"{name} {value:.4f}" in line
    assert read_json(tmp_path / "out" / "results.json")["tasks"]["text"]


def test_the_law_of_context_is_drawn(model: DecoderModel, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("".join(chr(97 + (n * n) % 26) for n in range(3000)))
    results = evaluate(model, [], Settings())
    lines = add_texts(results, model, [text], tmp_path / "out", law=True)
    assert lines[1].startswith("law of context: L(t) = ")
    assert set(results["context_law"]["law"]) == {"a", "b", "c"}
    assert (tmp_path / "out" / "context-law.png").read_bytes().startswith(b"\x89PNG")
    add_texts(results, model, [text], tmp_path / "out")
    assert "context_law" in results  # the same text
    (tmp_path / "other.txt").write_text("another text")
    add_texts(results, model, [tmp_path / "other.txt"], tmp_path / "out")
    assert "context_law" not in read_json(tmp_path / "out" / "results.json")


def test_calibration_of_lettered_answers(model: DecoderModel, tmp_path: Path):
    results = evaluate(model, [], Settings())
    with pytest.raises(UserError, match="calibration needs a task with lettered answers"):
        add_calibration(results, None)
    count = 60
    items = {
        "id": [str(n) for n in range(count)],
        "loglikelihoods": [[-1.0 - (n % 4 == k) for k in range(4)] for n in range(count)],
        "gold": [n % 4 for n in range(count)],
    }
    task = TaskResult({"acc": Metric(0.0, None, count)}, items).to_json()
    results["tasks"]["mmlu"] = {"task": "mmlu", **task}
    (line,) = add_calibration(results, tmp_path)
    assert line.startswith("mmlu: accuracy 0.000")
    assert (tmp_path / "calibration-mmlu.png").is_file()
    assert results["calibration"]["mmlu"]["items"] == count


def test_nothing_to_run_is_no_mistake(model: DecoderModel):
    assert evaluate(model, [Wanted("arithmark-gen")], Settings(limit=1))["tasks"]
    assert evaluate(model, [])["tasks"] == {}


def test_the_name_of_a_task_in_earlier_results_leads_nowhere(model: DecoderModel, tmp_path: Path):
    results = evaluate(model, [], Settings())
    items = {"id": ["a", "b"], "loglikelihoods": [[-1.0, -2.0, -3.0, -4.0]] * 2, "gold": [0, 1]}
    task = TaskResult({"acc": Metric(0.5, None, 2)}, items).to_json()
    results["tasks"]["mmlu@5/../../../drawn"] = {"task": "mmlu", **task}
    with pytest.raises(UserError, match="stays within"):
        add_calibration(results, tmp_path / "a" / "b" / "out")
    assert not list(tmp_path.rglob("*.png"))
