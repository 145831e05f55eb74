"""What stands for Hugging Face evaluate's `code_eval`, so that lm-eval's code tasks run in our sandbox."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import ModuleType
from typing import Any

import numpy as np

from flyweight.evaluation.sandbox import Limits, Outcome, Sandbox, find_sandbox, run_programs

METRIC = "code_eval"
_NOT_RUN = Outcome("failed", message="only noted; it runs with the others")


class CodeMetric:
    """pass@k of programs, as `evaluate.load("code_eval")` computes it, with the programs run in a sandbox.

    lm-eval asks for one document after another. Whoever has all completions beforehand lets `together` run
    them side by side; the outcomes are kept, by the program's text, and `compute` only looks them up.

    Differences from the published metric, none of which a correct solution of HumanEval or MBPP meets: a
    program may use `os.remove`, `os.getcwd` and other functions that are taken away there; it may use memory up
    to a limit; installed packages cannot be imported; the order of sets of texts is the same in every run.
    """

    name = METRIC

    def __init__(
        self, sandbox: Sandbox | None = None, limits: Limits | None = None, workers: int | None = None
    ) -> None:
        """Run in `sandbox` (`find_sandbox()` if None), within `limits`, `workers` at a time.

        Raises:
            UserError: no sandbox can be had.
        """
        self.sandbox = find_sandbox() if sandbox is None else sandbox
        self.limits = Limits() if limits is None else limits
        self.workers = workers
        self._outcomes: dict[tuple[str, float], Outcome] = {}
        self._noted: dict[tuple[str, float], None] | None = None

    def compute(
        self,
        *,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        k: Sequence[int] = (1, 10, 100),
        num_workers: int | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, float], dict[int, list[tuple[int, dict[str, Any]]]]]:
        """What code_eval answers: `{"pass@1": ...}`, and for each task's index its candidates' results.

        Args:
            references: for each task its tests, Python text that follows a candidate.
            predictions: for each task its candidates.
            k: a `pass@k` is given where every task has k candidates or more.
            num_workers: programs that run at the same time.
            timeout: seconds for each; the limits' `wall_seconds` if None, 3 as in code_eval.

        Raises:
            ValueError: not as many tasks in `predictions` as in `references`.
            UserError: the sandbox stopped working.
        """
        tasks = _programs(references, predictions)
        seconds = self.limits.wall_seconds if timeout is None else timeout
        keys = [(program, seconds) for programs in tasks for program in programs]
        if self._noted is None:
            self._run(keys, num_workers)
        else:
            self._noted.update(dict.fromkeys(keys))
        results: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        for task, programs in enumerate(tasks):
            outcomes = [self._outcomes.get((program, seconds), _NOT_RUN) for program in programs]
            if outcomes:
                results[task] = [
                    (number, _result(outcome, task, number)) for number, outcome in enumerate(outcomes)
                ]
        total = np.array([len(candidates) for candidates in results.values()])
        correct = np.array([sum(each["passed"] for _, each in found) for found in results.values()])
        rates = {
            f"pass@{count}": float(pass_at_k(total, correct, count).mean())
            for count in k
            if len(total) and (total >= count).all()
        }
        return rates, results

    def prepare(
        self,
        references: Sequence[str],
        predictions: Sequence[Sequence[str]],
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """Run the programs of many tasks side by side and keep their outcomes, for calls of `compute` that follow."""
        tasks = _programs(references, predictions)
        keys = [(program, self.limits.wall_seconds) for programs in tasks for program in programs]
        self._run(keys, None, progress)

    @contextmanager
    def together(self, progress: Callable[[float], None] | None = None) -> Iterator[None]:
        """Calls of `compute` inside only note their programs; at the end all run side by side.

        What `compute` returns inside means nothing. So every document is scored twice: once in here, and once
        more afterwards, when the outcomes are there.
        """
        self._noted = {}
        try:
            yield
            noted = list(self._noted)
        finally:
            self._noted = None
        self._run(noted, None, progress)

    def outcome(self, reference: str, prediction: str) -> Outcome | None:
        """What came of a candidate and its tests; None if it was not run."""
        return self._outcomes.get((_program(reference, prediction), self.limits.wall_seconds))

    def describe(self) -> dict[str, Any]:
        """For a task's `details`, ready for JSON: where the programs ran, within what, and how they ended."""
        return {
            "sandbox": self.sandbox.name,
            "sandboxed": self.sandbox.isolated,
            "limits": asdict(self.limits),
            "outcomes": dict(Counter(outcome.reason for outcome in self._outcomes.values())),
        }

    def _run(
        self,
        keys: Sequence[tuple[str, float]],
        workers: int | None,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        missing = [key for key in dict.fromkeys(keys) if key not in self._outcomes]
        for seconds in dict.fromkeys(seconds for _, seconds in missing):
            programs = [program for program, time in missing if time == seconds]
            limits = replace(self.limits, wall_seconds=seconds)
            outcomes = run_programs(programs, limits, workers or self.workers, progress, sandbox=self.sandbox)
            self._outcomes.update(
                {(program, seconds): outcome for program, outcome in zip(programs, outcomes, strict=True)}
            )


def pass_at_k(total: np.ndarray, correct: np.ndarray, k: int) -> np.ndarray:
    """Unbiased estimate of each task's chance that one of k candidates passes: 1 - C(n - c, k) / C(n, k).

    Chen et al. 2021 (arXiv 2107.03374), equation 1, as a product, for `total` n >= k candidates of which
    `correct` c pass; both of shape (tasks,).
    """
    estimates = np.ones(len(total))
    for task, (n, c) in enumerate(zip(total.tolist(), correct.tolist(), strict=True)):
        if n - c >= k:
            estimates[task] = 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))
    return estimates


