"""lm-eval's tasks, with data of ours where there are some, and without what makes lm-eval slow."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.util
import logging
import os
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.evaluation.harness.catalogue import BENCHMARKS, Benchmark
from flyweight.evaluation.harness.local_data import LocalData
from flyweight.evaluation.harness.rows import Rows

WHOLE = "benchmark::whole"
"""lm-eval's name of the group that holds all tasks of a benchmark."""

_NOT_INSTALLED = "benchmarks need lm-eval: pip install 'flyweight[eval]'."

LoadedTasks = Any
"""What lm-eval's `TaskManager.load` gives: `tasks` and `groups` by name."""


def load_benchmark(name: str, data: LocalData | None, shots: int | None) -> LoadedTasks:
    """The tasks of a benchmark, ready for `lm_eval.evaluator.evaluate`.

    Args:
        name: in `BENCHMARKS`, or the name of any other task of lm-eval.
        data: its local files; None takes the data from the hub.
        shots: examples in the prompt; None takes the task's own number.

    Raises:
        UserError: lm-eval is not installed or does not know the task, or its data cannot be had.
    """
    benchmark = BENCHMARKS.get(name)
    if benchmark is None:
        manager, task = _all_of_lm_eval(), name
    else:
        manager, task = _index(benchmark), benchmark.task
    members = [_with_data(manager, leaf, benchmark, data) for leaf in _leaves(manager, task)]
    whole = {"group": "whole", "task": members}
    if aggregated := (manager.task_index[task].cfg or {}).get("aggregate_metric_list"):
        whole["aggregate_metric_list"] = aggregated
    # In a group of its own: lm-eval hands what it does not know about an outer group on to every task.
    spec = {"group": "benchmark", "task": [whole]}
    try:
        with strange_data_told(name, data):
            loaded = manager.load([spec])
    except UserError:
        raise
    except (ImportError, AssertionError) as error:  # the MATH tasks assert the version of a package
        raise UserError(f"{name}: lm-eval's task needs a package that is missing ({error}).") from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{name}: its data cannot be had from the hub ({_short(error)}); give a folder with local files "
            f"(--data DIR)."
        ) from None
    for leaf in loaded["tasks"].values():
        _set_shots(name, leaf, shots)
    return loaded


