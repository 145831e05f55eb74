"""Worked solutions: step by step, digit by digit with carries, by parts, by the inverse."""

from __future__ import annotations

from flyweight.corpus.generated.arithmetic_problems import draw_expression
from flyweight.corpus.generated.arithmetic_wordings import Exercise, answer
from flyweight.corpus.generated.draws import Random, between, pick
from flyweight.corpus.generated.expressions import Expression, reductions, render

PLACES = ("Ones", "Tens", "Hundreds", "Thousands")
"""The names of the digits, from the right."""


def in_steps(rng: Random) -> Exercise | None:
    """An expression of three or more numbers, reduced two numbers at a time."""
    form = pick(rng, ("v1", "v2", "v2"))
    expression = draw_expression(rng, form, between(rng, 3, 4))
    steps = None if expression is None else reductions(expression)
    if expression is None or steps is None:  # a value on the way is not whole
        return None
    text, result = render(expression), steps[-1][1]
    sides = [render(rest) for _, _, rest in steps]
    lines = [f"{render(step)} = {value}" for step, value, _ in steps]
    wording = rng.random()
    if wording < 0.4:
        return Exercise(" = ".join([text, *sides]), (expression, *(rest for _, _, rest in steps)))
    shown = (expression, *(step for step, _, _ in steps))
    if wording < 0.7:
        return Exercise(f"To work out {text}, first {', then '.join(lines)}. The answer is {result}.", shown)
    return Exercise("\n".join([f"Problem: {text}", *lines, f"Answer: {result}"]), shown)


def _digits(number: int, count: int) -> list[int]:
    return [number // 10**place % 10 for place in range(count)]


def _draw_large(rng: Random) -> int:
    return between(rng, 11, 10 ** between(rng, 2, 4) - 1)


def with_carries(rng: Random) -> Exercise:
    """A sum, digit by digit from the right."""
    a, b = _draw_large(rng), _draw_large(rng)
    count = len(str(max(a, b)))
    shown: list[Expression] = [("+", a, b)]
    lines = [f"Add {a} and {b}."]
    carry = 0
    for place, (x, y) in enumerate(zip(_digits(a, count), _digits(b, count), strict=True)):
        step: Expression = ("+", x, y)
        if carry:
            step = ("+", step, 1)
        total = x + y + carry
        carry = total // 10
        done = f"write {total % 10}, carry 1" if carry else f"write {total}"
        if place == count - 1:
            done = f"write {total}"
        shown.append(step)
        lines.append(f"{PLACES[place]}: {render(step)} = {total}, {done}.")
    lines.append(f"So {a} + {b} = {a + b}.")
    return Exercise(pick(rng, ("\n", " ")).join(lines), tuple(shown))


def with_borrowing(rng: Random) -> Exercise | None:
    """A difference, digit by digit from the right."""
    a, b = _draw_large(rng), _draw_large(rng)
    if a == b:
        return None
    a, b = max(a, b), min(a, b)
    count = len(str(a))
    shown: list[Expression] = [("-", a, b)]
    lines = [f"Subtract {b} from {a}."]
    borrowed = False
    for place, (x, y) in enumerate(zip(_digits(a, count), _digits(b, count), strict=True)):
        line = f"{PLACES[place]}: "
        if borrowed:
            shown.append(("-", x, 1))
            line += f"{x} - 1 = {x - 1} after borrowing; "
            x -= 1
        borrowed = x < y
        if borrowed:
            line += f"{x} is less than {y}, so borrow 10; "
            x += 10
        shown.append(("-", x, y))
        lines.append(f"{line}{x} - {y} = {x - y}.")
    lines.append(f"So {a} - {b} = {a - b}.")
    return Exercise(pick(rng, ("\n", " ")).join(lines), tuple(shown))


def by_parts(rng: Random) -> Exercise:
    """A product, with one factor taken apart into tens and ones or rounded up."""
    a, b = between(rng, 3, 99), between(rng, 11, 99)
    tens, ones = b // 10 * 10, b % 10
    if ones == 0:
        b, ones = b + 4, 4
    sign = "+"
    if ones >= 8:
        sign, tens, ones = "-", tens + 10, 10 - ones
    parts: tuple[Expression, Expression] = (("*", a, tens), ("*", a, ones))
    total: Expression = (sign, a * tens, a * ones)
    whole: Expression = ("*", a, b)
    if rng.random() < 0.5:
        both: Expression = (sign, *parts)
        sides = [render(whole), render(both), render(total), str(a * b)]
        return Exercise(" = ".join(sides), (whole, both, total))
    split: Expression = (sign, tens, ones)
    text = (
        f"Multiply {a} by {b}. {b} = {render(split)}. {render(parts[0])} = {a * tens} and "
        f"{render(parts[1])} = {a * ones}. {render(total)} = {a * b}, so {render(whole)} = {a * b}."
    )
    return Exercise(text, (whole, split, *parts, total))


_INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
_CHECKS = (
    "{0} = {1}, because {2} = {3}.",
    "{0} = {1}. Check: {2} = {3}.",
    "If {2} = {3}, then {0} = {1}.",
)


def by_the_inverse(rng: Random) -> Exercise | None:
    """An expression of two numbers, and the opposite operation that leads back."""
    expression = draw_expression(rng, "v2", 2)
    if expression is None or isinstance(expression, int):
        return None
    operator, left, right = expression
    back: Expression = (_INVERSE[operator], int(answer(expression)), right)
    if right == 0:
        return None
    text = pick(rng, _CHECKS).format(render(expression), answer(expression), render(back), render(left))
    return Exercise(text, (expression, back))


_MISSING = (
    "{0} = {1}. The missing number is {2}, because {3} = {2}.",
    "Which number is missing in {0} = {1}? {3} = {2}, so it is {2}.",
)


def with_a_gap(rng: Random) -> Exercise | None:
    """An equation with its first number missing."""
    expression = draw_expression(rng, "v2", 2)
    if expression is None or isinstance(expression, int):
        return None
    operator, left, right = expression
    result = int(answer(expression))
    solve: Expression = (_INVERSE[operator], result, right)
    text = pick(rng, _MISSING).format(f"? {operator} {render(right)}", result, render(left), render(solve))
    return Exercise(text, (expression, solve))


def with_remainder(rng: Random) -> Exercise:
    """A division that leaves a remainder."""
    divisor, quotient = between(rng, 2, 12), between(rng, 2, 15)
    rest = between(rng, 1, divisor - 1)
    whole, number = divisor * quotient, divisor * quotient + rest
    times: Expression = ("*", divisor, quotient)
    less: Expression = ("-", number, whole)
    text = (
        f"{number} divided by {divisor} is {quotient} with remainder {rest}, because "
        f"{render(times)} = {whole} and {render(less)} = {rest}."
    )
    return Exercise(text, (("/", number, divisor), times, less))
