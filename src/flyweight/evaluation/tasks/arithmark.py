"""ArithMark: arithmetic as a choice of four endings, scored as its publisher's runner does.

`arithmark-gen` is our own set, generated in the three published formats; its numbers are not those
of the published sets, which the task `arithmark` reads from files where the user has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.corpus.generated.arithmetic import FORMS, Form
from flyweight.evaluation.items import write_json_lines
from flyweight.evaluation.likelihood import Request, score_requests
from flyweight.evaluation.statistics import mean, standard_error
from flyweight.evaluation.tasks.arithmark_items import (
    Question,
    generate_problems,
    question_of,
    read_questions,
    write_items,
)
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel

CHANCE = 0.25

ITEMS_BY_OPERANDS = 200
"""Generated items for each number of operands, where no limit asks for fewer."""

PUBLISHED_FILES: dict[Form, str] = {
    "v1": "mathmark.jsonl",
    "v2": "arithmark_2.0.jsonl",
    "v3": "arithmark-3.jsonl",
}
"""The published sets' own file names."""


def run_arithmark_gen(task: TaskInput) -> dict[str, Any]:
    """Accuracy on generated items in the three formats.

    A limit is the number of items for each number of operands. With an output folder the items are
    kept there as `arithmark-gen-v1.jsonl` and so on, in the published fields.
    """
    questions: dict[Form, list[Question]] = {}
    for form in FORMS:
        problems = generate_problems(form, task.seed, task.limit or ITEMS_BY_OPERANDS)
        items = write_items(problems, form, task.seed)
        if task.output is not None:
            write_json_lines(task.output / f"arithmark-gen-{form}.jsonl", items)
        questions[form] = [
            question_of(item, form)._replace(operands=problem.n_operands)
            for item, problem in zip(items, problems, strict=True)
        ]
    return _run(task, questions)


def run_arithmark(task: TaskInput) -> dict[str, Any]:
    """Accuracy on the published sets, those of the three whose file is in the data folder.

    They are looked for in `data`/arithmark and in `data`. A limit takes the first items of each set.

    Raises:
        UserError: none of the files is there.
    """
    if task.data is None:
        raise UserError(
            "the task arithmark needs its files: give a folder with arithmark/ in it (--data DIR)."
        )
    inside = task.data / "arithmark"
    folder = inside if inside.is_dir() else task.data
    found: dict[Form, Path] = {form: folder / name for form, name in PUBLISHED_FILES.items()}
    questions: dict[Form, list[Question]] = {
        form: read_questions(file, form)[: task.limit] for form, file in found.items() if file.is_file()
    }
    if not questions:
        raise UserError(
            f"{folder}: none of ArithMark's files is here ({', '.join(PUBLISHED_FILES.values())})."
        )
    return _run(task, questions)


def _run(task: TaskInput, questions: dict[Form, list[Question]]) -> dict[str, Any]:
    everything = [question for part in questions.values() for question in part]
    by_sum, by_mean, truncated = score_questions(task.model, everything, task.progress)
    results: dict[str, Any] = {}
    start = 0
    for form, part in questions.items():
        end = start + len(part)
        results[form] = _summary(form, part, by_sum[start:end], by_mean[start:end])
        start = end
    return {**_accuracy(by_sum), "chance": CHANCE, "truncated": truncated, **results}


def score_questions(
    model: LanguageModel, questions: list[Question], progress: Callable[[float], None] | None = None
) -> tuple[list[float], list[float], int]:
    """For each question 1 or 0: is the right ending the likeliest by summed log-likelihood, and by its
    mean over the ending's tokens? And how many requests were too long for the model and lost their
    first tokens.

    Context and ending are tokenised separately and nothing is put before the context. The first of
    equally likely endings is the one that is chosen.
    """
    encode = model.tokenizer.encode_batch
    contexts = encode([question.context for question in questions])
    endings = encode([ending for question in questions for ending in question.endings])
    owners = [
        context for context, question in zip(contexts, questions, strict=True) for _ in question.endings
    ]
    requests: list[Request] = list(zip(owners, endings, strict=True))
    scores = score_requests(model, requests, progress=progress)
    values, truncated = scores.values, scores.truncated
    by_sum, by_mean = [], []
    start = 0
    for question in questions:
        end = start + len(question.endings)
        sums = values[start:end]
        means = [value / len(tokens) for value, tokens in zip(sums, endings[start:end], strict=True)]
        by_sum.append(float(sums.index(max(sums)) == question.label))
        by_mean.append(float(means.index(max(means)) == question.label))
        start = end
    return by_sum, by_mean, truncated


def _summary(
    form: Form, questions: list[Question], by_sum: list[float], by_mean: list[float]
) -> dict[str, Any]:
    summary: dict[str, Any] = _accuracy(by_sum)
    if form == "v3":
        summary |= {"acc_norm": mean(by_mean), "acc_norm_stderr": standard_error(by_mean)}
        summary["by_category"] = _grouped((question.category for question in questions), by_sum)
    if all(question.operands is not None for question in questions):
        summary["by_operands"] = _grouped((question.operands for question in questions), by_sum)
    return summary


def _accuracy(right: list[float]) -> dict[str, Any]:
    return {"acc": mean(right), "acc_stderr": standard_error(right), "n": len(right)}


def _grouped(names: Iterable[str | int | None], right: list[float]) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[float]] = {}
    for name, value in zip(names, right, strict=True):
        groups.setdefault(str(name), []).append(value)
    return {name: _accuracy(groups[name]) for name in sorted(groups)}
