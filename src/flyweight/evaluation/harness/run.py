"""A benchmark on a model, from its name to its result."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from flyweight.base import UserError
from flyweight.evaluation.harness.catalogue import BENCHMARKS
from flyweight.evaluation.harness.code import code_runs, run_side_by_side
from flyweight.evaluation.harness.loading import (
    WHOLE,
    LoadedTasks,
    load_benchmark,
    quick_and_quiet,
    strange_data_told,
)
from flyweight.evaluation.harness.local_data import LocalData
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.tasks.task import TaskInput

BOOTSTRAP_ITERATIONS = 1_000
"""For standard errors of metrics that are no means (perplexities); those of means have a closed form."""


def run_benchmark(
    name: str, task: TaskInput, shots: int | None = None, *, unsafe_code: bool = False
) -> TaskResult:
    """Measure a model on one of lm-eval's tasks.

    Args:
        name: in `BENCHMARKS`, or any other task of lm-eval (with data from the hub).
        task: the model, the folder of local data (None: the hub), the limit of items a subset.
        shots: examples in the prompt; None takes the task's own number.
        unsafe_code: run programs that the model wrote without a sandbox where there is none.

    Raises:
        UserError: data that cannot be had or are not those of the task; programs to run, and no sandbox.
    """
    from lm_eval.evaluator import evaluate

    from flyweight.evaluation.harness.adapter import HarnessModel

    benchmark = BENCHMARKS.get(name)
    local = LocalData(name, benchmark, task.data) if benchmark and task.data is not None else None
    runs_code = benchmark is not None and benchmark.runs_code
    with quick_and_quiet(), code_runs(runs_code, unsafe_code) as metric:
        loaded = load_benchmark(name, local, shots)
        model = HarnessModel(task.model, progress=task.progress)
        if metric is not None:
            run_side_by_side(loaded, metric, task.progress)
        with strange_data_told(name, local):
            results = evaluate(
                lm=model,
                task_dict=loaded,
                limit=task.limit,
                bootstrap_iters=BOOTSTRAP_ITERATIONS,
                log_samples=True,
                confirm_run_unsafe_code=True,
            )
    assert results is not None
    samples: Any = results.get("samples", {})
    for leaf, loaded_task in loaded["tasks"].items():
        _check_answers(leaf, loaded_task, samples[leaf])
    found = _result(name, loaded, results, model, str(task.data) if local else "hub")
    return found if metric is None else replace(found, details={**found.details, **metric.describe()})


def _check_answers(name: str, task: Any, samples: list[dict[str, Any]]) -> None:
    """Whether each item's right answer is one of its choices; where it is not, lm-eval counts every model wrong.

    Raises:
        UserError: it is not: a test split without answers, or numbers that a .csv file holds as text.
    """
    if (
        task.OUTPUT_TYPE != "multiple_choice" or task.multiple_input
    ):  # there the target is the text that is scored
        return
    for sample in samples:
        gold, count = sample["target"], len(sample["resps"])
        if isinstance(gold, int) and not 0 <= gold < count:
            known = False
        else:
            known = not isinstance(gold, str) or gold in task.doc_to_choice(sample["doc"])
        if not known:
            raise UserError(
                f"{name}, item {sample['doc_id']}: its right answer is {gold!r}; expected a number from 0 to "
                f"{count - 1} (in a .csv file numbers are text: use .jsonl)."
            )


def _result(
    name: str, loaded: LoadedTasks, results: Mapping[str, Any], model: Any, source: str
) -> TaskResult:
    benchmark = BENCHMARKS.get(name)
    leaves = list(loaded["tasks"])
    counts = {leaf: results["n-samples"][leaf]["effective"] for leaf in leaves}
    parts = {leaf: _metrics(results["results"][leaf], counts[leaf]) for leaf in leaves}
    single = len(leaves) == 1
    whole = parts[leaves[0]] if single else _metrics(results["results"][WHOLE], sum(counts.values()))
    return TaskResult(
        metrics=whole,
        items=_items(results["samples"], single),
        chance=benchmark.chance if benchmark else None,
        shots=loaded["tasks"][leaves[0]].get_config("num_fewshot"),
        subsets={} if single else {_short(leaf, leaves): metrics for leaf, metrics in parts.items()},
        fit=dict(model.fit),
        data={"source": source, "fingerprint": _fingerprint(loaded)},
        details={
            "lm_eval_task": benchmark.task if benchmark else name,
            "versions": {leaf: results["versions"].get(leaf) for leaf in leaves[:1]},
            "lm_eval": importlib.metadata.version("lm-eval"),
            "work": dict(model.work),
        },
    )


def _metrics(values: Mapping[str, Any], n: int) -> dict[str, Metric]:
    """lm-eval's `metric,filter` entries; the filter's name stays where a task has several."""
    filters = {key.split(",", 1)[1] for key in values if "," in key}
    found = {}
    for key, value in values.items():
        metric, comma, rule = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = values.get(f"{metric}_stderr,{rule}")
        named = metric if filters == {"none"} else f"{metric},{rule}"
        found[named] = Metric(float(value), float(error) if isinstance(error, int | float) else None, n)
    return found


def _items(samples: Mapping[str, list[dict[str, Any]]], single: bool) -> dict[str, list[Any]]:
    """What was found of each item, as columns: an entry of None where a subset has no such thing."""
    records: list[dict[str, Any]] = []
    for leaf, some in samples.items():
        merged: dict[int, dict[str, Any]] = defaultdict(dict)
        several = len({sample["filter"] for sample in some}) > 1
        for sample in some:
            record = merged[sample["doc_id"]]
            record["id"] = str(sample["doc_id"]) if single else f"{leaf}/{sample['doc_id']}"
            if not single:
                record["subset"] = leaf
            record |= _answers(sample)
            for metric in sample["metrics"]:
                rule = sample["filter"]
                value = sample[metric]
                record[f"{metric},{rule}" if several or rule != "none" else metric] = _plain(value)
        records += merged.values()
    names = dict.fromkeys(key for record in records for key in record)
    return {name: [record.get(name) for record in records] for name in names}


def _answers(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Log-likelihoods of the choices, or the text that was written."""
    responses = [answers[0] for answers in sample["resps"]]
    if isinstance(responses[0], tuple | list):
        found: dict[str, Any] = {"loglikelihoods": [round(value, 6) for value, _ in responses]}
        if isinstance(sample["target"], int) and len(responses) > 1:
            found["gold"] = sample["target"]
        return found
    return {"text": responses[0]} if isinstance(responses[0], str) else {"loglikelihoods": responses}


def _plain(value: Any) -> Any:
    """A number of numpy as one of Python's, for JSON."""
    return value.item() if hasattr(value, "item") else value


def _short(leaf: str, leaves: list[str]) -> str:
    """A subset's name without what all of them begin with (`mmlu_`)."""
    first, last = min(leaves), max(leaves)
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return leaf[leaf.rfind("_", 0, shared) + 1 :]


def _fingerprint(loaded: LoadedTasks) -> str:
    """A hash of all items of the scored splits, as lm-eval has them and in their order, and of the examples."""
    digest = hashlib.blake2b(digest_size=16)
    for leaf, task in loaded["tasks"].items():
        digest.update(leaf.encode())
        examples = (task.fewshot_docs() or ()) if task.get_config("num_fewshot") else ()
        for record in (*task.eval_docs, *examples):
            digest.update(orjson.dumps(record, option=orjson.OPT_SORT_KEYS, default=str))
    return digest.hexdigest()
