"""Generated arithmetic: text for training and problems for evaluation, in ArithMark's three forms.

`v1`: integers from -20 to 20, + - * /, 2 to 6 operands, answers rounded to 4 decimals. `v2`: small
positive integers, parentheses here and there, whole answers. `v3`: word problems of one or two
sentences. Whether an expression may be trained on is decided item by item (`expressions.is_held_out`),
whatever form or wording it appears in.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from flyweight.base import UserError, derive_seed
from flyweight.corpus.generated.expressions import (
    Expression,
    Random,
    chained,
    format_number,
    is_held_out,
    operands,
    parse,
    render,
    value,
)
from flyweight.corpus.generated.word_problems import CATEGORIES, between, fill, pick

Form = Literal["v1", "v2", "v3"]
FORMS: tuple[Form, ...] = get_args(Form)

OPERANDS: dict[Form, tuple[int, ...]] = {"v1": (2, 3, 4, 5, 6), "v2": (2, 3, 4), "v3": (2, 3)}
"""The numbers of operands that each form has."""

DEFAULT_BYTES = 20_000_000
"""Text of an arithmetic source without a limit."""

LINES = (16, 40)
"""Lines of a training document, least and most."""

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


def training_documents(seed: int, bytes: int) -> Iterator[str]:
    """About `bytes` bytes of documents of many lines each, without any held-out expression."""
    return _documents(random.Random(derive_seed(seed, "arithmetic", "training")), bytes, held_out=False)


def held_out_documents(seed: int, bytes: int) -> Iterator[str]:
    """The same, of held-out expressions only."""
    return _documents(random.Random(derive_seed(seed, "arithmetic", "held-out text")), bytes, held_out=True)


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
        problem = _problem(rng, form, n_operands, held_out=True)
        tries = tries + 1 if problem.context in problems else 0
        problems.setdefault(problem.context, problem)
        if tries > _PLENTY_OF_TRIES:
            raise UserError(
                f"arithmetic problems of form {form} with {n_operands} operands: {count:,} were asked for, "
                f"there are about {len(problems):,}."
            )
    return list(problems.values())


def distractors(problem: Problem, rng: Random) -> list[str]:
    """Four different options, the right answer among them at a random place.

    Wrong ones are values of the expression with one operator mistaken, near numbers, and the answer
    with one digit changed.
    """
    right = problem.answer
    pools = [_operator_slips(parse(problem.expression)), _near(right), _digit_changes(right, rng)]
    if problem.form != "v1":  # right answers of the other forms are whole and not negative
        pools = [[option for option in pool if option.isdigit()] for pool in pools]
    pools = [pool for pool in pools if pool]
    wrong: list[str] = []
    while len(wrong) < 3:  # `_near` alone holds more than three options that fit
        candidate = pick(rng, pick(rng, pools))
        if candidate != right and candidate not in wrong:
            wrong.append(candidate)
    place = between(rng, 0, 3)
    return [*wrong[:place], right, *wrong[place:]]


def _operator_slips(expression: Expression) -> list[str]:
    found = []
    for slip in _with_one_operator_changed(expression):
        try:
            found.append(format_number(value(slip)))
        except ZeroDivisionError:
            continue
    return found


def _with_one_operator_changed(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, int):
        return
    operator, left, right = expression
    for other in "+-*/".replace(operator, ""):
        yield (other, left, right)
    for changed in _with_one_operator_changed(left):
        yield (operator, changed, right)
    for changed in _with_one_operator_changed(right):
        yield (operator, left, changed)


def _near(right: str) -> list[str]:
    whole, dot, decimals = right.partition(".")
    return [f"{int(whole) + step}{dot}{decimals}" for step in (-10, -3, -2, -1, 1, 2, 3, 10)]


def _digit_changes(right: str, rng: Random) -> list[str]:
    found = []
    for place, digit in enumerate(right):
        if digit.isdigit():
            new = str((int(digit) + between(rng, 1, 9)) % 10)
            changed = right[:place] + new + right[place + 1 :]
            leading_zero = new == "0" and changed.lstrip("-").startswith("0") and len(right) > 1
            trailing_zero = new == "0" and "." in right and place == len(right) - 1
            if not leading_zero and not trailing_zero:
                found.append(changed)
    return found


def _documents(rng: random.Random, size: int, held_out: bool) -> Iterator[str]:
    written = 0
    while written < size:
        lines: list[str] = []
        form = pick(rng, _FORMS_OF_DOCUMENTS)
        style = pick(rng, _STYLES)
        for _ in range(between(rng, *LINES)):
            n_operands = OPERANDS[form][int(rng.random() ** 2 * len(OPERANDS[form]))]  # short ones more often
            problem = _problem(rng, form, n_operands, held_out)
            if form == "v3":
                lines.append(f"{problem.context} {problem.answer}")
            else:
                lines.append(style(problem))
        text = "\n".join(lines) + "\n"
        written += len(text)
        yield text


# A document of word problems is about five times as long as one of expressions.
_FORMS_OF_DOCUMENTS: tuple[Form, ...] = ("v1", "v1", "v2", "v2", "v3")


def _plain(problem: Problem) -> str:
    return f"{problem.expression} {problem.answer}"


def _asked(problem: Problem) -> str:
    return f"What is {problem.expression.removesuffix(' =')}? {problem.answer}"


def _question_and_answer(problem: Problem) -> str:
    return f"Question: {problem.expression} ?\nAnswer: {problem.answer}"


def _in_words(problem: Problem) -> str:
    text = problem.expression.removesuffix(" =")
    for sign, word in ((" + ", " plus "), (" - ", " minus "), (" * ", " times "), (" / ", " divided by ")):
        text = text.replace(sign, word)
    return f"{text} equals {problem.answer}."


# The form that evaluation uses is the most frequent one.
_STYLES = (_plain, _plain, _plain, _plain, _asked, _question_and_answer, _in_words)


def _problem(rng: Random, form: Form, n_operands: int, held_out: bool) -> Problem:
    """A problem on the wanted side of the split; it is drawn again until it is."""
    for _ in range(_PLENTY_OF_TRIES):
        if form == "v3":
            problem, expression = _word_problem(rng, n_operands)
        else:
            make = _v1_expression if form == "v1" else _v2_expression
            expression = make(rng, n_operands)
            if expression is None:
                continue
            text = render(expression, rng, extra=0.25 if form == "v2" else 0.0) + " ="
            problem = Problem(text, format_number(value(expression)), n_operands, form, form, text)
        if is_held_out(expression) == held_out:
            return problem
    raise AssertionError(f"no {form} problem of {n_operands} operands in {_PLENTY_OF_TRIES} tries")


def _word_problem(rng: Random, n_operands: int) -> tuple[Problem, Expression]:
    category = pick(rng, _CATEGORIES_BY_OPERANDS[n_operands])
    numbers = category.numbers(rng)
    expression = category.expression(*numbers)
    context = f"{fill(pick(rng, category.wordings), numbers, rng)} Answer:"
    text = f"{render(expression)} ="
    answer = format_number(value(expression))
    return Problem(text, answer, n_operands, "v3", category.name, context), expression


_CATEGORIES_BY_OPERANDS = {
    count: [
        category
        for category in CATEGORIES
        if operands(category.expression(*category.numbers(random.Random(0)))) == count
    ]
    for count in OPERANDS["v3"]
}


def _v1_expression(rng: Random, n_operands: int) -> Expression | None:
    numbers = [between(rng, -20, 20) for _ in range(n_operands)]
    signs = [pick(rng, "+-*/") for _ in range(n_operands - 1)]
    if any(sign == "/" and number == 0 for sign, number in zip(signs, numbers[1:], strict=True)):
        return None
    return chained(numbers, signs)


def _v2_expression(rng: Random, n_operands: int) -> Expression | None:
    """A random tree of small positive numbers whose every inner value is whole and not negative."""
    expression = _v2_tree(rng, n_operands)
    return expression if _stays_small_and_whole(expression) is not None else None


def _v2_tree(rng: Random, n_operands: int) -> Expression:
    if n_operands == 1:
        return between(rng, 1, 50)
    operator = pick(rng, "++--**/")
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
    result = {"+": a + b, "-": a - b, "*": a * b}[operator] if operator != "/" else a // b
    return result if 0 <= result <= 2_000 else None
