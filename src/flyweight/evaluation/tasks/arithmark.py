"""ArithMark: arithmetic as a choice of four endings, scored as its publisher's runners do.

Versions 1 and 2 are quoted by plain accuracy (the ending with the highest summed log-likelihood), version 3 by
`acc_norm`, which there means the mean log-likelihood for a token of the ending, neither characters nor bytes.
`arithmark-gen` is our own set, generated in the three published formats; its numbers are not those of the
published sets, which the task `arithmark` reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.corpus.generated.arithmetic import FORMS, Form
from flyweight.corpus.reading.files import hash_lines
from flyweight.evaluation.items import write_json_lines
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.arithmark_items import (
    Question,
    generate_problems,
    question_of,
    read_questions,
    write_items,
)
from flyweight.evaluation.tasks.choices import by_part, chosen_right, metric_of, score_choices
from flyweight.evaluation.tasks.published import Published, fetch, find_file
from flyweight.evaluation.tasks.task import TaskInput

CHANCE = 0.25

ITEMS_BY_OPERANDS = 200
"""Generated items for each number of operands, where no limit asks for fewer."""

PUBLISHED: dict[Form, Published] = {
    "v1": Published("AxiomicLabs/ArithMark", "mathmark.jsonl"),
    "v2": Published(
        "AxiomicLabs/ArithMark-2.0",
        "arithmark_2.0.jsonl",
        "5bd986c7305dcccec88432d630aae1ac9280a71f",
        "c245b4e50e603b32814d4f489f64934f9eeb4488ae29f744d906c8e3f326ebcd",
    ),
    "v3": Published(
        "AxiomicLabs/Arithmark-3.0",
        "arithmark-3.jsonl",
        "6f6e59dd9b7e2c63455f7af7f838f9ecc3d0a746",
        "bf8ab1a5193d52cdf0e05ff0b3ca226bdfcf416cb6e75562dcbe72e7e4559435",
    ),
}
"""The published files. Of the first version neither a commit nor a hash is on record."""

_NORMALISED: tuple[Form, ...] = ("v3",)
"""Versions whose main metric is the mean for a token."""


def run_arithmark_gen(task: TaskInput) -> TaskResult:
    """Accuracy on generated items in the three formats, by operands, difficulty and category.

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
    lines = (f"{form}\t{question}" for form, some in questions.items() for question in some)
    data = {"source": f"generated with seed {task.seed}", "fingerprint": hash_lines(lines)}
    return _run(task, questions, data, {})


def run_arithmark(task: TaskInput) -> TaskResult:
    """Accuracy on the published sets.

    With a data folder, those of the three whose file is in `data`/arithmark or `data`, and nothing is fetched;
    without one, those that the hub has, or had when they were fetched before. A limit takes the first items of
    each set.

    Raises:
        UserError: none of the files is to be had, or one is not in its format.
    """
    found, missing = _on_disk(task.data) if task.data is not None else _on_hub(task.offline)
    questions: dict[Form, list[Question]] = {}
    files: dict[str, Any] = {}
    for form, file in found.items():
        questions[form] = read_questions(file, form)
        files[form] = {
            "file": file.name,
            **PUBLISHED[form].judge(file),
            "items": len(questions[form]),
        }
    data = {
        "source": ", ".join(map(str, found.values())),
        "fingerprint": hash_lines(f"{form} {facts['sha256']}" for form, facts in files.items()),
    }
    limited: dict[Form, list[Question]] = {form: some[: task.limit] for form, some in questions.items()}
    return _run(task, limited, data, {"files": files, "missing": missing})


def missing_arithmark(data: Path) -> str | None:
    """Why there is nothing to score in a data folder; None where one of the files is there."""
    try:
        _on_disk(data)
    except UserError as error:
        return str(error)
    return None


def _on_disk(data: Path) -> tuple[dict[Form, Path], dict[str, str]]:
    found: dict[Form, Path] = {}
    for form, published in PUBLISHED.items():
        if (file := find_file(data, "arithmark", published.file)) is not None:
            found[form] = file
    names = ", ".join(published.file for published in PUBLISHED.values())
    if not found:
        raise UserError(
            f"{data}: none of ArithMark's files is here; expected {names} in it or in {data / 'arithmark'}."
        )
    return found, {form: "no such file" for form in PUBLISHED if form not in found}


def _on_hub(offline: bool) -> tuple[dict[Form, Path], dict[str, str]]:
    found: dict[Form, Path] = {}
    missing: dict[str, str] = {}
    for form, published in PUBLISHED.items():
        try:
            found[form] = fetch(published, "arithmark", offline=offline)
        except UserError as error:
            missing[form] = str(error)
    if not found:
        raise UserError(next(iter(missing.values())))
    return found, missing


def _run(
    task: TaskInput, questions: dict[Form, list[Question]], data: dict[str, str], details: dict[str, Any]
) -> TaskResult:
    everything: list[tuple[Form, Question]] = [
        (form, question) for form, some in questions.items() for question in some
    ]
    scored = score_choices(
        task.model, [(question.context, question.endings) for _, question in everything], task.progress
    )
    gold = [question.label for _, question in everything]
    by_sum, by_mean = chosen_right(scored.sums, gold), chosen_right(scored.means, gold)
    metrics: dict[str, list[float | None]] = {}
    for form in questions:
        rows = [one == form for one, _ in everything]
        normalised = {f"acc_norm,{form}": by_mean} if form in _NORMALISED else {}
        for name, values in {**normalised, f"acc,{form}": by_sum}.items():
            metrics[name] = [value if row else None for value, row in zip(values, rows, strict=True)]
    parts = [_parts(form, question) for form, question in everything]
    kinds = (by_part((some.get(kind) for some in parts), _plain(metrics)) for kind in _KINDS)
    return TaskResult(
        metrics={
            name: metric_of([value for value in values if value is not None])
            for name, values in metrics.items()
        },
        items={
            "id": [f"{form}-{number}" for form, some in questions.items() for number in range(len(some))],
            "subset": [form for form, _ in everything],
            "gold": gold,
            "loglikelihoods": scored.sums,
            "ending_tokens": scored.tokens,
            **metrics,
        },
        chance=CHANCE,
        subsets={part: found for kind in kinds for part, found in kind.items()},
        fit=scored.fit,
        data=data,
        details={"scoring": "context and ending tokenised apart, nothing before the context", **details},
    )


_KINDS = ("version", "operands", "difficulty", "category")


def _parts(form: Form, question: Question) -> dict[str, str]:
    """The parts that an item belongs to, by kind."""
    parts = {"version": form}
    if question.operands is not None:
        parts["operands"] = f"{form}, {question.operands} operands"
    if question.difficulty is not None:
        parts["difficulty"] = f"{form}, {question.difficulty}"
    if question.category is not None:
        parts["category"] = f"{form}, {question.category}"
    return parts


def _plain(metrics: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    """The metrics without the version in their names: parts say it in theirs."""
    merged: dict[str, list[float | None]] = {}
    for name, values in metrics.items():
        before = merged.setdefault(name.partition(",")[0], [None] * len(values))
        merged[name.partition(",")[0]] = [
            old if value is None else value for old, value in zip(before, values, strict=True)
        ]
    return merged
