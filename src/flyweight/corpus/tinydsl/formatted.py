"""Strings of the exact dialect to Python text; f-strings are the part where that is hard.

Before Python 3.12 an expression inside an f-string can hold neither a backslash nor the quotes of the
string around it. So the strings inside wait in `pending`, and are written when the outermost f-string
is complete and its quotes are chosen.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from flyweight.corpus.tinydsl.literals import escape_field_text, escape_format_text, write_string
from flyweight.corpus.tinydsl.scanner import Scanner

_TEXT = re.compile(r"(?:[^\"\\{}]|\\.|\{\{|\}\})*")
_FORMAT_TEXT = re.compile(r"(?:[^\"\\{}]|\\.)*")
_PENDING = re.compile("\0([0-9]+)\0")
_QUOTES = ('"', "'", '"""', "'''")
_NEEDS_PARENTHESES = re.compile(r"[:!{}=\n]|\blambda\b")
"""What Python could take for a conversion, a format or a doubled brace."""


@dataclass
class Field:
    """One `{...}`: Python text, in which pending strings have marks; conversion; format."""

    expression: str
    conversion: str
    format: list[str | Field] | None


Pieces = list["str | Field"]


@dataclass(frozen=True)
class Surroundings:
    """Where an f-string will stand in the Python text."""

    quotes: tuple[str, ...] = ()
    """Of the f-strings around it, outermost first."""
    nests: bool = False
    """Python 3.12's rules: strings inside may have any quotes and backslashes."""

    def take(self, literal: str) -> bool:
        """Whether a literal may stand here."""
        if self.nests or not self.quotes:
            return True
        if any(quotes in literal for quotes in self.quotes) or any(bad in literal for bad in "\\\r\0"):
            return False
        return "\n" not in literal or all(len(quotes) == 3 for quotes in self.quotes)

    def plain(self) -> bool:
        """Whether text here has to do without escapes."""
        return bool(self.quotes) and not self.nests

    def inside(self, quotes: str) -> Surroundings:
        """Those of an expression in an f-string that stands here."""
        return Surroundings((*self.quotes, quotes), self.nests)


class FormattedStrings(Scanner):
    """Reads string literals of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[str | bytes | Pieces] = []
        self.depth = 0

    def single(self) -> str:
        """An expression; the parser has it."""
        raise AssertionError

    def string(self) -> str:
        """A string or bytes literal."""
        text = self.advance()
        return self.wait(self.value(text)) if self.depth else text

    def value(self, literal: str) -> str | bytes:
        """What a literal stands for."""
        try:
            return ast.literal_eval(literal)
        except (SyntaxError, ValueError):
            self.fail("this string has an escape that Python does not know")

    def wait(self, value: str | bytes | Pieces) -> str:
        """The mark of a string that is written later."""
        self.pending.append(value)
        return f"\0{len(self.pending) - 1}\0"

    def formatted_string(self) -> str:
        """An f-string; the current token is its beginning."""
        self.depth += 1
        pieces, position = self._pieces(self.stop, _TEXT)
        self.depth -= 1
        if self.line[position : position + 1] != '"':
            self.start = position
            self.fail("this f-string does not end, or a brace in it is alone")
        if self.depth:
            text = self.wait(pieces)
        else:
            text = self.python(pieces, Surroundings()) or self.python(pieces, Surroundings(nests=True))
            assert text is not None
            self.pending.clear()
        self.jump(position + 1)
        return text

    def _pieces(self, position: int, pattern: re.Pattern[str]) -> tuple[Pieces, int]:
        """Text and fields from `position` to what ends them."""
        pieces: Pieces = []
        while True:
            found = pattern.match(self.line, position)
            assert found is not None
            if found[0]:
                text = found[0] if pattern is _FORMAT_TEXT else found[0].replace("{{", "{").replace("}}", "}")
                pieces.append(self.value(f'"{text}"'))  # type: ignore[arg-type]
            position = found.end()
            if self.line[position : position + 1] != "{":
                return pieces, position
            field, position = self.field(position + 1)
            pieces.append(field)

    def field(self, position: int) -> tuple[Field, int]:
        """The field whose brace ends before `position`; and where it ends."""
        self.jump(position)
        expression = self.single()
        position, line = self.start, self.line
        conversion, format_pieces = "", None
        if line[position : position + 1] == "!":
            conversion = line[position : position + 2]
            position += 2
        if line[position : position + 1] == ":":
            format_pieces, position = self._pieces(position + 1, _FORMAT_TEXT)
        if line[position : position + 1] != "}" or conversion not in ("", "!r", "!s", "!a"):
            self.start = position
            self.fail("expected '}', which ends a field of an f-string")
        return Field(expression, conversion, format_pieces), position + 1

    def python(self, pieces: Pieces, here: Surroundings) -> str | None:
        """The Python text of an f-string, or None if there is none for these surroundings."""
        for quotes in _QUOTES:
            if here.plain() and any(outer in quotes for outer in here.quotes):
                continue  # before what is inside is tried with all quotes, and that inside it
            text = self._python_pieces(pieces, quotes, here, in_format=False)
            if text is None or (here.plain() and not _closes(text, quotes)):
                continue
            literal = f"f{quotes}{text}{quotes}"
            if here.take(literal):
                return literal
        return None

    def _python_pieces(self, pieces: Pieces, quotes: str, here: Surroundings, in_format: bool) -> str | None:
        parts = []
        for piece in pieces:
            if isinstance(piece, str):
                text = _text(piece, quotes, here, in_format)
            else:
                text = self._python_field(piece, quotes, here)
            if text is None:
                return None
            parts.append(text)
        return "".join(parts)

    def _python_field(self, field: Field, quotes: str, here: Surroundings) -> str | None:
        text = self.fill(field.expression, here.inside(quotes))
        if text is None:
            return None
        if _NEEDS_PARENTHESES.search(text):
            text = f"({text})"
        text += field.conversion
        if field.format is not None:
            specification = self._python_pieces(field.format, quotes, here, in_format=True)
            if specification is None:
                return None
            text += ":" + specification
        return f"{{{text}}}"

    def fill(self, expression: str, here: Surroundings) -> str | None:
        """Python text in which the strings that waited are written."""
        parts: list[str] = _PENDING.split(expression)
        for position in range(1, len(parts), 2):
            value = self.pending[int(parts[position])]
            if isinstance(value, list):
                text = self.python(value, here)
            else:
                text = write_string(value) if here.nests else _plain_literal(value, here)
            if text is None:
                return None
            parts[position] = text
        return "".join(parts)


def _text(text: str, quotes: str, here: Surroundings, in_format: bool) -> str | None:
    """Text of an f-string outside its fields."""
    if not here.plain():
        return (escape_format_text if in_format else escape_field_text)(text, quotes[0])
    if in_format and ("{" in text or "}" in text):
        return None
    return text.replace("{", "{{").replace("}", "}}")


def _plain_literal(value: str | bytes, here: Surroundings) -> str | None:
    """A literal without a backslash, or None."""
    prefix, text = ("", value) if isinstance(value, str) else ("b", value.decode("latin-1"))
    if prefix and not text.isascii():
        return None
    for quotes in _QUOTES:
        literal = f"{prefix}{quotes}{text}{quotes}"
        if _closes(text, quotes) and here.take(literal):
            return literal
    return None


def _closes(text: str, quotes: str) -> bool:
    """Whether quotes around `text` end after it and not before."""
    if len(quotes) == 1:
        return quotes not in text and "\n" not in text
    return quotes not in text and not text.endswith(quotes[0])
