"""ArithMark's three file formats: making items of our own problems, reading anybody's."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flyweight.base import UserError, derive_seed
from flyweight.corpus.generated.arithmetic import OPERANDS, Form, Problem, distractors, evaluation_problems
from flyweight.evaluation.items import read_json_lines

Item = dict[str, Any]
"""One line of a file, in the fields of its version."""

_DRAWS = 12
"""Draws of three wrong options each, among which those that fit are chosen."""
_DIFFICULTY = {1: "easy", 2: "medium", 3: "hard"}
"""By the number of operators; the published set does not say how it draws its border."""


class Question(NamedTuple):
    """What is scored, whatever the format."""

    context: str
    """What the model is given."""
    endings: list[str]
    """The options, each with a space before it."""
    label: int
    """Which one is right."""
    operands: int | None
    """Numbers in the question; a v3 item does not say."""
    category: str | None
    """The kind of word problem (v3)."""
    difficulty: str | None = None
    """What the item itself says of it (v2)."""


def generate_problems(form: Form, seed: int, per_operands: int) -> list[Problem]:
    """Problems of version `form`: `per_operands` for each number of operands.

    Their expressions are those that generated training text never contains (`corpus.arithmetic`).
    """
    return [
        problem
        for n_operands in OPERANDS[form]
        for problem in evaluation_problems(n_operands, per_operands, seed, form)
    ]


def write_items(problems: list[Problem], form: Form, seed: int) -> list[Item]:
    """The problems as items in the fields of version `form`, with options drawn by `seed`."""
    rng = random.Random(derive_seed(seed, "arithmark-gen", "options", form))
    return [
        _WRITERS[form](problem, balanced_options(problem, rng), index)
        for index, problem in enumerate(problems)
    ]


def balanced_options(problem: Problem, rng: random.Random) -> list[str]:
    """Four different options in random order, the right one as often the smallest as the largest or between.

    Natural mistakes lie on both sides of the right answer, and a mistaken * is far above it, so that
    drawn freely the right answer is the second smallest of four in two items of five: more than
    chance, without any arithmetic. Here the rank of the right answer is drawn first, and the wrong
    ones to fit it (as far as numbers below a small answer go).

    Wrong options are made from the right one, so that of the four it is the one most like the others: whoever may
    compare options finds it so in two items of three. A score looks at one option at a time and cannot; do not show
    the options together, as for letters to choose from.
    """
    right = problem.answer
    wrong = {option for _ in range(_DRAWS) for option in distractors(problem, rng)} - {right}
    ordered = sorted(wrong, key=float)
    below = [option for option in ordered if float(option) < float(right)]
    above = ordered[len(below) :]
    rank = max(min(rng.randrange(4), len(below)), 3 - len(above))
    options = [right, *rng.sample(below, rank), *rng.sample(above, 3 - rank)]
    rng.shuffle(options)
    return options


def _write_v1(problem: Problem, options: list[str], index: int) -> Item:
    stage = problem.n_operands - 1
    return {
        "id": f"math_s{stage}_{index:05d}",
        "stage": stage,
        "n_operands": problem.n_operands,
        "expression": problem.expression,
        "options": [json.loads(option) for option in options],
        "answer_index": options.index(problem.answer),
        "answer": json.loads(problem.answer),
    }


def _write_v2(problem: Problem, options: list[str], index: int) -> Item:
    operators = problem.n_operands - 1
    return {
        "ctx": problem.context,
        "endings": [f" {option}" for option in options],
        "label": options.index(problem.answer),
        "metadata": {"difficulty": _DIFFICULTY[operators], "operator_count": operators},
    }


def _write_v3(problem: Problem, options: list[str], index: int) -> Item:
    return {
        "ctx": problem.context,
        "endings": [f" {option}" for option in options],
        "label": options.index(problem.answer),
        "activity_label": problem.category,
        "ind": index,
    }


_WRITERS: dict[Form, Callable[[Problem, list[str], int], Item]] = {
    "v1": _write_v1,
    "v2": _write_v2,
    "v3": _write_v3,
}


def question_of(item: Item, form: Form) -> Question:
    """The question in an item of version `form`.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the item is not of that version.
    """
    if form == "v1":
        options = item["options"]
        if not isinstance(options, list) or any(
            isinstance(option, list | dict | bool | None) for option in options
        ):
            raise ValueError(f"options is {str(options)[:60]}; expected a list of numbers")
        endings = [f" {option}" for option in options]
        question = Question(
            item["expression"], endings, _label(item["answer_index"]), int(item["n_operands"]), None
        )
    else:
        operands = None if form == "v3" else int(item["metadata"]["operator_count"]) + 1
        category = str(item["activity_label"]) if form == "v3" else None
        difficulty = None if form == "v3" else item["metadata"].get("difficulty")
        if not isinstance(item["endings"], list):  # a text would come apart into its letters
            raise ValueError(f"endings is {str(item['endings'])[:60]!r}; expected a list of texts")
        question = Question(
            item["ctx"], item["endings"], _label(item["label"]), operands, category, difficulty
        )
    if not question.context.strip() or not all(ending.strip() for ending in question.endings):
        raise ValueError("an empty context or ending")
    if len(question.endings) < 2:
        raise ValueError(f"the endings are {question.endings}; expected two or more")
    if not 0 <= question.label < len(question.endings):
        raise ValueError(f"label {question.label} of {len(question.endings)} endings")
    return question


def _label(value: Any) -> int:
    """A label is a whole number; the published v2 has it as text in some rows."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"label {value!r}; expected a whole number")
    return int(value)


def read_questions(file: Path, form: Form) -> list[Question]:
    """The questions of a file in the fields of version `form`.

    Raises:
        UserError: the file is missing, empty, or has an item that is not of that version.
    """
    questions = []
    for number, item in enumerate(read_json_lines(file), 1):
        try:
            questions.append(question_of(item, form))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{file}, item {number}: not an ArithMark {form} item: {reason}.") from None
    if not questions:
        raise UserError(f"{file}: no items in this file.")
    return questions
