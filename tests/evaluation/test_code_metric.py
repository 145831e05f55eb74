"""The metric's answers are those that evaluate documents for code_eval."""

from __future__ import annotations

import itertools
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from flyweight.evaluation import code_metric
from flyweight.evaluation.code_metric import CodeMetric, code_metric_replaced, pass_at_k
from flyweight.evaluation.sandbox import Limits, Unsandboxed

WRONG, RIGHT = "def add(a,b): return a*b", "def add(a, b): return a+b"
TESTS = "assert add(2,3)==5"


@pytest.fixture
def metric() -> CodeMetric:
    return CodeMetric(Unsandboxed(), Limits(wall_seconds=30))


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs of every call of run_programs."""
    calls: list[list[str]] = []
    original = code_metric.run_programs

    def noting(programs: list[str], *arguments: Any, **options: Any) -> Any:
        calls.append(list(programs))
        return original(programs, *arguments, **options)

    monkeypatch.setattr(code_metric, "run_programs", noting)
    return calls


def test_the_example_of_its_documentation(metric: CodeMetric) -> None:
    rates, results = metric.compute(references=[TESTS], predictions=[[WRONG, RIGHT]], k=[1, 2])
    assert rates == {"pass@1": 0.5, "pass@2": 1.0}
    assert results == {
        0: [
            (0, {"task_id": 0, "passed": False, "result": "failed: ", "completion_id": 0}),
            (1, {"task_id": 0, "passed": True, "result": "passed", "completion_id": 1}),
        ]
    }


def test_what_ended_a_candidate_is_worded_as_there(metric: CodeMetric) -> None:
    candidates = ["raise ValueError('no')", "import os; os._exit(0)", "import sys; sys.exit(3)", "def add("]
    _, results = metric.compute(references=[TESTS], predictions=[candidates], k=[1])
    told = [result["result"] for _, result in results[0]]
    assert told == ["failed: no", "timed out", "failed: 3", "failed: '(' was never closed (<string>, line 1)"]
    _, results = metric.compute(references=[TESTS], predictions=[["while True: pass"]], k=[1], timeout=0.2)
    assert results[0][0][1]["result"] == "timed out"


def test_k_is_given_where_every_task_has_enough(metric: CodeMetric) -> None:
    rates, results = metric.compute(
        references=[TESTS, TESTS], predictions=[[RIGHT, WRONG], [RIGHT, RIGHT, WRONG]]
    )
    assert rates == {"pass@1": pytest.approx((1 / 2 + 2 / 3) / 2)}
    assert [len(results[task]) for task in (0, 1)] == [2, 3]
    assert metric.compute(references=[], predictions=[], k=[1]) == ({}, {})


def test_pass_at_k_is_the_share_of_draws_with_a_pass() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            for k in range(1, n + 1):
                draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
                share = sum(any(draw) for draw in draws) / len(draws)
                assert pass_at_k(np.array([n]), np.array([c]), k) == pytest.approx([share])


def test_unequal_lists_are_refused(metric: CodeMetric) -> None:
    with pytest.raises(ValueError, match="2 predictions for 1 references"):
        metric.compute(references=[TESTS], predictions=[[RIGHT], [RIGHT]])


def test_together_runs_all_at_once_and_each_program_once(
    metric: CodeMetric, launched: list[list[str]]
) -> None:
    def score() -> list[float]:
        pairs = [(TESTS, RIGHT), (TESTS, WRONG), (TESTS, RIGHT), (TESTS, "pass")]
        return [
            metric.compute(references=[tests], predictions=[[program]], k=[1])[0]["pass@1"]
            for tests, program in pairs
        ]

    shares: list[float] = []
    with metric.together(shares.append):
        score()
        assert not launched
    assert launched == [[f"{program}\n{TESTS}" for program in (RIGHT, WRONG, "pass")]]
    assert shares[-1] == 1
    assert score() == [1, 0, 1, 0]
    assert len(launched) == 1
    assert metric.describe()["outcomes"] == {"passed": 1, "failed": 2}
    assert not metric.describe()["sandboxed"]


def test_an_error_while_noting_runs_nothing(metric: CodeMetric, launched: list[list[str]]) -> None:
    def interrupted() -> None:
        with metric.together():
            metric.compute(references=[TESTS], predictions=[[RIGHT]])
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert not launched
    assert metric.compute(references=[TESTS], predictions=[[RIGHT]], k=[1])[0] == {"pass@1": 1}


def test_prepare_is_what_compute_looks_up(metric: CodeMetric, launched: list[list[str]]) -> None:
    metric.prepare([TESTS, TESTS], [[RIGHT], [WRONG]])
    assert metric.compute(references=[TESTS], predictions=[[WRONG]], k=[1])[0] == {"pass@1": 0}
    assert len(launched) == 1
    outcome = metric.outcome(TESTS, WRONG)
    assert outcome is not None
    assert outcome.detail == "AssertionError"
    assert metric.outcome(TESTS, "never run") is None


def test_it_stands_in_for_code_eval_and_for_nothing_else(
    metric: CodeMetric, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = ModuleType("evaluate")  # the true one takes seconds to import; the shared test uses it
    evaluate.load = lambda path: f"real {path}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "evaluate", evaluate)
    name = "lm_eval.tasks.made_up.utils"
    stale, other = ModuleType(name), ModuleType("lm_eval.tasks.made_up.other")
    stale.compute_ = CodeMetric(Unsandboxed())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, stale)
    monkeypatch.setitem(sys.modules, other.__name__, other)
    with code_metric_replaced(metric):
        assert name not in sys.modules, "the next task would use the metric of an earlier run"
        assert evaluate.load("code_eval") is metric
        assert evaluate.load("exact_match") == "real exact_match"
        fresh = ModuleType(name)
        fresh.pass_at_k = evaluate.load("code_eval")  # type: ignore[attr-defined]
        sys.modules[name] = fresh
    assert name not in sys.modules
    assert other.__name__ in sys.modules
    assert evaluate.load("code_eval") == "real code_eval"
