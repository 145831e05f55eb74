"""Markdown that says what was meant: text is escaped, fences are longer than what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def section(title: str, text: str) -> str:
    """A part with a heading; nothing at all where there is nothing to say."""
    return f"## {title}\n\n{text}" if text else ""


def inline(text: str) -> str:
    """Text on one line that Markdown and HTML leave as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table; cells are escaped, headings are not.

    Args:
        header: a heading a column.
        rows: of as many cells.
        left: columns that hold text; the others hold numbers and stand on the right.
    """
    rule = [" --- "] * left + [" ---: "] * (len(header) - left)
    lines = ["| " + " | ".join(header) + " |", f"|{'|'.join(rule[: len(header)])}|"]
    return "\n".join([*lines, *("| " + " | ".join(map(inline, row)) + " |" for row in rows)])


def fenced(text: str, language: str) -> str:
    """A code block with a fence longer than any that the text holds."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def code(text: str) -> str:
    """A name in a line of text, set as code."""
    text = " ".join(text.split())
    ticks = "`" * (1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"
