"""Our engine's answers against lm-eval's own model class, over the same tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.evaluation.harness.catalogue import BENCHMARKS
from flyweight.evaluation.harness.loading import bootstrap_stderr, load_benchmark, quick_and_quiet
from flyweight.evaluation.harness.local_data import LocalData
from flyweight.evaluation.harness.run import run_benchmark
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import load_model


@pytest.fixture(scope="module")
def reference(llama_folder: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(llama_folder), device="cpu", dtype="float32", batch_size=4)


def reference_results(lm: Any, name: str, folder: Path, shots: int | None) -> Any:
    from lm_eval.evaluator import evaluate

    with quick_and_quiet():
        loaded = load_benchmark(name, LocalData(name, BENCHMARKS[name], folder), shots)
        return evaluate(lm=lm, task_dict=loaded, bootstrap_iters=10)


@pytest.mark.parametrize("name", ["piqa", "hellaswag", "winogrande", "boolq", "lambada_openai", "wikitext"])
def test_the_same_likelihoods_and_metrics(
    name: str, reference: Any, llama_folder: Path, benchmarks_folder: Path
):
    model = load_model(llama_folder, "cpu")
    found = run_benchmark(name, TaskInput(model, benchmarks_folder, None, 0, None, None))
    expected = reference_results(reference, name, benchmarks_folder, None)
    samples = expected["samples"][name]
    values = [[answer for (answer,) in sample["resps"]] for sample in samples]
    values = [[one[0] if isinstance(one, tuple) else one for one in some] for some in values]
    assert len(values) == len(found.items["id"])
    for ours, theirs in zip(found.items["loglikelihoods"], values, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    for metric, value in found.metrics.items():
        assert value.value == pytest.approx(expected["results"][name][f"{metric},none"], rel=1e-4)


def test_standard_errors_are_bootstrapped_as_lm_eval_does_without_forking(
    llama_folder: Path, benchmarks_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """A fork of a process with threads may stand still for ever, and a training run with it."""
    from lm_eval.api.metrics import bootstrap_stderr as theirs
    from lm_eval.api.metrics import perplexity

    def forks(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was forked")

    monkeypatch.setattr("multiprocessing.Pool", forks)
    model = load_model(llama_folder, "cpu")
    found = run_benchmark("lambada_openai", TaskInput(model, benchmarks_folder, None, 0, None, None))
    assert found.metrics["perplexity"].stderr is not None
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    for items, iters in (([-1.0, -2.5, -0.3, -4.0], 40), ([-1.0, -2.0], 2500)):
        assert bootstrap_stderr(perplexity, items, iters) == theirs(perplexity, items, iters)


def test_the_same_text_and_the_same_examples(reference: Any, llama_folder: Path, benchmarks_folder: Path):
    model = load_model(llama_folder, "cpu")
    model.max_length = reference._max_length = 2048  # room for lm-eval's 256 new tokens; RoPE has no end
    found = run_benchmark("gsm8k", TaskInput(model, benchmarks_folder, 3, 0, None, None), shots=2)
    reference_task = reference_results(reference, "gsm8k", benchmarks_folder, 2)
    texts = {sample["doc_id"]: sample["resps"][0][0] for sample in reference_task["samples"]["gsm8k"]}
    assert found.items["text"] == [texts[number] for number in range(3)]
    assert found.shots == 2
    assert set(found.metrics) == {"exact_match,strict-match", "exact_match,flexible-extract"}


def test_what_does_not_fit_is_counted(llama_folder: Path, benchmarks_folder: Path):
    model = load_model(llama_folder, "cpu")  # 64 tokens, one a byte
    found = run_benchmark("gsm8k", TaskInput(model, benchmarks_folder, 2, 0, None, None), shots=2)
    assert found.fit["requests"] == found.fit["truncated"] == found.fit["shortened"] == 2
    assert found.fit["tokens_lost"] > 0
    assert found.fit["unfinished"] == 2
    likely = run_benchmark("boolq", TaskInput(model, benchmarks_folder, 2, 0, None, None))
    assert likely.fit["truncated"] == 0


def test_more_examples_than_there_are(llama_folder: Path, benchmarks_folder: Path):
    model = load_model(llama_folder, "cpu")
    task = TaskInput(model, benchmarks_folder, 2, 0, None, None)
    with pytest.raises(UserError, match="gsm8k@20: there are 9 examples to draw from"):
        run_benchmark("gsm8k", task, shots=20)


def test_the_subsets_of_math_are_found_and_counted_by_size(llama_folder: Path, tmp_path: Path):
    types = [
        "Algebra",
        "Counting & Probability",
        "Geometry",
        "Intermediate Algebra",
        "Number Theory",
        "Prealgebra",
    ]
    records = [
        {"problem": "1 + 1 = ?", "solution": r"It is $\boxed{2}$.", "level": "Level 1", "type": one}
        for one in [*types, "Precalculus", "Precalculus"]
    ]
    write(tmp_path / "math" / "test.jsonl", records)
    model = load_model(llama_folder, "cpu")
    found = run_benchmark("minerva_math", TaskInput(model, tmp_path, None, 0, None, None))
    assert found.metrics["exact_match"].n == 8
    assert len(found.subsets) == 7
    assert found.shots == 4


QUESTION = {"goal": "open box", "sol1": "pull", "sol2": "push", "label": 0}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**QUESTION, "label": -1}, "piqa, item 0: its right answer is -1; expected a number from 0 to 1"),
        ({**QUESTION, "label": "1"}, "piqa, item 0: its right answer is '1'"),
        (
            {**QUESTION, "label": None},
            r"piqa: a record in .*piqa is not as lm-eval's task expects it \(TypeError",
        ),
        ({**QUESTION, "sol1": ""}, "a record in .* is not as lm-eval's task expects it"),
    ],
)
def test_records_that_have_no_right_answer_or_no_choice(
    record: dict[str, Any], message: str, llama_folder: Path, tmp_path: Path
):
    write(tmp_path / "piqa" / "validation.jsonl", [record] * 2)
    with pytest.raises(UserError, match=message):
        run_benchmark("piqa", TaskInput(load_model(llama_folder, "cpu"), tmp_path, None, 0, None, None))


def test_labels_that_cannot_be_read_are_not_called_a_matter_of_the_hub(llama_folder: Path, tmp_path: Path):
    endings = {
        "activity_label": "a",
        "ctx_a": "b",
        "ctx_b": "c",
        "endings": ["d", "e", "f", "g"],
        "label": "",
    }
    write(tmp_path / "hellaswag" / "validation.jsonl", [endings])
    with pytest.raises(UserError, match=r"a record in .*hellaswag is not as lm-eval's task expects it"):
        run_benchmark("hellaswag", TaskInput(load_model(llama_folder, "cpu"), tmp_path, None, 0, None, None))


def write(file: Path, records: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
