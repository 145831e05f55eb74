"""TinyDSL of the exact dialect to Python source: statements."""

from __future__ import annotations

import ast
import sys
import warnings
from pathlib import Path

from flyweight.base import UserError
from flyweight.corpus.tinydsl.errors import NotTinyDSL
from flyweight.corpus.tinydsl.parsing_deep import DeepParser
from flyweight.corpus.tinydsl.parsing_statements import StatementParser


def denormalize(text: str) -> str:
    """Python source for text of the exact dialect, ending with a line end; it always parses.

    Its syntax tree is that of the source that `normalize(source, "exact")` was given, but for
    docstrings, comments and formatting.

    Raises:
        NotTinyDSL: the text is not of the exact dialect; names the line.
    """
    parser = _read(text)
    source = "\n".join(parser.output)
    source = source + "\n" if source else ""
    _check(source, parser)
    return source


def denormalize_file(file: Path | None) -> str:
    """The Python source of a file of the exact dialect, or of standard input when `file` is None.

    Raises:
        UserError: it cannot be read, or is not of the exact dialect.
    """
    name = "standard input" if file is None else str(file)
    try:
        text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: this file cannot be read ({error}).") from None
    try:
        return denormalize(text)
    except NotTinyDSL as error:
        raise UserError(f"{name}: this is not the exact dialect of TinyDSL ({error}).") from None


def _read(text: str) -> StatementParser:
    """A parser that has read all of `text`."""
    parser = StatementParser(text)
    try:
        parser.module()
        return parser
    except RecursionError:
        parser = DeepParser(text)
    try:
        parser.module()
        return parser
    except RecursionError:
        raise NotTinyDSL(parser.number, "nested too deep") from None


def _check(source: str, parser: StatementParser) -> None:
    """What the grammar lets through, such as `1 = 2`, Python itself refuses here."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (RecursionError, MemoryError):
        raise NotTinyDSL(parser.number, "nested too deep") from None
    except SyntaxError as error:
        line = parser.line_of(error.lineno or 1)
        raise NotTinyDSL(line, f"Python does not allow this ({error.msg})") from None
    except ValueError as error:
        raise NotTinyDSL(1, f"Python does not allow this ({error})") from None
