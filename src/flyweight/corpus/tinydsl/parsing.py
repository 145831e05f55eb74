"""Expressions of the exact dialect to Python text.

The two languages share operators and their precedence, so the text of an expression is put together
as it is read. Only calls and comprehensions differ: they are open to the right here and closed there.
"""

from __future__ import annotations

from collections.abc import Callable

from flyweight.corpus.tinydsl.formatted import FormattedStrings

_BINARY = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "//", "%", "@"))
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_BEGINS = frozenset({"(", "[", "{", "-", "+", "~", "*", "**", "..."})
_CLOSES = frozenset({")", "]", "}", "=", "in", ""})
_WORDS_THAT_BEGIN = frozenset({"not", "lambda", "await", "call", "None", "True", "False"})
_BRACKETS = {"list": "[]", "set": "{}", "dictionary": "{}", "generator": "()"}
SUM = 4
"""The place of + and - in _BINARY."""


class Parser(FormattedStrings):
    """One method a level of precedence; each returns Python text of that level or a tighter one."""

    def whole(self) -> str:
        """An expression as a statement or after `=`: yield, or `several`."""
        return self._yielded() if self.is_word("yield") else self.several()

    def _yielded(self) -> str:
        self.advance()
        if self.take_word("from"):
            return f"yield from {self.single()}"
        return f"yield {self.several()}" if self.begins_expression else "yield"

    def several(self, one: Callable[[], str] | None = None) -> str:
        """One expression, or a tuple without parentheses."""
        one = one or self.element
        items = [one()]
        while self.take_mark(","):
            if self.text in _CLOSES and self.kind != "string":
                return ", ".join(items) + ","
            items.append(one())
        return ", ".join(items)

    def element(self) -> str:
        """An expression, or a starred one."""
        if self.take_mark("*"):
            return "*" + self.operation(0)
        return self.single()

    def _named(self) -> str:
        """An expression, or `name := expression`."""
        text = self.single()
        if self.take_mark(":="):
            return f"{text} := {self.single()}"
        return text

    def single(self) -> str:
        """Lambda, or `a if b else c`, or any operator."""
        if self.is_word("lambda"):
            return self._function_expression()
        text = self._disjunction()
        if self.take_word("if"):
            test = self._disjunction()
            self.expect_word("else")
            return f"{text} if {test} else {self.single()}"
        return text

    def _function_expression(self) -> str:
        self.advance()
        parameters = self.parameters(annotated=False)
        self.expect_mark(":")
        return f"lambda {parameters}: {self.single()}" if parameters else f"lambda: {self.single()}"

    def parameters(self, annotated: bool) -> str:
        """The parameters of a function, or of a lambda, which has no annotations."""
        parts: list[str] = []
        while not parts or self.take_mark(","):
            if not parts and not (self.is_name or self.text in ("*", "**", "/")):
                break
            stars = self.advance() if self.text in ("*", "**", "/") and self.kind == "mark" else ""
            if stars == "/" or (stars == "*" and not self.is_name):
                parts.append(stars)
                continue
            text = stars + self.expect_name()
            if annotated and self.take_mark(":"):
                text += ": " + self.element()
            if self.take_mark("="):
                text += " = " + self.single()
            parts.append(text)
        return ", ".join(parts)

    def _disjunction(self) -> str:
        text = self._conjunction()
        while self.take_word("or"):
            text += " or " + self._conjunction()
        return text

    def _conjunction(self) -> str:
        text = self._negation()
        while self.take_word("and"):
            text += " and " + self._negation()
        return text

    def _negation(self) -> str:
        if self.take_word("not"):
            return "not " + self._negation()
        text = self.operation(0)
        while symbol := self._comparison():
            text += f" {symbol} {self.operation(0)}"
        return text

    def _comparison(self) -> str:
        if self.kind == "mark":
            return self.advance() if self.text in _COMPARISONS else ""
        if self.take_word("in"):
            return "in"
        if self.take_word("is"):
            return "is not" if self.take_word("not") else "is"
        if self.take_word("not"):
            self.expect_word("in")
            return "not in"
        return ""

    def operation(self, level: int) -> str:
        """Binary operators of `level` in _BINARY and tighter ones."""
        if level == len(_BINARY):
            return self._signed()
        text = self.operation(level + 1)
        while self.kind == "mark" and self.text in _BINARY[level]:
            symbol = self.advance()
            text += f" {symbol} {self.operation(level + 1)}"
        return text

    def _signed(self) -> str:
        if self.kind == "mark" and self.text in ("-", "+", "~"):
            return self.advance() + self._signed()
        text = "await " + self.primary() if self.take_word("await") else self.primary()
        if self.take_mark("**"):
            return f"{text} ** {self._signed()}"
        return text

    def primary(self) -> str:
        """An atom with attributes and subscripts, which stand without a space."""
        text = self._atom()
        while self.kind == "mark" and self.glued:
            if self.text == ".":
                self.advance()
                text += "." + self.expect_attribute()
            elif self.text == "[":
                self.advance()
                text += f"[{self.several(self.index)}]"
                self.expect_mark("]")
            else:
                break
        return text

    def index(self) -> str:
        """One part of a subscript: an expression or a slice."""
        text = "" if self.is_mark(":") else self.element()
        for _ in range(2):
            if not self.take_mark(":"):
                break
            text += ":"
            if self.begins_expression:
                text += self.single()
        return text

    def _element_or_named(self) -> str:
        return self.element() if self.is_mark("*") else self._named()

    @property
    def begins_expression(self) -> bool:
        """The current token can begin an expression or a starred one."""
        if self.kind == "mark":
            return self.text in _BEGINS
        if self.kind == "name":
            return self.text in _WORDS_THAT_BEGIN or self.is_name
        return self.kind != "end"

    def _atom(self) -> str:
        if self.kind == "number":
            return self.advance()
        if self.kind == "string":
            return self.string()
        if self.kind == "formatted":
            return self.formatted_string()
        if self.kind == "mark":
            if self.text == "...":
                return self.advance()
            if self.text == "(":
                return self.group()
            if self.text == "[":
                return self._bracketed("]", self.element)
            if self.text == "{":
                return self._bracketed("}", self.entry)
        elif self.is_word("call"):
            return self._call()
        elif self.text in _BRACKETS and self._at_comprehension:
            return self._comprehension()
        elif self.text in ("None", "True", "False"):
            return self.advance()
        elif self.is_name:
            return self.expect_name()
        self.fail_expecting("an expression")

    @property
    def _at_comprehension(self) -> bool:
        return self.kind == "name" and self.line.startswith(" comprehension ", self.stop)

    def group(self) -> str:
        """Parentheses. Python needs none round a call or comprehension, which are closed there."""
        self.advance()
        if self.take_mark(")"):
            return "()"
        if self.is_word("call") or self._at_comprehension:
            text = self._atom()
            if self.take_mark(")"):
                return text
            self.fail_expecting("')'")
        text = self._yielded() if self.is_word("yield") else self.several(self._element_or_named)
        self.expect_mark(")")
        return f"({text})"

    def _bracketed(self, end: str, item: Callable[[], str]) -> str:
        begin = self.advance()
        text = "" if self.is_mark(end) else self.several(item)
        self.expect_mark(end)
        return f"{begin}{text}{end}"

    def entry(self) -> str:
        """An element of a set, or a key and its value."""
        if self.take_mark("**"):
            return "**" + self.operation(0)
        text = self.element()
        if self.take_mark(":"):
            return f"{text}: {self.single()}"
        return text

    def _call(self) -> str:
        self.advance()
        function = self.primary()
        return f"{function}({self.arguments()})"

    def arguments(self) -> str:
        """Arguments up to what cannot be one."""
        if not self.begins_expression:
            return ""
        generator = self.is_word("generator") and self._at_comprehension
        first = self._argument()
        parts = [first]
        while self.take_mark(","):
            parts.append(self._argument())
        if generator and len(parts) == 1:
            return first[1:-1]  # the call's own parentheses are enough
        return ", ".join(parts)

    def _argument(self) -> str:
        if self.take_mark("**"):
            return "**" + self.single()
        if self.at_keyword:
            name = self.expect_name()
            self.advance()
            return f"{name}={self.single()}"
        return self._element_or_named()

    @property
    def at_keyword(self) -> bool:
        """A keyword argument begins here."""
        return self.is_name and self.line.startswith(" = ", self.stop)

    def _comprehension(self) -> str:
        kind = self.advance()
        self.advance()
        text = self.single()
        if kind == "dictionary":
            self.expect_mark(":")
            text += ": " + self.single()
        if not (self.is_word("for") or self.is_word("async")):
            self.fail_expecting("'for'")
        while self.is_word("for") or self.is_word("async"):
            text += " async for " if self.take_word("async") else " for "
            self.expect_word("for")
            text += self.target()
            self.expect_word("in")
            text += " in " + self._disjunction()
            while self.take_word("if"):
                text += " if " + self._disjunction()
        begin, end = _BRACKETS[kind]
        return f"{begin}{text}{end}"

    def target(self) -> str:
        """What a loop assigns to: no comparison, since `in` follows."""
        return self.several(self._target_element)

    def _target_element(self) -> str:
        return "*" + self.primary() if self.take_mark("*") else self.primary()

    def dotted(self) -> str:
        """An imported name with its dots."""
        text = self.expect_name()
        while self.is_mark(".") and self.glued:
            self.advance()
            text += "." + self.expect_attribute()
        return text
