"""Arithmetic expressions as small trees: exact values, one canonical form, and text."""

from __future__ import annotations

import ast
import hashlib
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from flyweight.corpus.generated.draws import Random

Expression: TypeAlias = "int | tuple[str, Expression, Expression]"
"""A number, or (operator, left, right) with an operator of + - * /."""

HELD_OUT_IN = 8
"""One expression in this many is held out."""

_SPLIT_KEY = b"flyweight arithmetic split 1"
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


def value(expression: Expression) -> Fraction | int:
    """The exact value. Raises ZeroDivisionError."""
    numerator, denominator = ratio(expression)
    return Fraction(numerator, denominator) if denominator != 1 else numerator


def ratio(expression: Expression) -> tuple[int, int]:
    """The exact value as numerator and denominator, not in lowest terms. Raises ZeroDivisionError."""
    if isinstance(expression, int):
        return expression, 1
    operator, left, right = expression
    a, b = (left, 1) if isinstance(left, int) else ratio(left)
    c, d = (right, 1) if isinstance(right, int) else ratio(right)
    if operator == "*":
        return a * c, b * d
    if operator == "/":
        if c == 0:
            raise ZeroDivisionError(render(expression))
        return a * d, b * c
    if operator == "-":
        c = -c
    return (a + c, b) if b == d else (a * d + c * b, b * d)


def operands(expression: Expression) -> int:
    """How many numbers the expression has."""
    if isinstance(expression, int):
        return 1
    return operands(expression[1]) + operands(expression[2])


def canonical(expression: Expression) -> str:
    """A text that stays the same whatever the needless parentheses and the order of sums and products."""
    if isinstance(expression, int):
        return str(expression)
    operator, left, right = expression
    if operator in "+*":
        return "(" + operator.join(sorted(_chain(expression, operator, []))) + ")"
    return f"({canonical(left)}{operator}{canonical(right)})"


def _chain(expression: Expression, operator: str, found: list[str]) -> list[str]:
    while not isinstance(expression, int) and expression[0] == operator:
        last = expression[2]
        if isinstance(last, int):
            found.append(str(last))
        else:
            _chain(last, operator, found)
        expression = expression[1]
    found.append(str(expression) if isinstance(expression, int) else canonical(expression))
    return found


def is_held_out(expression: Expression) -> bool:
    """Whether the expression belongs to evaluation.

    A keyed hash of the canonical form decides; it depends on no seed, so that every model that was
    trained on generated arithmetic can be measured on the same items.
    """
    if isinstance(expression, tuple) and isinstance(expression[1], int) and isinstance(expression[2], int):
        return _is_held_out_pair(expression)
    return _hash_is_held_out(canonical(expression))


@lru_cache(maxsize=1 << 16)
def _is_held_out_pair(expression: Expression) -> bool:
    """Most expressions are of two small numbers, and come again and again."""
    return _hash_is_held_out(canonical(expression))


def _hash_is_held_out(text: str) -> bool:
    digest = hashlib.blake2b(text.encode(), key=_SPLIT_KEY, digest_size=8).digest()
    return digest[0] % HELD_OUT_IN == 0  # HELD_OUT_IN divides 256


def render(expression: Expression, rng: Random | None = None, extra: float = 0.0) -> str:
    """The expression as text, "4 * (7 - 2)".

    Args:
        expression: what to write.
        rng: decides on needless parentheses.
        extra: the share of inner expressions that get parentheses they do not need.
    """
    if isinstance(expression, int):
        return str(expression)
    operator, left, right = expression
    outer = _PRECEDENCE[operator]
    if isinstance(left, int):
        before = str(left)
    else:
        before = render(left, rng, extra)
        if _PRECEDENCE[left[0]] < outer or (extra and rng is not None and rng.random() < extra):
            before = f"({before})"
    if isinstance(right, int):
        after = str(right)
    else:
        after = render(right, rng, extra)
        if _PRECEDENCE[right[0]] <= outer or (extra and rng is not None and rng.random() < extra):
            after = f"({after})"
    return f"{before} {operator} {after}"


def chained(numbers: list[int], operators: list[str]) -> Expression:
    """The tree of `numbers[0] operators[0] numbers[1] ...` without parentheses, by the usual precedence."""
    terms: list[Expression] = [numbers[0]]
    between: list[str] = []
    for operator, number in zip(operators, numbers[1:], strict=True):
        if _PRECEDENCE[operator] == 2:
            terms[-1] = (operator, terms[-1], number)
        else:
            between.append(operator)
            terms.append(number)
    result = terms[0]
    for operator, term in zip(between, terms[1:], strict=True):
        result = (operator, result, term)
    return result


def parse(text: str) -> Expression:
    """The tree of a text such as "4 * (7 - -2) ="."""
    return _from_ast(ast.parse(text.rstrip(" ="), mode="eval").body)


def _from_ast(node: ast.expr) -> Expression:
    if isinstance(node, ast.BinOp):
        return (_OPERATORS[type(node.op)], _from_ast(node.left), _from_ast(node.right))
    if isinstance(node, ast.UnaryOp):
        assert isinstance(node.op, ast.USub)
        inner = _from_ast(node.operand)
        assert isinstance(inner, int)
        return -inner
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int)
    return node.value


def format_number(number: Fraction | int) -> str:
    """A whole number as it is, any other rounded to 4 decimals without trailing zeros (ties to even)."""
    return format_ratio(number.numerator, number.denominator)


def format_ratio(numerator: int, denominator: int) -> str:
    """`format_number` of numerator / denominator, which need not be in lowest terms."""
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    whole, rest = divmod(numerator, denominator)
    if rest == 0:
        return str(whole)
    scaled, rest = divmod(numerator * 10_000, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and scaled % 2):
        scaled += 1
    sign = "-" if scaled < 0 else ""
    whole, part = divmod(abs(scaled), 10_000)
    return f"{sign}{whole}.{part:04d}".rstrip("0").rstrip(".")


Step: TypeAlias = "tuple[Expression, int, Expression]"
"""An expression of two numbers, its value, and what is left when the value stands in its place."""


def reductions(expression: Expression) -> list[Step] | None:
    """The steps from an expression to its value, the leftmost of the innermost first.

    None when a value on the way is not whole.
    """
    steps: list[Step] = []
    while isinstance(expression, tuple):
        step = _first_step(expression)
        if step is None:
            return None
        steps.append(step)
        expression = step[2]
    return steps


def _first_step(expression: tuple[str, Expression, Expression]) -> Step | None:
    operator, left, right = expression
    if isinstance(left, tuple):
        inner = _first_step(left)
        return None if inner is None else (inner[0], inner[1], (operator, inner[2], right))
    if isinstance(right, tuple):
        inner = _first_step(right)
        return None if inner is None else (inner[0], inner[1], (operator, left, inner[2]))
    numerator, denominator = ratio(expression)
    result, rest = divmod(numerator, denominator)
    return None if rest else (expression, result, result)
