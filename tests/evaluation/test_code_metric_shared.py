"""HumanEval and MBPP through lm-eval's own tasks: all that their authors solved passes, and nothing else does."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.evaluation.code_metric import CodeMetric, code_metric_replaced
from flyweight.evaluation.sandbox import Limits, find_sandbox

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "eval"
FILES = {"humaneval": DATA / "humaneval" / "HumanEval.jsonl", "mbpp": DATA / "mbpp" / "mbpp.jsonl"}
pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not FILES["mbpp"].exists(), reason=f"needs {DATA}"),
    pytest.mark.timeout(900),
]


def rows(task: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in FILES[task].read_text().splitlines()]
    return [row for row in found if task == "humaneval" or 11 <= row["task_id"] <= 510]


@pytest.fixture(scope="module")
def metric() -> CodeMetric:
    try:
        # Long enough on a busy machine: what is tested here is not the machine's speed.
        return CodeMetric(find_sandbox(), Limits(wall_seconds=30))
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tasks(metric: CodeMetric) -> dict[str, Any]:
    lm_eval = pytest.importorskip("lm_eval")
    import datasets
    from lm_eval.tasks import TaskManager

    folder = Path(lm_eval.__file__).parent / "tasks"
    manager = TaskManager(include_path=[str(folder / name) for name in FILES], include_defaults=False)

    def local(name: str) -> dict[str, Any]:
        return {
            "task": name,
            "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(rows(name))},
        }

    with code_metric_replaced(metric):
        loaded = manager.load([{"group": "code", "task": [local(name) for name in FILES]}])
    return loaded["tasks"]


def scored(metric: CodeMetric, task: Any, completions: Sequence[str]) -> list[bool]:
    """As lm-eval scores them, its filters included; which of them passed."""
    from lm_eval.api.instance import Instance

    docs = list(task.test_docs())
    task._instances = []
    for number, (doc, completion) in enumerate(zip(docs, completions, strict=True)):
        instance = Instance("generate_until", doc, ("", {}), 0, metadata=(task.config.task, number, 1))
        instance.resps = [completion]
        task._instances.append(instance)
    task.apply_filters()
    (name,) = task._instances[0].filtered_resps
    answers = [instance.filtered_resps[name] for instance in task._instances]

    def score() -> list[dict[str, float]]:
        return [task.process_results(doc, [answer]) for doc, answer in zip(docs, answers, strict=True)]

    with metric.together():
        score()
    return [next(iter(result.values())) == 1.0 for result in score()]


def solutions(task: str) -> list[str]:
    return [row["canonical_solution" if task == "humaneval" else "code"] for row in rows(task)]


def _plainly(program: str) -> None:
    exec(program, {})


def passes_plainly(program: str) -> bool:
    """What code_eval does at its heart: `exec` in a forked process. Only for the authors' own solutions."""
    child = multiprocessing.get_context("fork").Process(target=_plainly, args=(program,))
    child.start()
    child.join(60)
    child.kill()
    return child.exitcode == 0


@pytest.mark.parametrize("task", FILES)
def test_the_authors_solutions_pass(metric: CodeMetric, tasks: dict[str, Any], task: str) -> None:
    passed = scored(metric, tasks[task], solutions(task))
    failed = [number for number, each in enumerate(passed) if not each]
    for number in failed:
        row = rows(task)[number]
        program = solutions(task)[number] + "\n" + "\n".join(row.get("test_list", []))
        assert task == "mbpp", row["task_id"]
        assert not passes_plainly(program), (
            row["task_id"],
            metric.outcome("\n".join(row["test_list"]), row["code"]),
        )
    print(
        f"{task}: {sum(passed)} of {len(passed)}; not: {[rows(task)[number]['task_id'] for number in failed]}"
    )


@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize("completion", ["", "    pass\n", "    import sys; sys.exit(0)\n"])
def test_empty_and_idle_completions_pass_nowhere(
    metric: CodeMetric, tasks: dict[str, Any], task: str, completion: str
) -> None:
    assert not any(scored(metric, tasks[task], [completion] * len(rows(task))))


@pytest.mark.parametrize("task", FILES)
def test_solutions_of_other_tasks_pass_where_they_do_in_code_eval(
    metric: CodeMetric, tasks: dict[str, Any], task: str
) -> None:
    others = [*solutions(task)[1:], solutions(task)[0]]
    passed = scored(metric, tasks[task], others)
    for number, (row, other) in enumerate(zip(rows(task)[:60], others[:60], strict=True)):
        if task == "humaneval":
            program = row["prompt"] + other + "\n" + row["test"] + f"\ncheck({row['entry_point']})"
        else:
            program = other + "\n" + "\n".join(row["test_list"])
        assert passed[number] == passes_plainly(program), row["task_id"]
    assert sum(passed) <= 2
