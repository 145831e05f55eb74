"""Whole numbers in English words."""

from __future__ import annotations

from functools import lru_cache

_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
BOUND = 1_000_000
"""The numbers in words lie below it."""


@lru_cache(maxsize=4096)
def in_words(number: int) -> str:
    """A whole number of less than a million either way: "one hundred and five", "minus three"."""
    if number < 0:
        return f"minus {in_words(-number)}"
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return f"{_TENS[tens]}-{_SMALL[ones]}" if ones else _TENS[tens]
    size, name = (100, "hundred") if number < 1_000 else (1_000, "thousand")
    many, rest = divmod(number, size)
    text = f"{in_words(many)} {name}"
    if not rest:
        return text
    return f"{text} and {in_words(rest)}" if rest < 100 else f"{text} {in_words(rest)}"
