"""Filters of records, such as `score >= 4 and language == "en"`: a small language of its own, and safe.

Names are a record's fields, with dots into nested ones. There are comparisons, `in`, `and`, `or`, `not`,
`len()`, numbers, strings, lists, True, False and None. As in SQL, a comparison with a value that is None
is neither true nor false, and a record passes only where the whole is true; `is None` asks for it.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flyweight.base import UserError

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING"})()
"""What `look_up` finds where there is nothing."""

_Value = Callable[[Mapping[str, Any]], Any]

_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, several: value in several,
    ast.NotIn: lambda value, several: value not in several,
}

_IDENTITIES = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot)


class FilterMismatch(Exception):
    """A record's values are of kinds that the filter cannot compare, such as a string with a number."""


def look_up(record: Any, name: str) -> Any:
    """The field `name` of a record: itself, or with its dots read as steps into nested records; else MISSING."""
    if not isinstance(record, Mapping):
        return MISSING
    if name in record:
        return record[name]
    first, dot, rest = name.partition(".")
    return look_up(record[first], rest) if dot and first in record else MISSING


@dataclass(frozen=True)
class Filter:
    """A compiled filter."""

    expression: str
    names: tuple[str, ...]
    """The fields that it asks for, in their order."""
    _value: _Value

    def __call__(self, record: Mapping[str, Any]) -> bool:
        """Whether a record passes.

        Raises:
            FilterMismatch: its values cannot be compared.
        """
        try:
            return _truth(self._value(record)) is True
        except TypeError as error:
            raise FilterMismatch(str(error)) from None


def compile_filter(expression: str) -> Filter:
    """The filter of an expression.

    Raises:
        UserError: not an expression of this language; the sentence shows the place.
    """
    expression = " ".join(expression.split("\n")).strip()
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = (getattr(error, "offset", None) or 1) - 1
        raise _malformed(expression, place, "this is no expression") from None
    names: dict[str, None] = {}
    value = _compile(tree.body, expression, names)
    return Filter(expression, tuple(names), value)


def _malformed(expression: str, place: int, problem: str) -> UserError:
    shown = f"{expression[:place].rstrip()} --> {expression[place:]}" if place else f"--> {expression}"
    return UserError(
        f"the filter {expression!r} is malformed here: `{shown}` ({problem}); expected comparisons of fields such "
        f'as `score >= 4 and language == "en"`, with `in`, `not`, `or`, `is None` and `len()`.'
    )


def _compile(node: ast.expr, expression: str, names: dict[str, None]) -> _Value:
    """A function of a record for `node`; the fields that it asks for are added to `names`."""
    match node:
        case ast.BoolOp():
            values = [_compile(value, expression, names) for value in node.values]
            return _all_of(values) if isinstance(node.op, ast.And) else _any_of(values)
        case ast.UnaryOp(op=ast.Not()):
            return _negation(_compile(node.operand, expression, names))
        case ast.Compare():
            return _comparison(node, expression, names)
        case ast.Call(func=ast.Name(id="len"), args=[argument], keywords=[]):
            inner = _compile(argument, expression, names)
            return lambda record: None if (value := inner(record)) is None else len(value)
        case ast.Name() | ast.Attribute() if name := _dotted(node):
            names[name] = None
            return lambda record: None if (value := look_up(record, name)) is MISSING else value
        case ast.List() | ast.Tuple() | ast.Constant() | ast.UnaryOp():
            constant = _constant(node, expression)
            return lambda record: constant
    raise _not_allowed(node, expression)


def _not_allowed(node: ast.expr, expression: str) -> UserError:
    place = len(expression.encode("utf-8")[: node.col_offset].decode("utf-8"))
    return _malformed(expression, place, f"{type(node).__name__} has no place in a filter")


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def _constant(node: ast.expr, expression: str) -> Any:
    match node:
        case ast.Constant(value=str() | int() | float() | None):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List() | ast.Tuple():
            return [_constant(item, expression) for item in node.elts]
    raise _not_allowed(node, expression)


def _comparison(node: ast.Compare, expression: str, names: dict[str, None]) -> _Value:
    operands = [node.left, *node.comparators]
    values = [_compile(operand, expression, names) for operand in operands]
    steps = []
    for place, kind in enumerate(node.ops):
        right = operands[place + 1]
        if _is_none(right) and isinstance(kind, _IDENTITIES):
            steps.append(_none_test(values[place], isinstance(kind, ast.Eq | ast.Is)))
        elif compare := _COMPARISONS.get(type(kind)):
            steps.append(_compared(values[place], values[place + 1], compare))
        else:
            raise _malformed(
                expression, len(expression.encode()[: right.col_offset].decode()), "`is` goes with None only"
            )
    return steps[0] if len(steps) == 1 else _all_of(steps)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _none_test(value: _Value, wanted: bool) -> _Value:
    return lambda record: (value(record) is None) is wanted


def _compared(left: _Value, right: _Value, compare: Callable[[Any, Any], Any]) -> _Value:
    def value(record: Mapping[str, Any]) -> bool | None:
        a, b = left(record), right(record)
        return None if a is None or b is None else bool(compare(a, b))

    return value


def _negation(value: _Value) -> _Value:
    return lambda record: None if (inner := _truth(value(record))) is None else not inner


def _all_of(values: list[_Value]) -> _Value:
    def value(record: Mapping[str, Any]) -> bool | None:
        found: bool | None = True
        for part in values:
            truth = _truth(part(record))
            if truth is False:
                return False
            found = found if truth else None
        return found

    return value


def _any_of(values: list[_Value]) -> _Value:
    def value(record: Mapping[str, Any]) -> bool | None:
        found: bool | None = False
        for part in values:
            truth = _truth(part(record))
            if truth:
                return True
            found = found if truth is False else None
        return found

    return value


def _truth(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise FilterMismatch(f"{value!r} is neither true nor false")
