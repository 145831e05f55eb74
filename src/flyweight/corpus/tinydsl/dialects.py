"""The two dialects: what one walk of the tree writes differently in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flyweight.corpus.tinydsl.vocabulary import Names, Words

DialectName = Literal["compact", "exact"]


@dataclass(frozen=True)
class Dialect:
    """The marks that a dialect writes or leaves out."""

    name: DialectName
    comma: str
    """Between arguments, parameters, elements, imported names."""
    call_begin: str
    call_end: str
    """Round a call where something follows that would belong to it."""
    names: Names = field(compare=False)
    """Python's names to the dialect's."""


DIALECTS: dict[str, Dialect] = {
    "compact": Dialect("compact", " ", "", "", Words()),
    "exact": Dialect("exact", ", ", "(", ")", Names()),
}
