"""What a user may set about answers: names, ranges, meanings. The terminal and the page read the same table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from flyweight.base import UserError
from flyweight.inference import Sampling


@dataclass(frozen=True)
class Setting:
    """One thing that can be set."""

    name: str
    minimum: float
    maximum: float
    step: float
    """By which the page's arrows change it."""
    meaning: str
    whole: bool = False
    """Whether only whole numbers will do."""
    above: bool = False
    """Whether the minimum itself is out of range."""

    def checked(self, value: object) -> float | int:
        """`value` as this setting's number.

        Raises:
            UserError: another kind of value, or out of range.
        """
        number = _number(value, self.whole)
        if number is None or not self._in_range(number):
            raise UserError(f"{self.name} is {_shown(value)}; expected {self.range}.")
        return number

    def parsed(self, text: str) -> float | int:
        """The number that `text` says.

        Raises:
            UserError: no number, or out of range.
        """
        try:
            value: float | int = int(text) if self.whole else float(text)
        except ValueError:
            raise UserError(f"{self.name} is {_shown(text)}; expected {self.range}.") from None
        return self.checked(value)

    def _in_range(self, number: float) -> bool:
        return self.minimum <= number <= self.maximum and not (self.above and number == self.minimum)

    @property
    def range(self) -> str:
        """The range in words."""
        kind = "a whole number from" if self.whole else "a number above" if self.above else "a number from"
        return f"{kind} {self.minimum:,.10g} to {self.maximum:,.10g}"


def _number(value: object, whole: bool) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not whole:
        # Whole numbers may be too large for a float; they are out of every range then.
        return float(value) if isinstance(value, float) or abs(value) < 2**1000 else None
    if isinstance(value, int):
        return value
    return int(value) if math.isfinite(value) and value == int(value) else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


SETTINGS = (
    Setting("temperature", 0, 100, 0.1, "0 takes the most likely token each time; above 1 is bolder."),
    Setting(
        "top_p", 0, 1, 0.05, "Draw from the likeliest tokens that make up this much; 1: all.", above=True
    ),
    Setting("top_k", 0, 10**6, 1, "Draw from this many of the likeliest tokens; 0: all.", whole=True),
    Setting("repetition_penalty", 0.01, 100, 0.05, "Above 1: what was said becomes less likely."),
    Setting(
        "no_repeat_ngram_size", 0, 1000, 1, "No run of so many tokens comes twice; 0: no limit.", whole=True
    ),
    Setting("max_new_tokens", 1, 10**6, 1, "An answer has at most this many tokens.", whole=True),
    # The largest number up to which a page's numbers are exact.
    Setting("seed", 0, 2**53 - 1, 1, "The same seed gives the same answers.", whole=True),
)
"""In the order in which they are shown."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Settings:
    """How answers are written; every value is in its range."""

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for setting in SETTINGS:
            object.__setattr__(self, setting.name, setting.checked(getattr(self, setting.name)))

    @property
    def sampling(self) -> Sampling:
        """What of it decides how a token is drawn."""
        return Sampling(
            self.temperature,
            self.top_p,
            self.top_k,
            self.repetition_penalty,
            self.no_repeat_ngram_size,
        )

    def to_dict(self) -> dict[str, float | int]:
        """By name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """With other values.

        Raises:
            UserError: a name that is not known, or a value out of its range.
        """
        for name in values:
            named(name)
        return replace(self, **values)


def named(name: str) -> Setting:
    """The setting of that name.

    Raises:
        UserError: there is none.
    """
    if name not in _BY_NAME:
        raise UserError(f"there is no setting {_shown(name)}; expected {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]