@contextlib.contextmanager
def strange_data_told(name: str, data: LocalData | None) -> Iterator[None]:
    """Turn what lm-eval's code raises over records of another kind than its own into one sentence.

    Without local data this is left to the caller: the hub's records are those that the task was written for.
    """
    from jinja2 import TemplateError

    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, TemplateError) as error:
        if data is None:
            raise
        raise UserError(
            f"{name}: a record in {data.places[0]} is not as lm-eval's task expects it "
            f"({type(error).__name__}: {_short(error)}); compare the files with the benchmark's own."
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def check_known(name: str, own: Collection[str] = ()) -> None:
    """Whether lm-eval is installed and has a task of this name.

    Args:
        name: of the task.
        own: the names of tasks that are not lm-eval's: one of these may have been meant.

    Raises:
        UserError: it is not, or has not; names those that are nearest, or those that there are.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(f"{name}: {_NOT_INSTALLED}")
    if name in BENCHMARKS:
        return
    ours = [*BENCHMARKS, *own]
    known = [*ours, *_all_of_lm_eval().all_tasks]
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        there_are = f"; here are {', '.join(ours)}, and `lm_eval ls tasks` lists lm-eval's."
        hint = f"; did you mean {' or '.join(near)}?" if near else there_are
        raise UserError(f"there is no task {name!r}, neither here nor in lm-eval{hint}")


def _index(benchmark: Benchmark) -> Any:
    """An index of its folders only: one of all of lm-eval's tasks takes seconds."""
    manager_class, tasks_folder = _lm_eval()
    folders = [tasks_folder / folder for folder in (benchmark.folder, benchmark.group_folder) if folder]
    return manager_class(include_path=folders, include_defaults=False)


@functools.cache
def _all_of_lm_eval() -> Any:
    """An index of all its tasks; it takes seconds."""
    return _lm_eval()[0]()


def _lm_eval() -> tuple[Any, Path]:
    """lm-eval's task manager and its folder of tasks."""
    # Read when they are imported: nothing is fetched, and tokenizers' threads do not quarrel with forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise UserError(_NOT_INSTALLED) from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager, Path(lm_eval.__file__).parent / "tasks"


def _leaves(manager: Any, name: str) -> list[str]:
    """The tasks in a group or under a tag, in lm-eval's order."""
    entry = manager.task_index[name]
    members = (entry.cfg or {}).get("task")
    if entry.tags and entry.cfg is None:
        return sorted(entry.tags)
    if not isinstance(members, list):
        return [name]
    return [leaf for member in members for leaf in _leaves(manager, _named(member))]


def _named(member: str | dict[str, Any]) -> str:
    return member if isinstance(member, str) else str(member.get("task") or member["group"])


def _with_data(
    manager: Any, task: str, benchmark: Benchmark | None, data: LocalData | None
) -> dict[str, Any]:
    """The task by name, with its splits from local files if there are some."""
    spec: dict[str, Any] = {"task": task}
    if benchmark is None or data is None:
        return spec
    config = manager.task_index[task].cfg
    whole = len(_leaves(manager, benchmark.task)) == 1
    splits = data.splits(None if whole else config.get("dataset_name") or task)
    for role in ("training_split", "validation_split", "test_split", "fewshot_split"):
        if config.get(role) is not None and config[role] not in splits:
            spec[role] = None
    spec["custom_dataset"] = functools.partial(_given, splits)
    return spec


def _given(splits: dict[str, Rows], **_: Any) -> dict[str, Rows]:
    return splits


def _set_shots(name: str, task: Any, shots: int | None) -> None:
    """The number of examples, and their draw, as `simple_evaluate` sets them.

    Raises:
        UserError: a task whose prompts are fixed, or fewer examples than that.
    """
    own = task.get_config("num_fewshot")
    if shots and own == 0:
        raise UserError(
            f"{name}@{shots}: lm-eval fixes this task's prompts, without examples; write {name!r}."
        )
    examples = list(task.fewshot_docs() or ()) if shots else []
    if shots and len(examples) < shots:
        raise UserError(f"{name}@{shots}: there are {len(examples)} examples to draw from; ask for fewer.")
    if shots is not None and own != 0:
        task.set_config(key="num_fewshot", value=shots)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)


FEWSHOT_SEED = 1234
"""lm-eval's own, so that the examples are those of published numbers."""


@contextlib.contextmanager
def quick_and_quiet() -> Iterator[None]:
    """lm-eval with every template compiled once, without its bars, and without processes of its own.

    Its bootstrap forks a pool. A child of a process with threads, such as torch's, may inherit a lock that nobody
    opens any more: a training run that measured a perplexity on its way stood still for ever.
    """
    import lm_eval.api.metrics
    import lm_eval.api.task
    from lm_eval import utils

    @functools.cache
    def compiled(source: str) -> Any:
        template = utils.env.from_string(source)
        # Every rendering copies the globals, and jinja's chain of dictionaries is slow to copy.
        template.globals = dict(template.globals)
        return template

    render, bar, bootstrap = utils.apply_template, lm_eval.api.task.tqdm, lm_eval.api.metrics.bootstrap_stderr
    utils.apply_template = lambda template, doc: compiled(template).render(**doc)
    lm_eval.api.task.tqdm = _no_bar  # type: ignore[assignment]
    lm_eval.api.metrics.bootstrap_stderr = bootstrap_stderr
    try:
        yield
    finally:
        utils.apply_template, lm_eval.api.task.tqdm = render, bar
        lm_eval.api.metrics.bootstrap_stderr = bootstrap


def bootstrap_stderr(statistic: Callable[[Sequence[Any]], float], items: Sequence[Any], iters: int) -> float:
    """lm-eval's `bootstrap_stderr`, the same draws and the same result, in this process."""
    from lm_eval.api.metrics import sample_stddev

    size = min(_BOOTSTRAP_CHUNK, iters)
    values = []
    for chunk in range(iters // size):
        drawn = random.Random(chunk)
        values += [statistic(drawn.choices(items, k=len(items))) for _ in range(size)]
    return sample_stddev(values)


_BOOTSTRAP_CHUNK = 1_000
"""Draws of one seed, in lm-eval."""


def _no_bar(items: Any, *_: Any, **__: Any) -> Any:
    return items
