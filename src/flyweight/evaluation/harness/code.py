"""lm-eval's code tasks with programs run in a sandbox, many at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from flyweight.evaluation.code_metric import CodeMetric, code_metric_replaced
from flyweight.evaluation.harness.loading import LoadedTasks
from flyweight.evaluation.sandbox import find_sandbox


@contextlib.contextmanager
def code_runs(wanted: bool, unsafe: bool) -> Iterator[CodeMetric | None]:
    """While open, lm-eval's code tasks find our metric; None where the benchmark runs no code.

    Args:
        wanted: whether the benchmark runs code.
        unsafe: run it without a sandbox where there is none.

    Raises:
        UserError: no sandbox can be had (before anything is generated).
    """
    if not wanted:
        yield None
        return
    metric = CodeMetric(find_sandbox(unsafe))
    with code_metric_replaced(metric):
        yield metric


def run_side_by_side(
    loaded: LoadedTasks, metric: CodeMetric, progress: Callable[[float], None] | None
) -> None:
    """Let the programs of all documents run together, once all are written.

    lm-eval scores one document after another; before it begins, the same scoring is gone through with a metric
    that only notes the programs, and then they run side by side.
    """
    for task in loaded["tasks"].values():
        task.apply_filters = _then(task, metric, progress)


def _then(task: Any, metric: CodeMetric, progress: Callable[[float], None] | None) -> Callable[[], None]:
    apply = task.apply_filters

    def filtered() -> None:
        apply()
        with metric.together(progress):
            for instance in task.instances:
                for responses in instance.filtered_resps.values():
                    task.process_results(instance.doc, [responses])

    return filtered
