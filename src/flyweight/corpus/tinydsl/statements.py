"""The walk of the tree: statements. Each rule adds lines to a list; a suite stands in begin ... end."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from flyweight.corpus.tinydsl.dialects import Dialect
from flyweight.corpus.tinydsl.patterns import AS, Patterns
from flyweight.corpus.tinydsl.vocabulary import BINARY, NAMED, OPEN, PRIMARY, TERNARY, TOP, TUPLE

Lines = list[str]


class Walk(Patterns):
    """One walk of a syntax tree, in one dialect. It keeps no state, so one instance serves all files."""

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.add_patterns()
        self.statement_rules: dict[type, Callable[[Any, Lines], None]] = {
            ast.Expr: self._expression,
            ast.Assign: self._assign,
            ast.AugAssign: self._augmented,
            ast.AnnAssign: self._annotated,
            ast.Return: self._return,
            ast.Delete: self._delete,
            ast.Raise: self._raise,
            ast.Assert: self._assert,
            ast.Pass: lambda node, lines: lines.append("pass"),
            ast.Break: lambda node, lines: lines.append("break"),
            ast.Continue: lambda node, lines: lines.append("continue"),
            ast.Import: self._import,
            ast.ImportFrom: self._import_from,
            ast.Global: self._global,
            ast.Nonlocal: self._nonlocal,
            ast.If: self._if,
            ast.For: self._for,
            ast.AsyncFor: self._async_for,
            ast.While: self._while,
            ast.With: self._with,
            ast.AsyncWith: self._async_with,
            ast.Try: self._try,
            ast.TryStar: self._try,
            ast.Match: self._match,
            ast.FunctionDef: self._function,
            ast.AsyncFunctionDef: self._async_function,
            ast.ClassDef: self._class,
        }
        # Node types of newer Pythons.
        if hasattr(ast, "TypeAlias"):
            self.statement_rules[ast.TypeAlias] = self._type_alias  # type: ignore[attr-defined]
            self.rules[ast.TypeVar] = self._type_variable  # type: ignore[attr-defined]
            self.rules[ast.TypeVarTuple] = self._type_variable_tuple  # type: ignore[attr-defined]
            self.rules[ast.ParamSpec] = self._parameter_specification  # type: ignore[attr-defined]

    def module(self, node: ast.Module) -> str:
        """The text of a whole module."""
        lines: Lines = []
        rules = self.statement_rules
        for statement in without_docstring(node.body):
            rules[statement.__class__](statement, lines)
        return "\n".join(lines)

    def _suite(self, body: Sequence[ast.stmt], lines: Lines, end: str = "end") -> None:
        rules = self.statement_rules
        lines.append("begin")
        for statement in body:
            rules[statement.__class__](statement, lines)
        lines.append(end)

    def _definition_suite(self, body: list[ast.stmt], lines: Lines, end: str) -> None:
        kept = without_docstring(body)
        if not kept:
            lines += ("begin", "pass", end)
        else:
            self._suite(kept, lines, end)

    def _expression(self, node: ast.Expr, lines: Lines) -> None:
        value = node.value
        lines.append(self.rules[value.__class__](value, TOP | OPEN))

    def _assign(self, node: ast.Assign, lines: Lines) -> None:
        rules, value = self.rules, node.value
        text = rules[value.__class__](value, TOP | OPEN)
        for target in reversed(node.targets):
            text = f"{rules[target.__class__](target, TUPLE)} = {text}"
        lines.append(text)

    def _augmented(self, node: ast.AugAssign, lines: Lines) -> None:
        target, value, rules = node.target, node.value, self.rules
        symbol = BINARY[node.op.__class__][0]
        text = rules[value.__class__](value, TOP | OPEN)
        lines.append(f"{rules[target.__class__](target, PRIMARY)} {symbol}= {text}")

    def _annotated(self, node: ast.AnnAssign, lines: Lines) -> None:
        rules, target, annotation, value = self.rules, node.target, node.annotation, node.value
        text = rules[target.__class__](target, PRIMARY)
        if target.__class__ is ast.Name and not node.simple:
            text = f"({text})"  # such a name is evaluated, not declared
        text = f"{text}: {rules[annotation.__class__](annotation, TERNARY | (0 if value else OPEN))}"
        if value:
            text += " = " + rules[value.__class__](value, TOP | OPEN)
        lines.append(text)

    def _return(self, node: ast.Return, lines: Lines) -> None:
        value = node.value
        lines.append("return " + self.rules[value.__class__](value, TUPLE | OPEN) if value else "return")

    def _delete(self, node: ast.Delete, lines: Lines) -> None:
        lines.append("delete " + self.elements(node.targets, OPEN))

    def _raise(self, node: ast.Raise, lines: Lines) -> None:
        text = "raise"
        if node.exc:
            text += " " + self.rules[node.exc.__class__](node.exc, TERNARY | OPEN)
        if node.cause:
            text += " from " + self.rules[node.cause.__class__](node.cause, TERNARY | OPEN)
        lines.append(text)

    def _assert(self, node: ast.Assert, lines: Lines) -> None:
        lines.append("assert " + self.elements([node.test, node.msg] if node.msg else [node.test], OPEN))

    def _import(self, node: ast.Import, lines: Lines) -> None:
        lines.append("import " + self._imported(node.names))

    def _import_from(self, node: ast.ImportFrom, lines: Lines) -> None:
        module = self.dotted(node.module) if node.module else ""
        lines.append(f"from {'.' * (node.level or 0)}{module} import {self._imported(node.names)}")

    def _imported(self, aliases: list[ast.alias]) -> str:
        return self.comma.join(
            [
                f"{self.dotted(alias.name)} as {self.names[alias.asname]}"
                if alias.asname
                else self.dotted(alias.name)
                for alias in aliases
            ]
        )

    def dotted(self, name: str) -> str:
        """An imported name: its first part is a name of the program, the others are like attributes."""
        first, dot, others = name.partition(".")
        return self.names[first] + dot + others if first else name

    def _global(self, node: ast.Global, lines: Lines) -> None:
        lines.append("global " + self.comma.join([self.names[name] for name in node.names]))

    def _nonlocal(self, node: ast.Nonlocal, lines: Lines) -> None:
        lines.append("nonlocal " + self.comma.join([self.names[name] for name in node.names]))

    def _if(self, node: ast.If, lines: Lines) -> None:
        head = "if "
        while True:
            test = node.test
            lines.append(head + self.rules[test.__class__](test, NAMED | OPEN))
            self._suite(node.body, lines)
            others = node.orelse
            if len(others) != 1 or others[0].__class__ is not ast.If:
                break
            node = others[0]  # type: ignore[assignment]
            head = "else if "
        if others:
            lines.append("else")
            self._suite(others, lines)

    def _loop(self, head: str, node: ast.For | ast.AsyncFor, lines: Lines) -> None:
        target, source, rules = node.target, node.iter, self.rules
        text = f"{rules[target.__class__](target, TUPLE)} in {rules[source.__class__](source, TUPLE | OPEN)}"
        lines.append(head + text)
        self._suite(node.body, lines)
        if node.orelse:
            lines.append("for else")
            self._suite(node.orelse, lines)

    def _for(self, node: ast.For, lines: Lines) -> None:
        self._loop("for ", node, lines)

    def _async_for(self, node: ast.AsyncFor, lines: Lines) -> None:
        self._loop("async for ", node, lines)

    def _while(self, node: ast.While, lines: Lines) -> None:
        test = node.test
        lines.append("while " + self.rules[test.__class__](test, NAMED | OPEN))
        self._suite(node.body, lines)
        if node.orelse:
            lines.append("while else")
            self._suite(node.orelse, lines)

    def _with(self, node: ast.With | ast.AsyncWith, lines: Lines, head: str = "with ") -> None:
        parts = []
        last = node.items[-1]
        for item in node.items:
            value, target = item.context_expr, item.optional_vars
            text = self.rules[value.__class__](value, TERNARY | (OPEN if target or item is last else 0))
            parts.append(f"{text} as {self.rules[target.__class__](target, PRIMARY)}" if target else text)
        lines.append(head + self.comma.join(parts))
        self._suite(node.body, lines)

    def _async_with(self, node: ast.AsyncWith, lines: Lines) -> None:
        self._with(node, lines, "async with ")

    def _try(self, node: ast.Try | ast.TryStar, lines: Lines) -> None:
        lines.append("try")
        self._suite(node.body, lines)
        head = "except" if node.__class__ is ast.Try else "except *"
        for handler in node.handlers:
            text, kind = head, handler.type
            if kind:
                text += " " + self.rules[kind.__class__](kind, TERNARY | OPEN)
            if handler.name:
                text += " as " + self.names[handler.name]
            lines.append(text)
            self._suite(handler.body, lines)
        if node.orelse:
            lines.append("try else")
            self._suite(node.orelse, lines)
        if node.finalbody:
            lines.append("finally")
            self._suite(node.finalbody, lines)

    def _match(self, node: ast.Match, lines: Lines) -> None:
        subject = node.subject
        lines += ("match " + self.rules[subject.__class__](subject, TUPLE | OPEN), "begin")
        for case in node.cases:
            text, guard = "case " + self.pattern(case.pattern, AS), case.guard
            if guard:
                text += " if " + self.rules[guard.__class__](guard, NAMED | OPEN)
            lines.append(text)
            self._suite(case.body, lines)
        lines.append("end")

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, lines: Lines, head: str = "function "
    ) -> None:
        self._decorators(node.decorator_list, lines)
        parameters, returns = self.parameters(node.args), node.returns
        text = head + self.names[node.name] + self._type_parameters(node)
        if parameters:
            text += " " + parameters
        if returns:
            text += " -> " + self.rules[returns.__class__](returns, TERNARY | OPEN)
        lines.append(text)
        self._definition_suite(node.body, lines, "end function")

    def _async_function(self, node: ast.AsyncFunctionDef, lines: Lines) -> None:
        self._function(node, lines, "async function ")

    def _class(self, node: ast.ClassDef, lines: Lines) -> None:
        self._decorators(node.decorator_list, lines)
        text = f"class {self.names[node.name]}{self._type_parameters(node)}"
        if node.keywords:
            text += " " + self.arguments(node.bases, node.keywords, OPEN)
        elif node.bases:
            text += " " + self.elements(node.bases, OPEN)
        lines.append(text)
        self._definition_suite(node.body, lines, "end class")

    def _decorators(self, decorators: list[ast.expr], lines: Lines) -> None:
        for decorator in decorators:
            lines.append("decorator " + self.rules[decorator.__class__](decorator, TERNARY | OPEN))

    def _type_parameters(self, node: Any) -> str:
        parameters = getattr(node, "type_params", None)  # since Python 3.12
        if not parameters:
            return ""
        return f"[{self.comma.join([self.rules[each.__class__](each, 0) for each in parameters])}]"

    def _type_variable(self, node: Any, level: int) -> str:
        text = self.names[node.name]
        if node.bound:
            text += ": " + self.rules[node.bound.__class__](node.bound, TERNARY)
        return text + self._type_default(node)

    def _type_variable_tuple(self, node: Any, level: int) -> str:
        return f"*{self.names[node.name]}{self._type_default(node)}"

    def _parameter_specification(self, node: Any, level: int) -> str:
        return f"**{self.names[node.name]}{self._type_default(node)}"

    def _type_default(self, node: Any) -> str:
        default = getattr(node, "default_value", None)  # since Python 3.13
        return " = " + self.rules[default.__class__](default, TERNARY) if default else ""

    def _type_alias(self, node: Any, lines: Lines) -> None:
        value = node.value
        head = f"type {self.names[node.name.id]}{self._type_parameters(node)}"
        lines.append(f"{head} = {self.rules[value.__class__](value, TERNARY | OPEN)}")


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """A body after the strings that it begins with: the first is a docstring, and without it the next
    would become one."""
    position = 0
    for statement in body:
        if (
            statement.__class__ is not ast.Expr
            or statement.value.__class__ is not ast.Constant  # type: ignore[attr-defined]
            or statement.value.value.__class__ is not str  # type: ignore[attr-defined]
        ):
            break
        position += 1
    return body[position:] if position else body
