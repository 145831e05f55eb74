"""Python source to TinyDSL."""

from __future__ import annotations

import ast
import gc
import io
import sys
import tokenize
import warnings
from pathlib import Path

from flyweight.base import UserError
from flyweight.corpus.tinydsl.denormalizer import denormalize
from flyweight.corpus.tinydsl.dialects import DIALECTS, DialectName
from flyweight.corpus.tinydsl.errors import NotNormalisable, NotTinyDSL
from flyweight.corpus.tinydsl.statements import Walk

WALKS = {name: Walk(dialect) for name, dialect in DIALECTS.items()}

SYNTAX = "syntax error"
PYTHON_2 = "Python 2"
NULL_BYTE = "null byte"
SURROGATE = "lone surrogate"
TOO_DEEP = "nested too deep"
ENCODING = "not in its encoding"

DEEP = 90
"""Levels of a tree up to which its text always comes back: each is at most two brackets, of 200."""

_NESTING = (
    "(",
    "[",
    "{",
    "call ",
    "comprehension ",
    "lambda",
    "not ",
    " else ",
    "await ",
    "**",
    "-",
    "+",
    "~",
)
"""What each level of an expression has at least one of, but for those that add nothing to Python's stack."""

_PYTHON_2_MESSAGES = (
    "Missing parentheses in call to",
    "multiple exception types must be parenthesized",
    "leading zeros in decimal integer literals",
    "invalid decimal literal",  # 10L
    "invalid hexadecimal literal",  # 0xFFL
)


def normalize(source: str, dialect: DialectName) -> str:
    """Python source as TinyDSL: one statement a line, no line end after the last.

    A byte order mark is taken off. What the running interpreter does not parse is not normalised, so
    a newer Python reads more.

    Raises:
        NotNormalisable: the source is not Python of this version, or nested too deep. Nothing else is
            raised, whatever the text.
    """
    walk = WALKS[dialect]
    if source.startswith("\ufeff"):
        source = source[1:]
    # A tree has no cycles, and looking for some among its many new objects takes a quarter of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        tree = _parse(source)
        text = walk.module(tree)
        if dialect == "exact" and _may_nest(text) and _nests(tree):
            _check_comes_back(text)
        return text
    except RecursionError:
        raise NotNormalisable(TOO_DEEP) from None
    finally:
        if collecting:
            gc.enable()


def _parse(source: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            return ast.parse(source)
    except (RecursionError, MemoryError):  # the parser says MemoryError when its own stack is full
        raise NotNormalisable(TOO_DEEP) from None
    except SyntaxError as error:
        message = error.msg or ""
        if "null bytes" in message:
            raise NotNormalisable(NULL_BYTE) from None
        if "too many nested" in message or "too many levels of indentation" in message:
            raise NotNormalisable(TOO_DEEP, f"line {error.lineno}") from None
        reason = PYTHON_2 if message.startswith(_PYTHON_2_MESSAGES) else SYNTAX
        raise NotNormalisable(reason, f"line {error.lineno}: {message}") from None
    except UnicodeEncodeError:
        raise NotNormalisable(SURROGATE) from None
    except ValueError as error:
        if "null bytes" in str(error):
            raise NotNormalisable(NULL_BYTE) from None
        raise NotNormalisable(SYNTAX, str(error)) from None


def _may_nest(text: str) -> bool:
    """Whether a line has the marks and words of DEEP nested expressions, nested or not: a fast look."""
    return any(len(line) >= DEEP and sum(map(line.count, _NESTING)) >= DEEP for line in text.split("\n"))


def _nests(tree: ast.Module) -> bool:
    """Whether a tree has more than DEEP levels."""
    level: list[ast.AST] = [tree]
    for _ in range(DEEP):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _check_comes_back(text: str) -> None:
    """Python refuses more than 200 brackets, and its text of ours has some that the source did not need,
    as `f((a := 1))` has."""
    try:
        denormalize(text)
    except NotTinyDSL:
        raise NotNormalisable(TOO_DEEP) from None


def decode_source(data: bytes) -> str:
    """The text of a Python file: UTF-8, or the encoding that its first lines declare (PEP 263).

    Raises:
        NotNormalisable: the bytes are not of that encoding, or there is no such encoding.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise NotNormalisable(ENCODING, str(error)) from None


def normalize_file(file: Path | None, dialect: DialectName) -> str:
    """The TinyDSL of a file, or of standard input when `file` is None; ends with a line end.

    Raises:
        UserError: it cannot be read, or is not Python of this version.
    """
    name = "standard input" if file is None else str(file)
    try:
        data = sys.stdin.buffer.read() if file is None else file.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: this file cannot be read ({error.strerror or error}).") from None
    try:
        text = normalize(decode_source(data), dialect)
    except NotNormalisable as error:
        raise UserError(
            f"{name}: this is not Python that {sys.version_info.major}.{sys.version_info.minor} parses "
            f"({error}); TinyDSL is made from syntax trees, so the file must be valid Python."
        ) from None
    return text + "\n" if text else ""
