"""Patterns of a match statement, of the exact dialect, to Python text."""

from __future__ import annotations

from flyweight.corpus.tinydsl.parsing import SUM, Parser


class PatternParser(Parser):
    """Patterns: their text is Python's but for the names in it."""

    def pattern(self) -> str:
        """`p as name`, or alternatives."""
        text = self.closed_pattern()
        while self.take_mark("|"):
            text += " | " + self.closed_pattern()
        return f"{text} as {self.expect_name()}" if self.take_word("as") else text

    def closed_pattern(self) -> str:
        """A pattern that may stand anywhere."""
        if self.take_mark("("):
            text = f"({self.pattern()})"
            self.expect_mark(")")
            return text
        if self.take_mark("["):
            text = "" if self.is_mark("]") else self.several(self._sequence_element)
            self.expect_mark("]")
            return f"[{text}]"
        if self.take_mark("{"):
            text = "" if self.is_mark("}") else self.several(self._mapping_entry)
            self.expect_mark("}")
            return f"{{{text}}}"
        text = self.operation(SUM)
        if not (self.is_mark("(") and self.glued):
            return text
        self.advance()
        inner = "" if self.is_mark(")") else self.several(self._class_argument)
        self.expect_mark(")")
        return f"{text}({inner})"

    def _sequence_element(self) -> str:
        return "*" + self.expect_name() if self.take_mark("*") else self.pattern()

    def _mapping_entry(self) -> str:
        if self.take_mark("**"):
            return "**" + self.expect_name()
        key = self.operation(SUM)
        self.expect_mark(":")
        return f"{key}: {self.pattern()}"

    def _class_argument(self) -> str:
        if self.at_keyword:
            name = self.expect_name()
            self.advance()
            return f"{name}={self.pattern()}"
        return self.pattern()
