"""LogicMark: which of four conclusions follows from equalities and inequalities, by number of hops.

The score is the mean log-likelihood over an ending's tokens, as its card says; how its own runner tokenises is
not on record, and context and ending are tokenised apart here, as its publisher's ArithMark runners do.
`logicmark-gen` is our own set; its numbers are not those of the published one, which `logicmark` reads.
"""

from __future__ import annotations

from pathlib import Path

from flyweight.base import UserError
from flyweight.corpus.generated.logic import HOPS, evaluation_problems
from flyweight.corpus.reading.files import hash_lines
from flyweight.evaluation.items import write_json_lines
from flyweight.evaluation.results import TaskResult
from flyweight.evaluation.tasks.choices import by_part, chosen_right, metric_of, score_choices
from flyweight.evaluation.tasks.logicmark_items import (
    DATA_ENDINGS,
    SCHEMA_FILES,
    LogicQuestion,
    Schema,
    item_of,
    read_logic_questions,
    read_schema,
)
from flyweight.evaluation.tasks.published import Published, fetch, file_hash
from flyweight.evaluation.tasks.task import TaskInput

ITEMS_BY_HOPS = 200
"""Generated items for each number of hops, where no limit asks for fewer."""


def run_logicmark_gen(task: TaskInput) -> TaskResult:
    """Accuracy on generated problems, by hops; a limit is the number of items for each number of hops.

    With an output folder the items are kept there as `logicmark-gen.jsonl`.
    """
    problems = [
        problem
        for hops in HOPS
        for problem in evaluation_problems(hops, task.limit or ITEMS_BY_HOPS, task.seed)
    ]
    if task.output is not None:
        write_json_lines(task.output / "logicmark-gen.jsonl", map(item_of, problems))
    questions = [
        LogicQuestion(problem.context, list(problem.endings), problem.answer, problem.hops)
        for problem in problems
    ]
    data = {"source": f"generated with seed {task.seed}", "fingerprint": hash_lines(map(str, questions))}
    return _run(task, questions, list(range(len(questions))), data)


def run_logicmark(task: TaskInput) -> TaskResult:
    """Accuracy on a set of LogicMark's kind, micro-averaged, and by hops.

    The file is the one in `data`/logicmark. Its fields are those of the default schema (ctx, endings, label,
    hops), or what a schema says: the task's own, or schema.yaml or schema.json beside the data. A schema that
    names a `dataset` and a `file` has them fetched from the hub where there is no data folder. A limit takes the
    first items of each number of hops.

    Raises:
        UserError: no file, several without a schema that names one, or items that the schema does not fit.
    """
    schema = read_schema(task.schema) if task.schema is not None else None
    if task.data is not None:
        file, schema = _on_disk(task.data, schema)
    elif schema is not None and schema.dataset is not None and schema.file is not None:
        published = Published(schema.dataset, schema.file, schema.revision)
        file = fetch(published, "logicmark", offline=task.offline)
    else:
        raise UserError(
            "the task logicmark needs its file: give a folder with logicmark/FILE.jsonl in it (--data DIR), or a "
            "schema file that names a `dataset` on the hub and a `file` in it."
        )
    questions = read_logic_questions(file, schema)
    chosen = _limited(questions, task.limit)
    data = {"source": str(file), "fingerprint": file_hash(file)[:32]}
    return _run(task, [questions[place] for place in chosen], chosen, data)


def missing_logicmark(data: Path) -> str | None:
    """Why there is nothing to score in a data folder; None where there is."""
    try:
        _on_disk(data, None)
    except UserError as error:
        return str(error)
    return None


def _on_disk(data: Path, schema: Schema | None) -> tuple[Path, Schema]:
    folder = data / "logicmark"
    folder = folder if folder.is_dir() else data
    schema = schema or _schema_beside(folder)
    return _only_file(folder, schema), schema


def _schema_beside(folder: Path) -> Schema:
    for name in SCHEMA_FILES:
        if (folder / name).is_file():
            return read_schema(folder / name)
    return Schema()


def _only_file(folder: Path, schema: Schema) -> Path:
    if schema.file is not None:
        if (folder / schema.file).is_file():
            return folder / schema.file
        raise UserError(f"{folder / schema.file}: no such file, which the schema names.")
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [
        file
        for file in files
        if file.is_file() and file.name.endswith(DATA_ENDINGS) and file.name not in SCHEMA_FILES
    ]
    if len(found) != 1:
        what = f"{len(found)} data files are here" if found else "there is no data file here"
        raise UserError(
            f"{folder}: {what}; expected one ({', '.join(DATA_ENDINGS)}), or a schema.yaml whose `file` names it."
        )
    return found[0]


def _limited(questions: list[LogicQuestion], limit: int | None) -> list[int]:
    """Places of the first `limit` questions of each number of hops, in order."""
    seen: dict[int | None, int] = {}
    chosen = []
    for place, question in enumerate(questions):
        seen[question.hops] = seen.get(question.hops, 0) + 1
        if limit is None or seen[question.hops] <= limit:
            chosen.append(place)
    return chosen


def _run(
    task: TaskInput, questions: list[LogicQuestion], numbers: list[int], data: dict[str, str]
) -> TaskResult:
    scored = score_choices(task.model, [(one.context, one.endings) for one in questions], task.progress)
    gold = [question.label for question in questions]
    metrics = {"acc_norm": chosen_right(scored.means, gold), "acc": chosen_right(scored.sums, gold)}
    parts = [
        None if one.hops is None else f"{one.hops} hop{'s' if one.hops != 1 else ''}" for one in questions
    ]
    # Plain means over items: the published average is the micro average too.
    return TaskResult(
        metrics={name: metric_of(values) for name, values in metrics.items()},
        items={
            "id": [str(number) for number in numbers],
            "hops": [question.hops for question in questions],
            "gold": gold,
            "loglikelihoods": scored.sums,
            "ending_tokens": scored.tokens,
            **metrics,
        },
        chance=sum(1 / len(question.endings) for question in questions) / len(questions),
        subsets=dict(sorted(by_part(parts, metrics).items())),
        fit=scored.fit,
        data=data,
        details={"scoring": "mean log-likelihood for a token; context and ending tokenised apart"},
    )
