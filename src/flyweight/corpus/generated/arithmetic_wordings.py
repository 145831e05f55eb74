"""Exercises of arithmetic in one or two lines: an expression and its value, word problems, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from flyweight.corpus.generated.arithmetic_problems import (
    EXTRA_PARENTHESES,
    OPERANDS,
    Form,
    draw_expression,
    draw_word_problem,
)
from flyweight.corpus.generated.draws import Random, Weighted, between, pick
from flyweight.corpus.generated.expressions import (
    Expression,
    format_ratio,
    ratio,
    reductions,
    render,
)
from flyweight.corpus.generated.number_words import in_words


class Exercise(NamedTuple):
    """A text and every expression that it shows."""

    text: str
    shown: tuple[Expression, ...]
    """The expression that the exercise is about comes first; none when it is about plain numbers."""


Wording = Callable[[Random], "Exercise | None"]
"""Makes an exercise; None when the draw does not suit the wording."""


def draw_operands(rng: Random, form: Form) -> int:
    """How many numbers an expression has: few more often than many."""
    return OPERANDS[form][int(rng.random() ** 2 * len(OPERANDS[form]))]


def answer(expression: Expression) -> str:
    """The value as it is written."""
    return format_ratio(*ratio(expression))


@lru_cache(maxsize=1 << 16)
def _pair_and_answer(expression: Expression) -> tuple[str, str]:
    """Both texts of an expression of two numbers: most are such, and come again and again."""
    return render(expression), answer(expression)


def stated(form: Form, template: str) -> Wording:
    """A wording that puts expression {0} and value {1} into a template."""
    extra = EXTRA_PARENTHESES[form]

    def wording(rng: Random) -> Exercise | None:
        n_operands = draw_operands(rng, form)
        expression = draw_expression(rng, form, n_operands)
        if expression is None:
            return None
        if n_operands == 2:
            texts = _pair_and_answer(expression)
        else:
            texts = render(expression, rng, extra), answer(expression)
        return Exercise(template.format(*texts), (expression,))

    return wording


EQUATION = "{0} = {1}"
"""The form that evaluation uses."""

QUESTIONS = (
    "What is {0}? {1}",
    "Question: {0} = ?\nAnswer: {1}",
    "Q: What is {0}?\nA: {1}",
    "Calculate {0}. The result is {1}.",
    "{0} equals {1}.",
    "The value of {0} is {1}.",
)

_SIGNS = ((" + ", " plus "), (" - ", " minus "), (" * ", " times "), (" / ", " divided by "))


def operators_in_words(form: Form) -> Wording:
    """A wording such as "12 plus 7 equals 19."; without parentheses, for which there are no words."""

    def wording(rng: Random) -> Exercise | None:
        expression = draw_expression(rng, form, draw_operands(rng, form))
        if expression is None:
            return None
        text = render(expression)
        if "(" in text:
            return None
        for sign, word in _SIGNS:
            text = text.replace(sign, word)
        return Exercise(f"{text} equals {answer(expression)}.", (expression,))

    return wording


_WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}
_IN_WORDS = (
    "{0} {1} {2} is {3}.",
    "{0} {1} {2} equals {3}.",
    "What is {0} {1} {2}? It is {3}.",
    "{0} {1} {2} makes {3}.",
)


def all_in_words(rng: Random) -> Exercise | None:
    """Two small numbers and the result as words."""
    expression = draw_expression(rng, "v2", 2)
    if expression is None or isinstance(expression, int):
        return None
    operator, left, right = expression
    result, _ = divmod(*ratio(expression))
    if not isinstance(left, int) or not isinstance(right, int):
        return None
    text = pick(rng, _IN_WORDS).format(in_words(left), _WORDS[operator], in_words(right), in_words(result))
    return Exercise(text[0].upper() + text[1:], (expression,))


def told(rng: Random) -> Exercise:
    """A word problem and its answer, as in evaluation."""
    _, question, expression = draw_word_problem(rng, draw_operands(rng, "v3"))
    return Exercise(f"{question} Answer: {answer(expression)}", (expression,))


_SOLUTIONS = Weighted((2, "{0} {1} Answer: {2}"), (1, "{0}\nSolution: {1}\nAnswer: {2}"))


def told_and_solved(rng: Random) -> Exercise:
    """A word problem, the calculation, and the answer."""
    _, question, expression = draw_word_problem(rng, draw_operands(rng, "v3"))
    steps = reductions(expression)
    assert steps is not None, "the values inside word problems are whole"
    said = " ".join(f"{render(step)} = {value}." for step, value, _ in steps)
    text = _SOLUTIONS.draw(rng).format(question, said, answer(expression))
    return Exercise(text, (expression, *(step for step, _, _ in steps)))


_LARGER = (
    ("Which is larger, {0} or {1}?", 1),
    ("Which is smaller, {0} or {1}?", -1),
    ("Which is greater: {0} or {1}?", 1),
)


def compared(rng: Random) -> Exercise | None:
    """Two expressions, and which of them is larger or smaller."""
    pair = (draw_expression(rng, "v2", 2), draw_expression(rng, "v2", 2))
    if pair[0] is None or pair[1] is None:
        return None
    first, second = render(pair[0]), render(pair[1])
    values = [int(answer(pair[0])), int(answer(pair[1]))]
    question, sign = pick(rng, _LARGER)
    text = f"{question.format(first, second)} {first} = {values[0]} and {second} = {values[1]}, so "
    if values[0] == values[1]:
        return Exercise(f"{text}they are equal.", (pair[0], pair[1]))
    wanted = first if (values[0] - values[1]) * sign > 0 else second
    word = question.split()[2].rstrip(",:")
    return Exercise(f"{text}{wanted} is {word}.", (pair[0], pair[1]))


def plain_numbers_compared(rng: Random) -> Exercise:
    """Numbers in order, or the larger of two."""
    bound = pick(rng, (20, 100, 1_000))
    count = between(rng, 2, 5)
    numbers: list[int] = []
    while len(numbers) < count:
        number = between(rng, -bound, bound) if rng.random() < 0.5 else between(rng, 0, bound)
        if number not in numbers:
            numbers.append(number)
    a, b = numbers[:2]
    listed = ", ".join(map(str, numbers))
    if count > 2:
        return Exercise(
            f"Order from the smallest to the largest: {listed}. Answer: {_listed(sorted(numbers))}", ()
        )
    if rng.random() < 0.5:
        return Exercise(f"Which is larger, {a} or {b}? {max(a, b)}", ())
    return Exercise(f"Is {a} greater than {b}? {'Yes' if a > b else 'No'}, {max(a, b)} > {min(a, b)}.", ())


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def continued(rng: Random) -> Exercise:
    """A sequence whose next number is asked for, with the rule that gives it."""
    count = between(rng, 4, 6)
    if rng.random() < 0.2:
        factor = between(rng, 2, 5)
        numbers = [between(rng, 1, 6)]
        operator, step, rule = "*", factor, f"{factor} times the one before"
    else:
        step = between(rng, 2, 12)
        falls = rng.random() < 0.35
        numbers = [between(rng, 0, 60) + (step * count if falls and rng.random() < 0.7 else 0)]
        operator, rule = (
            ("-", f"{step} less than the one before") if falls else ("+", f"{step} more than the one before")
        )
    steps: list[Expression] = []
    while len(numbers) <= count:
        steps.append((operator, numbers[-1], step))
        numbers.append(int(answer(steps[-1])))
    shown, following = _listed(numbers[:-1]), numbers[-1]
    text = pick(rng, _SEQUENCES).format(shown, rule, f"{render(steps[-1])} = {following}", following)
    return Exercise(text, (steps[-1],))


_SEQUENCES = (
    "What comes next: {0}? Each number is {1}, and {2}, so {3} comes next.",
    "Continue {0}. Every number is {1}: {2}. The next number is {3}.",
)
