"""Wrong answers beside the right one of an arithmetic problem."""

from __future__ import annotations

from collections.abc import Iterator

from flyweight.corpus.generated.arithmetic_problems import Problem
from flyweight.corpus.generated.draws import Random, between, pick
from flyweight.corpus.generated.expressions import Expression, format_number, parse, value


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
