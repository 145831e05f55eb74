"""Strings, bytes and numbers on one line, in a form that Python reads back."""

from __future__ import annotations

from typing import Any

INFINITY = "1e309"
"""A number whose repr is `inf`, which would be a name; this literal has the same value."""

MOST_DECIMAL_BITS = 4096
"""Python refuses to write an integer of more than 4,300 digits in decimal; hexadecimal has no limit."""


def write_string(value: str | bytes) -> str:
    """A string or bytes literal with double quotes where it holds none.

    `repr` escapes line ends, lone surrogates and all else that is not printable. Double quotes are
    preferred because tokenizers of English cut `'t` and `'s` as contractions off what follows.
    """
    text = repr(value)
    if text[-1] == "'" and (b'"' if value.__class__ is bytes else '"') not in value:  # type: ignore[operator]
        return f'b"{text[2:-1]}"' if value.__class__ is bytes else f'"{text[1:-1]}"'
    return text


def write_number(value: complex) -> str:
    """An int, float or complex literal; `value` is not negative, as in every syntax tree."""
    if value.__class__ is int and value.bit_length() > MOST_DECIMAL_BITS:  # type: ignore[attr-defined]
        return hex(value)  # type: ignore[arg-type]
    return repr(value).replace("inf", INFINITY)


def write_constant(value: Any) -> str:
    """Any constant of a syntax tree."""
    kind = value.__class__
    if kind is str or kind is bytes:
        return write_string(value)
    if kind is int or kind is float or kind is complex:
        return write_number(value)
    return "..." if value is ... else repr(value)


def escape_text(text: str, quote: str = '"') -> str:
    """`text` as it stands between the quotes of a literal, on one line."""
    literal = repr(text)
    body = literal[1:-1]
    if literal[0] == "'":
        body = body.replace("\\'", "'")
    return body.replace(quote, "\\" + quote)


def escape_field_text(text: str, quote: str = '"') -> str:
    """The text of an f-string outside its fields: braces are doubled."""
    return escape_text(text, quote).replace("{", "{{").replace("}", "}}")


def escape_format_text(text: str, quote: str = '"') -> str:
    """The text of a format specification, where a doubled brace could also be two that close."""
    return escape_text(text, quote).replace("{", "\\x7b").replace("}", "\\x7d")
