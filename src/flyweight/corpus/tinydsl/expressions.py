"""The walk of the tree: expressions."""

from __future__ import annotations

import ast

from flyweight.corpus.tinydsl.dialects import Dialect
from flyweight.corpus.tinydsl.literals import write_constant, write_string
from flyweight.corpus.tinydsl.rules import Comprehensions, FormattedText
from flyweight.corpus.tinydsl.vocabulary import (
    AWAIT,
    BINARY,
    BIT_OR,
    BITS,
    BOOLEAN,
    COMPARISON,
    COMPARISONS,
    NAMED,
    OPEN,
    OPEN_CALL,
    OR,
    PRIMARY,
    TERNARY,
    TOP,
    TUPLE,
    UNARY_OPERATORS,
)


class Expressions(Comprehensions, FormattedText):
    """Rules for every expression, by node type."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.rules |= {
            ast.Name: self._name,
            ast.Constant: self._constant,
            ast.Attribute: self._attribute,
            ast.Call: self._call,
            ast.Subscript: self._subscript,
            ast.Slice: self._slice,
            ast.BinOp: self._binary,
            ast.UnaryOp: self._unary,
            ast.BoolOp: self._boolean,
            ast.Compare: self._compare,
            ast.IfExp: self._ternary,
            ast.Lambda: self._lambda,
            ast.NamedExpr: self._named,
            ast.Tuple: self._tuple,
            ast.List: self._list,
            ast.Set: self._set,
            ast.Dict: self._dictionary,
            ast.Starred: self._starred,
            ast.ListComp: self._list_comprehension,
            ast.SetComp: self._set_comprehension,
            ast.DictComp: self._dictionary_comprehension,
            ast.GeneratorExp: self._generator,
            ast.Await: self._await,
            ast.Yield: self._yield,
            ast.YieldFrom: self._yield_from,
            ast.JoinedStr: self._joined,
            ast.FormattedValue: self._formatted,
        }

    def _name(self, node: ast.Name, level: int) -> str:
        return self.names[node.id]

    def _constant(self, node: ast.Constant, level: int) -> str:
        value = node.value
        if value.__class__ is str:
            return write_string(value)  # type: ignore[arg-type]
        text = write_constant(value)
        # What follows a number at once, or an ellipsis, would be read as part of it.
        return f"({text})" if level >= PRIMARY else text

    def _attribute(self, node: ast.Attribute, level: int) -> str:
        value = node.value
        if value.__class__ is ast.Name:
            return f"{self.names[value.id]}.{node.attr}"  # type: ignore[attr-defined]
        return f"{self.rules[value.__class__](value, PRIMARY)}.{node.attr}"

    def _call(self, node: ast.Call, level: int) -> str:
        function = node.func
        text = "call " + self.rules[function.__class__](function, PRIMARY)
        if level & OPEN_CALL:
            if node.keywords:
                return f"{text} {self.arguments(node.args, node.keywords, level & BITS)}"
            return f"{text} {self.elements(node.args, level & BITS)}" if node.args else text
        if node.keywords:
            text += " " + self.arguments(node.args, node.keywords, OPEN)
        elif node.args:
            text += " " + self.elements(node.args, OPEN)
        return f"{self.call_begin}{text}{self.call_end}"

    def arguments(self, positional: list[ast.expr], keywords: list[ast.keyword], tail: int) -> str:
        """The arguments of a call with keywords; the last one may stay open as `tail` says."""
        rules, names = self.rules, self.names
        parts = [rules[node.__class__](node, TERNARY) for node in positional]
        last = keywords[-1]
        for keyword in keywords:
            value = keyword.value
            text = rules[value.__class__](value, TERNARY | tail if keyword is last else TERNARY)
            parts.append(f"**{text}" if keyword.arg is None else f"{names[keyword.arg]} = {text}")
        return self.comma.join(parts)

    def _subscript(self, node: ast.Subscript, level: int) -> str:
        value, index = node.value, node.slice
        rules = self.rules
        return f"{rules[value.__class__](value, PRIMARY)}[{rules[index.__class__](index, TUPLE | OPEN)}]"

    def _slice(self, node: ast.Slice, level: int) -> str:
        rules = self.rules
        lower, upper, step = node.lower, node.upper, node.step
        text = f"{rules[lower.__class__](lower, TERNARY | OPEN)}:" if lower else ":"
        if upper:
            text += rules[upper.__class__](upper, TERNARY | (OPEN if step else level & BITS))
        if step:
            text += ":" + rules[step.__class__](step, TERNARY | (level & BITS))
        return text

    def _binary(self, node: ast.BinOp, level: int) -> str:
        symbol, own, left_level, right_level = BINARY[node.op.__class__]
        left, right, rules = node.left, node.right, self.rules
        if level > own + BITS:
            right_text = rules[right.__class__](right, right_level | OPEN)
            return f"({rules[left.__class__](left, left_level)} {symbol} {right_text})"
        right_text = rules[right.__class__](right, right_level | level & BITS)
        return f"{rules[left.__class__](left, left_level)} {symbol} {right_text}"

    def _unary(self, node: ast.UnaryOp, level: int) -> str:
        symbol, own = UNARY_OPERATORS[node.op.__class__]
        operand = node.operand
        if level > own + BITS:
            return f"({symbol}{self.rules[operand.__class__](operand, own | OPEN)})"
        return symbol + self.rules[operand.__class__](operand, own | level & BITS)

    def _boolean(self, node: ast.BoolOp, level: int) -> str:
        symbol, own = BOOLEAN[node.op.__class__]
        rules, values = self.rules, node.values
        grouped = level > own + BITS
        inner = own + BITS + 1
        parts = [rules[value.__class__](value, inner) for value in values[:-1]]
        last = values[-1]
        parts.append(rules[last.__class__](last, inner | (OPEN if grouped else level & BITS)))
        return f"({symbol.join(parts)})" if grouped else symbol.join(parts)

    def _compare(self, node: ast.Compare, level: int) -> str:
        rules = self.rules
        grouped = level > COMPARISON + BITS
        tail = OPEN if grouped else level & BITS
        left, last = node.left, node.comparators[-1]
        text = rules[left.__class__](left, BIT_OR)
        for operator, value in zip(node.ops, node.comparators, strict=True):
            text += COMPARISONS[operator.__class__]
            text += rules[value.__class__](value, BIT_OR | tail if value is last else BIT_OR)
        return f"({text})" if grouped else text

    def _ternary(self, node: ast.IfExp, level: int) -> str:
        rules = self.rules
        grouped = level > TERNARY + BITS
        body, test, other = node.body, node.test, node.orelse
        text = f"{rules[body.__class__](body, OR)} if {rules[test.__class__](test, OR | OPEN)} else " + rules[
            other.__class__
        ](other, TERNARY | (OPEN if grouped else level & BITS))
        return f"({text})" if grouped else text

    def _lambda(self, node: ast.Lambda, level: int) -> str:
        grouped = level > TERNARY + BITS
        parameters = self.parameters(node.args)
        body = node.body
        text = self.rules[body.__class__](body, TERNARY | (OPEN if grouped else level & BITS))
        text = f"lambda {parameters}: {text}" if parameters else f"lambda: {text}"
        return f"({text})" if grouped else text

    def parameters(self, node: ast.arguments) -> str:
        """What a function or a lambda takes; empty when nothing."""
        first = node.posonlyargs + node.args if node.posonlyargs else node.args
        parts = [self._parameter(parameter) for parameter in first]
        offset = len(first) - len(node.defaults)
        for position, default in enumerate(node.defaults, offset):
            parts[position] += f" = {self.rules[default.__class__](default, TERNARY)}"
        if node.posonlyargs:
            parts.insert(len(node.posonlyargs), "/")
        if node.vararg:
            parts.append("*" + self._parameter(node.vararg))
        elif node.kwonlyargs:
            parts.append("*")
        for parameter, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
            text = self._parameter(parameter)
            parts.append(f"{text} = {self.rules[default.__class__](default, TERNARY)}" if default else text)
        if node.kwarg:
            parts.append("**" + self._parameter(node.kwarg))
        return self.comma.join(parts)

    def _parameter(self, node: ast.arg) -> str:
        annotation = node.annotation
        if annotation is None:
            return self.names[node.arg]
        return f"{self.names[node.arg]}: {self.rules[annotation.__class__](annotation, TERNARY)}"

    def _named(self, node: ast.NamedExpr, level: int) -> str:
        grouped = level | BITS != NAMED | BITS  # a statement or a tuple does not take it bare either
        target, value = node.target, node.value
        text = self.rules[value.__class__](value, TERNARY | (OPEN if grouped else level & BITS))
        text = f"{self.rules[target.__class__](target, PRIMARY)} := {text}"
        return f"({text})" if grouped else text

    def _tuple(self, node: ast.Tuple, level: int) -> str:
        elements = node.elts
        if not elements:
            return "()"
        grouped = level > TUPLE + BITS
        if len(elements) == 1:
            text = self.elements(elements, 0) + ","
        else:
            text = self.elements(elements, OPEN if grouped else level & BITS)
        return f"({text})" if grouped else text

    def _list(self, node: ast.List, level: int) -> str:
        return f"[{self.elements(node.elts, OPEN)}]" if node.elts else "[]"

    def _set(self, node: ast.Set, level: int) -> str:
        return f"{{{self.elements(node.elts, OPEN)}}}"

    def _dictionary(self, node: ast.Dict, level: int) -> str:
        rules = self.rules
        parts = []
        last = len(node.values) - 1
        for position, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
            tail = OPEN if position == last else 0
            if key is None:
                parts.append("**" + rules[value.__class__](value, BIT_OR | tail))
            else:
                text = rules[value.__class__](value, TERNARY | tail)
                parts.append(f"{rules[key.__class__](key, TERNARY | OPEN)}: {text}")
        return f"{{{self.comma.join(parts)}}}"

    def _starred(self, node: ast.Starred, level: int) -> str:
        value = node.value
        return "*" + self.rules[value.__class__](value, BIT_OR | level & BITS)

    def _await(self, node: ast.Await, level: int) -> str:
        value = node.value
        if level > AWAIT + BITS:
            return f"(await {self.rules[value.__class__](value, PRIMARY | OPEN)})"
        return "await " + self.rules[value.__class__](value, PRIMARY | level & BITS)

    def _yield(self, node: ast.Yield, level: int) -> str:
        value = node.value
        grouped = level > TOP + BITS
        text = "yield"
        if value:
            text += " " + self.rules[value.__class__](value, TUPLE | (OPEN if grouped else level & BITS))
        return f"({text})" if grouped else text

    def _yield_from(self, node: ast.YieldFrom, level: int) -> str:
        value = node.value
        grouped = level > TOP + BITS
        text = self.rules[value.__class__](value, TERNARY | (OPEN if grouped else level & BITS))
        return f"(yield from {text})" if grouped else f"yield from {text}"
