"""Relations between two quantities (=, !=, <, >, <=, >=), and what follows from statements of them.

A relation is a set of the three ways in which two quantities can stand to each other (below, level,
above): "<=" is {below, level}. Two things follow from that. Relations along a chain compose: what
a R b and b S c leave open for a and c. And statements entail a conclusion when the statements and
the conclusion's opposite cannot be true together, which a graph's closure decides (`entails`).
The two are independent: the text is made with the first and checked with the second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

BELOW, LEVEL, ABOVE = 1, 2, 4
ANYTHING = BELOW | LEVEL | ABOVE

WAYS: dict[str, int] = {"<": 1, "=": 2, "<=": 3, ">": 4, "!=": 5, ">=": 6}
"""The ways that each relation leaves open, as bits."""

SYMBOLS: dict[int, str] = {ways: symbol for symbol, ways in WAYS.items()}
"""The relation of each set of ways; none of the empty set and of all three."""

CONVERSE: dict[str, str] = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
"""How b stands to a when a stands so to b."""

HELD_OUT_IN = 8
"""One chain of premises in this many is held out."""

_SPLIT_KEY = b"flyweight logic split 1"


class Statement(NamedTuple):
    """Two quantities and how they stand: "a < b"."""

    left: str
    relation: str
    """One of = != < > <= >=."""
    right: str

    @property
    def turned(self) -> Statement:
        """The same from the other side: "b > a"."""
        return Statement(self.right, CONVERSE[self.relation], self.left)

    @property
    def denied(self) -> Statement:
        """The opposite: "a >= b"."""
        return Statement(self.left, SYMBOLS[ANYTHING - WAYS[self.relation]], self.right)

    def __str__(self) -> str:
        return f"{self.left} {self.relation} {self.right}"


def _compose(first: int, second: int) -> int:
    """What a `first` b and b `second` c leave open for a and c, in an order without ends or gaps."""
    open_ways = 0
    for one in (BELOW, LEVEL, ABOVE):
        for other in (BELOW, LEVEL, ABOVE):
            if first & one and second & other:
                if one == LEVEL:
                    open_ways |= other
                elif other in (LEVEL, one):
                    open_ways |= one
                else:
                    open_ways |= ANYTHING
    return open_ways


COMPOSED: tuple[tuple[int, ...], ...] = tuple(tuple(_compose(a, b) for b in range(8)) for a in range(8))
"""COMPOSED[first][second]: the ways that are open for a and c, by those for a, b and for b, c."""

CONVERSE_WAYS: tuple[int, ...] = tuple(
    (ways & LEVEL) | (ABOVE if ways & BELOW else 0) | (BELOW if ways & ABOVE else 0) for ways in range(8)
)
"""The ways for b and a, by those for a and b."""


@lru_cache(maxsize=1 << 15)
def canonical(statement: Statement) -> str:
    """A text that is the same from whichever side the statement is made: "a<b" of "b > a"."""
    left, relation, right = statement
    if relation in (">", ">=") or (relation in ("=", "!=") and right < left):
        left, relation, right = statement.turned
    return f"{left}{relation}{right}"


def is_held_out(chain: Iterable[str]) -> bool:
    """Whether the inference from the premises of a chain to its ends belongs to evaluation.

    A chain is named by its premises' `canonical` texts, in any order: names of the quantities
    included, but neither the wording nor other premises around it. A keyed hash decides; it depends
    on no seed, so that every model that was trained on generated logic can be measured on the same items.
    """
    text = ";".join(sorted(chain))
    digest = hashlib.blake2b(text.encode(), key=_SPLIT_KEY, digest_size=1).digest()
    return digest[0] % HELD_OUT_IN == 0


def entails(premises: Sequence[Statement], conclusion: Statement) -> bool:
    """Whether the conclusion is true whenever all premises are.

    Complete for these six relations: the premises and the opposite of the conclusion are one more
    set of statements of the same kind, and `satisfiable` decides that.
    """
    return not satisfiable([*premises, conclusion.denied])


def satisfiable(statements: Iterable[Statement]) -> bool:
    """Whether numbers exist that make all statements true.

    They do unless a cycle of "at most" has a "less" in it, or goes through both sides of a "not
    equal": otherwise the quantities of each cycle are given one number and the cycles an order that
    agrees with the arrows between them, all different.
    """
    statements = list(statements)
    number = {name: i for i, name in enumerate({name for s in statements for name in (s.left, s.right)})}
    at_most = [1 << i for i in range(len(number))]  # row i: a bit for every quantity that i is at most
    less: list[tuple[int, int]] = []
    different: list[tuple[int, int]] = []
    for left, relation, right in statements:
        a, b = number[left], number[right]
        if relation in (">", ">="):
            a, b = b, a
        if relation == "!=":
            different.append((a, b))
            continue
        at_most[a] |= 1 << b
        if relation == "=":
            at_most[b] |= 1 << a
        elif relation in ("<", ">"):
            less.append((a, b))
    for through in range(len(at_most)):
        for i, row in enumerate(at_most):
            if row >> through & 1:
                at_most[i] = row | at_most[through]
    return not any(at_most[b] >> a & 1 for a, b in less) and not any(
        at_most[a] >> b & at_most[b] >> a & 1 for a, b in different
    )
