"""The walk of the tree: patterns of a match statement."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from flyweight.corpus.tinydsl.expressions import Expressions
from flyweight.corpus.tinydsl.literals import write_constant
from flyweight.corpus.tinydsl.vocabulary import PRIMARY, TERNARY

AS, ALTERNATIVES, CLOSED = 0, 1, 2
"""Levels: `p as name` stands only where AS does, `p | q` where ALTERNATIVES does."""


class Patterns(Expressions):
    """Rules for every pattern. A class pattern keeps its parentheses: it builds nothing, so no `call`."""

    pattern_rules: dict[type, Callable[[Any, int], str]]

    def add_patterns(self) -> None:
        """Set up the table of rules."""
        self.pattern_rules = {
            ast.MatchValue: self._match_value,
            ast.MatchSingleton: self._match_singleton,
            ast.MatchSequence: self._match_sequence,
            ast.MatchStar: self._match_star,
            ast.MatchMapping: self._match_mapping,
            ast.MatchClass: self._match_class,
            ast.MatchAs: self._match_as,
            ast.MatchOr: self._match_or,
        }

    def pattern(self, node: ast.pattern, level: int) -> str:
        """The text of any pattern."""
        return self.pattern_rules[node.__class__](node, level)

    def _match_value(self, node: ast.MatchValue, level: int) -> str:
        return self.rules[node.value.__class__](node.value, TERNARY)

    def _match_singleton(self, node: ast.MatchSingleton, level: int) -> str:
        return write_constant(node.value)

    def _match_sequence(self, node: ast.MatchSequence, level: int) -> str:
        return f"[{self.comma.join([self.pattern(item, AS) for item in node.patterns])}]"

    def _match_star(self, node: ast.MatchStar, level: int) -> str:
        return "*" + (self.names[node.name] if node.name else "_")

    def _match_mapping(self, node: ast.MatchMapping, level: int) -> str:
        parts = [
            f"{self.rules[key.__class__](key, TERNARY)}: {self.pattern(item, AS)}"
            for key, item in zip(node.keys, node.patterns, strict=True)
        ]
        if node.rest:
            parts.append("**" + self.names[node.rest])
        return f"{{{self.comma.join(parts)}}}"

    def _match_class(self, node: ast.MatchClass, level: int) -> str:
        parts = [self.pattern(item, AS) for item in node.patterns]
        for name, item in zip(node.kwd_attrs, node.kwd_patterns, strict=True):
            parts.append(f"{self.names[name]} = {self.pattern(item, AS)}")
        return f"{self.rules[node.cls.__class__](node.cls, PRIMARY)}({self.comma.join(parts)})"

    def _match_as(self, node: ast.MatchAs, level: int) -> str:
        name = self.names[node.name] if node.name else "_"
        if node.pattern is None:
            return name
        text = f"{self.pattern(node.pattern, ALTERNATIVES)} as {name}"
        return f"({text})" if level > AS else text

    def _match_or(self, node: ast.MatchOr, level: int) -> str:
        text = " | ".join([self.pattern(item, CLOSED) for item in node.patterns])
        return f"({text})" if level > ALTERNATIVES else text
