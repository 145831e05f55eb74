"""The parser for text that nests deeper than Python's recursion limit lets the plain one go.

An expression in parentheses takes 18 calls of the parser, so 55 of them reach the limit of 1,000, while
Python itself reads 200. The limit cannot be raised for the time: it is one of the whole process, and in
Python 3.11 an `ast.parse` that runs in another thread meanwhile fails with SystemError. But each thread
counts its own calls, so this parser goes on in a new thread every few levels, and waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from flyweight.corpus.tinydsl.formatted import Field, Pieces, Surroundings
from flyweight.corpus.tinydsl.parsing_statements import StatementParser

LEVELS_A_THREAD = 60
"""A level is one call of a method below; from one to the next there are at most 10 calls."""

MOST_LEVELS = 8_000
"""More than `ast.parse` reads: 200 brackets of 4 levels, and 3,000 deep without brackets, of up to 2."""

Result = TypeVar("Result")


class DeepParser(StatementParser):
    """Counts levels in each method through which text can nest."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.level = 0

    def module(self) -> None:
        """Read all lines.

        Raises:
            NotTinyDSL: as StatementParser does.
            RecursionError: deeper than Python could read the result.
        """
        self._nested(super().module)

    def statement(self, depth: int) -> None:
        """One level for a statement."""
        self._nested(lambda: super(DeepParser, self).statement(depth))

    def pattern(self) -> str:
        """One level for a pattern."""
        return self._nested(super().pattern)

    def single(self) -> str:
        """One level for an expression."""
        return self._nested(super().single)

    def _negation(self) -> str:
        return self._nested(super()._negation)

    def _signed(self) -> str:
        return self._nested(super()._signed)

    def _atom(self) -> str:
        return self._nested(super()._atom)

    def field(self, position: int) -> tuple[Field, int]:
        """One level for a field of an f-string."""
        return self._nested(lambda: super(DeepParser, self).field(position))

    def python(self, pieces: Pieces, here: Surroundings) -> str | None:
        """One level for an f-string that is written."""
        return self._nested(lambda: super(DeepParser, self).python(pieces, here))

    def _nested(self, rule: Callable[[], Result]) -> Result:
        if self.level >= MOST_LEVELS:
            raise RecursionError
        self.level += 1
        try:
            return rule() if self.level % LEVELS_A_THREAD != 1 else _in_new_thread(rule)
        finally:
            self.level -= 1


def _in_new_thread(rule: Callable[[], Result]) -> Result:
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(rule())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads here
        raise RecursionError from None
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
