"""Numbers as people write them: "75B", "2000 x 512 x 1024", "80%", "50GB"."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_TOKEN_SUFFIX = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_BYTE_SUFFIX = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_NUMBER = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)")


def _parse_quantity(text: str, suffixes: dict[str, int], example: str) -> Decimal:
    match = _NUMBER.fullmatch(text.strip())
    if match is None or match[2].upper() not in suffixes:
        raise ValueError(f"{text.strip()!r} is not a number such as {example}")
    try:
        return Decimal(re.sub("[_,]", "", match[1])) * suffixes[match[2].upper()]
    except InvalidOperation:  # pragma: no cover - the pattern admits only numbers
        raise ValueError(f"{text!r} is not a number such as {example}") from None


def _whole(value: Decimal, text: object) -> int:
    if not value.is_finite() or value != value.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number")
    return int(value)


def parse_tokens(value: Any) -> int:
    """Tokens from a number or text: `75B`, `1.5e9`, `2000 x 512 x 1024`, `3 x 1K + 500`.

    Products read as "steps x sequences x tokens", sums as one stage after another. The arithmetic
    is exact.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number of tokens such as 75B")
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return _whole(Decimal(repr(value)), value)
    total = Decimal(0)
    for term in value.split("+"):
        product = Decimal(1)
        for factor in re.split(r"\s*[x×*]\s*", term.strip()):
            product *= _parse_quantity(factor, _TOKEN_SUFFIX, "75B or 2000 x 512 x 1024")
        total += product
    return _whole(total, value)


def parse_bytes(value: Any) -> int:
    """Bytes from a number or text: `50GB` (10^9 each), `2GiB` (2^30 each)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number of bytes such as 50GB")
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return _whole(Decimal(repr(value)), value)
    return _whole(_parse_quantity(value, _BYTE_SUFFIX, "50GB"), value)


def parse_percent(value: Any) -> Decimal | None:
    """`"80%"` as Decimal("0.8"); None when `value` is not a percentage."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return None
    return _parse_quantity(value.strip()[:-1], {"": 1}, "80%") / 100


def format_tokens(tokens: int | float) -> str:
    """A short text for people: 75000000000 is `75B`, 5158464 is `5.158M`."""
    for suffix in ("T", "B", "M", "K"):
        if abs(tokens) >= _TOKEN_SUFFIX[suffix]:
            return f"{tokens / _TOKEN_SUFFIX[suffix]:.4g}{suffix}"
    return f"{tokens:.4g}"


def format_bytes(size: int | float) -> str:
    """A short text for people, in powers of ten: 1500000 is `1.5MB`."""
    for suffix in ("TB", "GB", "MB", "KB"):
        if abs(size) >= _BYTE_SUFFIX[suffix]:
            return f"{size / _BYTE_SUFFIX[suffix]:.3g}{suffix}"
    return f"{size:.0f}B"


Tokens = Annotated[int, BeforeValidator(parse_tokens), Field(ge=0)]
"""A number of tokens on the clock of a run."""

Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0)]
