"""Arithmetic problems in ArithMark's three forms, drawn on either side of the split."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, get_args

from flyweight.base import UserError, derive_seed
from flyweight.corpus.generated.draws import Random, between, pick
from flyweight.corpus.generated.expressions import (
    Expression,
    chained,
    format_number,
    is_held_out,
    operands,
    render,
    value,
)
from flyweight.corpus.generated.word_problems import CATEGORIES, fill

Form = Literal["v1", "v2", "v3"]
FORMS: tuple[Form, ...] = get_args(Form)

OPERANDS: dict[Form, tuple[int, ...]] = {"v1": (2, 3, 4, 5, 6), "v2": (2, 3, 4), "v3": (2, 3)}
"""The numbers of operands that each form has."""

EXTRA_PARENTHESES: dict[Form, float] = {"v1": 0.0, "v2": 0.25}
"""Share of the inner expressions with parentheses that they do not need."""

_PLENTY_OF_TRIES = 2_000


@dataclass(frozen=True)
class Problem:
    """One question with one right answer."""

    expression: str
    """What is computed: "12 + 7 ="."""
    answer: str
    """The right answer: "19"."""
    n_operands: int
    """Numbers in the expression."""
    form: Form
    """Which of ArithMark's forms it imitates."""
    category: str
    """The kind of word problem; the form elsewhere."""
    context: str
    """What the model is given; the answer follows after one space."""


def evaluation_problems(n_operands: int, count: int, seed: int, form: Form = "v1") -> list[Problem]:
    """`count` different problems of held-out expressions.

    Args:
        n_operands: numbers in the expression, one of OPERANDS[form].
        count: how many.
        seed: the run's seed; evaluation draws from a stream of its own.
        form: which of ArithMark's forms.

    Raises:
        UserError: a form or number of operands that there is not, or fewer problems than `count`.
    """
    if form not in FORMS or n_operands not in OPERANDS[form]:
        known = "; ".join(f"{name}: {', '.join(map(str, numbers))}" for name, numbers in OPERANDS.items())
        raise UserError(
            f"arithmetic problems of form {form!r} with {n_operands} operands: there are none; known are "
            f"{known}."
        )
    rng = random.Random(derive_seed(seed, "arithmetic", "evaluation", form, n_operands))
    problems: dict[str, Problem] = {}
    tries = 0
    while len(problems) < count:
        problem = _held_out_problem(rng, form, n_operands)
        tries = tries + 1 if problem.context in problems else 0
        problems.setdefault(problem.context, problem)
        if tries > _PLENTY_OF_TRIES:
            raise UserError(
                f"arithmetic problems of form {form} with {n_operands} operands: {count:,} were asked for, "
                f"there are about {len(problems):,}."
            )
    return list(problems.values())


def _held_out_problem(rng: Random, form: Form, n_operands: int) -> Problem:
    """A problem of the evaluation side of the split; it is drawn again until it is."""
    for _ in range(_PLENTY_OF_TRIES):
        if form == "v3":
            category, question, expression = draw_word_problem(rng, n_operands)
            text, context = f"{render(expression)} =", f"{question} Answer:"
        else:
            expression = draw_expression(rng, form, n_operands)
            if expression is None:
                continue
            category = form
            context = text = render(expression, rng, extra=EXTRA_PARENTHESES[form]) + " ="
        if is_held_out(expression):
            return Problem(text, format_number(value(expression)), n_operands, form, category, context)
    raise AssertionError(f"no {form} problem of {n_operands} operands in {_PLENTY_OF_TRIES} tries")


def draw_word_problem(rng: Random, n_operands: int) -> tuple[str, str, Expression]:
    """The category of a word problem, its text and the expression behind it."""
    category = pick(rng, _CATEGORIES_BY_OPERANDS[n_operands])
    numbers = category.numbers(rng)
    question = fill(pick(rng, category.wordings), numbers, rng)
    return category.name, question, category.expression(*numbers)


def draw_expression(rng: Random, form: Form, n_operands: int) -> Expression | None:
    """An expression as v1 and v2 have them; None when the draw has no value that fits the form."""
    return _v1_expression(rng, n_operands) if form == "v1" else _v2_expression(rng, n_operands)


_CATEGORIES_BY_OPERANDS = {
    count: [
        category
        for category in CATEGORIES
        if operands(category.expression(*category.numbers(random.Random(0)))) == count
    ]
    for count in OPERANDS["v3"]
}


def _v1_expression(rng: Random, n_operands: int) -> Expression | None:
    numbers = [int(rng.random() * 41) - 20 for _ in range(n_operands)]
    signs = ["+-*/"[int(rng.random() * 4)] for _ in range(n_operands - 1)]
    if 0 in numbers and any(
        number == 0 and sign == "/" for sign, number in zip(signs, numbers[1:], strict=True)
    ):
        return None
    return chained(numbers, signs)


def _v2_expression(rng: Random, n_operands: int) -> Expression | None:
    """A random tree of small positive numbers whose every inner value is whole and not negative."""
    if n_operands == 2:
        return _v2_pair(rng, pick(rng, _V2_OPERATORS))  # drawn so that its value fits
    expression = _v2_tree(rng, n_operands)
    return expression if _stays_small_and_whole(expression) is not None else None


_V2_OPERATORS = "++--**/"


def _v2_tree(rng: Random, n_operands: int) -> Expression:
    if n_operands == 1:
        return between(rng, 1, 50)
    operator = pick(rng, _V2_OPERATORS)
    if n_operands == 2:
        return _v2_pair(rng, operator)
    left = between(rng, 1, n_operands - 1)
    return (operator, _v2_tree(rng, left), _v2_tree(rng, n_operands - left))


def _v2_pair(rng: Random, operator: str) -> Expression:
    if operator == "*":
        return ("*", between(rng, 2, 12), between(rng, 2, 30))
    if operator == "/":
        divisor = between(rng, 2, 12)
        return ("/", divisor * between(rng, 2, 15), divisor)
    a, b = between(rng, 1, 99), between(rng, 1, 99)
    return (operator, max(a, b), min(a, b)) if operator == "-" else (operator, a, b)


def _stays_small_and_whole(expression: Expression) -> int | None:
    if isinstance(expression, int):
        return expression
    operator, left, right = expression
    a, b = _stays_small_and_whole(left), _stays_small_and_whole(right)
    if a is None or b is None or (operator == "/" and (b == 0 or a % b)):
        return None
    result = a + b if operator == "+" else a - b if operator == "-" else a * b if operator == "*" else a // b
    return result if 0 <= result <= 2_000 else None
