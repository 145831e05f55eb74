"""Arithmetic expressions as small trees: exact values, one canonical form, and text."""

from __future__ import annotations

import ast
import hashlib
from fractions import Fraction
from typing import Protocol, TypeAlias

Expression: TypeAlias = "int | tuple[str, Expression, Expression]"
"""A number, or (operator, left, right) with an operator of + - * /."""

HELD_OUT_IN = 8
"""One expression in this many is held out."""

_SPLIT_KEY = b"flyweight arithmetic split 1"
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class Random(Protocol):
    """The one method that is used of `random.Random` or numpy's `Generator`."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


def value(expression: Expression) -> Fraction | int:
    """The exact value. Raises ZeroDivisionError."""
    if isinstance(expression, int):
        return expression
    operator, left, right = expression
    a, b = value(left), value(right)
    if operator == "+":
        return a + b
    if operator == "-":
        return a - b
    if operator == "*":
        return a * b
    return Fraction(a) / b


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
        return "(" + operator.join(sorted(_chain(expression, operator))) + ")"
    return f"({canonical(left)}{operator}{canonical(right)})"


def _chain(expression: Expression, operator: str) -> list[str]:
    if isinstance(expression, tuple) and expression[0] == operator:
        return _chain(expression[1], operator) + _chain(expression[2], operator)
    return [canonical(expression)]


def is_held_out(expression: Expression) -> bool:
    """Whether the expression belongs to evaluation.

    A keyed hash of the canonical form decides; it depends on no seed, so that every model that was
    trained on generated arithmetic can be measured on the same items.
    """
    digest = hashlib.blake2b(canonical(expression).encode(), key=_SPLIT_KEY, digest_size=8).digest()
    return int.from_bytes(digest, "little") % HELD_OUT_IN == 0


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
    texts = []
    for child, on_the_right in ((left, False), (right, True)):
        text = render(child, rng, extra)
        if isinstance(child, tuple):
            inner, outer = _PRECEDENCE[child[0]], _PRECEDENCE[operator]
            needed = inner < outer or (on_the_right and inner == outer)
            if needed or (rng is not None and extra and rng.random() < extra):
                text = f"({text})"
        texts.append(text)
    return f"{texts[0]} {operator} {texts[1]}"


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
    if number == int(number):
        return str(int(number))
    scaled = round(number * 10_000)
    sign, (whole, part) = "-" if scaled < 0 else "", divmod(abs(scaled), 10_000)
    decimals = f"{part:04d}".rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"