@contextmanager
def code_metric_replaced(metric: CodeMetric) -> Iterator[None]:
    """While open, `evaluate.load("code_eval")` gives `metric`: load lm-eval's code tasks in here.

    Their modules load the metric when they are imported, and lm-eval keeps imported modules; those that hold a
    code metric are dropped before and after, so that each load gets the metric of its own time. Tasks that were
    loaded in here keep theirs. HF_ALLOW_CODE_EVAL is left alone: this metric does not ask for it, and set it
    would allow the published metric, which has no sandbox, as well. Not for several threads at a time.
    """
    import evaluate

    load = evaluate.load

    def replacement(path: str, *arguments: Any, **options: Any) -> Any:
        return metric if path == METRIC else load(path, *arguments, **options)

    _forget_holders()
    evaluate.load = replacement
    try:
        yield
    finally:
        evaluate.load = load
        _forget_holders()


def _forget_holders() -> None:
    for name, module in list(sys.modules.items()):
        # lm-eval names its own task modules so, and those of others by their path.
        if (name.startswith("lm_eval.tasks.") or "/" in name) and _holds_metric(module):
            del sys.modules[name]


def _holds_metric(module: ModuleType) -> bool:
    return any(getattr(value, "name", None) == METRIC for value in list(vars(module).values()))


def _programs(references: Sequence[str], predictions: Sequence[Sequence[str]]) -> list[list[str]]:
    if len(references) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references")
    return [
        [_program(tests, candidate) for candidate in candidates]
        for tests, candidates in zip(references, predictions, strict=True)
    ]


def _program(tests: str, candidate: str) -> str:
    return candidate + "\n" + tests


def _result(outcome: Outcome, task: int, number: int) -> dict[str, Any]:
    """As code_eval words it: a process that ends without a word is one that was timed out there."""
    told = f"failed: {outcome.message}" if outcome.exception else "timed out"
    return {
        "task_id": task,
        "passed": outcome.passed,
        "result": "passed" if outcome.passed else told,
        "completion_id": number,
    }
