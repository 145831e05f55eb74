"""The walk of the tree: what all its rules share, and those of comprehensions and f-strings.

A rule gets a node and a level: the least precedence that may stand there without parentheses, with two
bits that say whether a call or comprehension may stay open to the right (vocabulary.py). It returns
the text of the node. The rules are written for speed: they run once for every node of a corpus.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from flyweight.corpus.tinydsl.dialects import Dialect
from flyweight.corpus.tinydsl.literals import escape_field_text, escape_format_text
from flyweight.corpus.tinydsl.vocabulary import OPEN, OPEN_CALL, OR, TERNARY, TUPLE

Rule = Callable[[Any, int], str]


class Rules:
    """The marks of a dialect, and the table of rules by node type."""

    def __init__(self, dialect: Dialect) -> None:
        self.names = dialect.names
        self.comma = dialect.comma
        self.call_begin, self.call_end = dialect.call_begin, dialect.call_end
        self.rules: dict[type, Rule] = {}

    def elements(self, nodes: list[ast.expr], tail: int) -> str:
        """Expressions and the marks between them; the last one may stay open as `tail` says."""
        rules = self.rules
        last = nodes[-1]
        if len(nodes) == 1:
            return rules[last.__class__](last, TERNARY | tail)
        parts = [rules[node.__class__](node, TERNARY) for node in nodes[:-1]]
        parts.append(rules[last.__class__](last, TERNARY | tail))
        return self.comma.join(parts)


class Comprehensions(Rules):
    """They are open to the right, like calls: what follows `for` reaches to the end."""

    def _list_comprehension(self, node: ast.ListComp, level: int) -> str:
        return self._comprehension("list", node.elt, node.generators, level)

    def _set_comprehension(self, node: ast.SetComp, level: int) -> str:
        return self._comprehension("set", node.elt, node.generators, level)

    def _generator(self, node: ast.GeneratorExp, level: int) -> str:
        return self._comprehension("generator", node.elt, node.generators, level)

    def _dictionary_comprehension(self, node: ast.DictComp, level: int) -> str:
        key = node.key
        prefix = f"dictionary comprehension {self.rules[key.__class__](key, TERNARY | OPEN)}: "
        return self._comprehension_from(prefix, node.value, node.generators, level)

    def _comprehension(
        self, kind: str, element: ast.expr, generators: list[ast.comprehension], level: int
    ) -> str:
        return self._comprehension_from(f"{kind} comprehension ", element, generators, level)

    def _comprehension_from(
        self, prefix: str, element: ast.expr, generators: list[ast.comprehension], level: int
    ) -> str:
        rules = self.rules
        text = prefix + rules[element.__class__](element, TERNARY | OPEN_CALL)
        last = generators[-1]
        for generator in generators:
            target, source, tests = generator.target, generator.iter, generator.ifs
            end = OPEN if generator is last else OPEN_CALL
            text += " async for " if generator.is_async else " for "
            text += rules[target.__class__](target, TUPLE) + " in "
            text += rules[source.__class__](source, OR if tests else OR | end)
            for position, test in enumerate(tests, 1):
                text += " if " + rules[test.__class__](test, OR | end if position == len(tests) else OR)
        return text if level & OPEN == OPEN else f"({text})"


class FormattedText(Rules):
    """f-strings: text and fields, in double quotes, whatever stands inside."""

    def _joined(self, node: ast.JoinedStr, level: int) -> str:
        return f'f"{self._pieces(node, escape_field_text)}"'

    def _pieces(self, node: ast.JoinedStr, escape: Callable[[str], str]) -> str:
        parts = []
        for value in node.values:
            if value.__class__ is ast.Constant:
                parts.append(escape(value.value))  # type: ignore[attr-defined]
            else:
                parts.append(self.rules[value.__class__](value, TERNARY))
        return "".join(parts)

    def _formatted(self, node: ast.FormattedValue, level: int) -> str:
        value = node.value
        text = self.rules[value.__class__](value, TERNARY | OPEN)
        if text[0] == "{":  # two braces together would be text
            text = " " + text
        if node.conversion != -1:
            text += "!" + chr(node.conversion)
        if node.format_spec:
            text += ":" + self._pieces(node.format_spec, escape_format_text)  # type: ignore[arg-type]
        return f"{{{text}}}"
