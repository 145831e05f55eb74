"""Premises that hang together as a tree, so that what follows for any two quantities is known by construction.

Every premise brings in one new quantity. Between two quantities there is then one path of premises;
all others hang off it, and can be made true whatever values the path has, in an order without ends
or gaps. So exactly that follows for the two which the path's relations compose to, and every premise
of the path is needed for it: its length is the number of hops.
"""

from __future__ import annotations

from collections.abc import Sequence

from flyweight.corpus.generated.draws import Random, Weighted, between, pick
from flyweight.corpus.generated.relations import (
    ABOVE,
    ANYTHING,
    BELOW,
    COMPOSED,
    CONVERSE_WAYS,
    LEVEL,
    SYMBOLS,
    WAYS,
    Statement,
    canonical,
)

HOPS: tuple[int, ...] = (1, 2, 3, 4, 5)
"""Premises between the two quantities of a question."""

Pair = tuple[int, int]


class Premises:
    """A tree of premises over the quantities `names`, the first one its root.

    Attributes:
        names: the quantities that there are names for.
        links: the premise that brought in quantity i + 1, from its parent's side.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.links: list[Statement] = []
        self._parents: list[int] = [0]
        self._steps: list[int] = [LEVEL]

    def __len__(self) -> int:
        """How many quantities are in use."""
        return len(self._parents)

    def attach(self, parent: int, relation: str) -> None:
        """Bring in the next quantity: `parent` `relation` it."""
        names = self.names
        self.links.append(Statement(names[parent], relation, names[len(self._parents)]))
        self._parents.append(parent)
        self._steps.append(WAYS[relation])

    def compose(self, first: int, last: int) -> tuple[int, int]:
        """The ways that are open for two quantities, and the number of premises between them."""
        before = after = LEVEL  # from `first` to where the one climb is, and from the other to `last`
        hops = 0
        while first != last:  # a parent always has the lower number
            hops += 1
            if first > last:
                before = COMPOSED[before][CONVERSE_WAYS[self._steps[first]]]
                first = self._parents[first]
            else:
                after = COMPOSED[self._steps[last]][after]
                last = self._parents[last]
        return COMPOSED[before][after], hops

    def chain(self, first: int, last: int) -> list[str]:
        """The canonical texts of the premises between two quantities."""
        found = []
        while first != last:
            if first < last:
                first, last = last, first
            found.append(canonical(self.links[first - 1]))
            first = self._parents[first]
        return found

    def rises(self) -> list[int]:
        """How much more often each quantity is on the greater side of a premise than on the less."""
        found = [0] * len(self)
        for i, (parent, step) in enumerate(zip(self._parents, self._steps, strict=True)):
            rise = (step & BELOW) - (step & ABOVE) // ABOVE
            found[i] += rise
            found[parent] -= rise
        return found

    def known(self, first: int, last: int) -> Statement | None:
        """All that follows for two quantities; None where everything is open."""
        ways, _ = self.compose(first, last)
        return None if ways == ANYTHING else self.state(first, SYMBOLS[ways], last)

    def state(self, first: int, relation: str, last: int) -> Statement:
        """A statement of two quantities, true or not."""
        return Statement(self.names[first], relation, self.names[last])

    def pairs(self) -> list[Pair]:
        """All pairs of quantities in use, the lower number first."""
        return [(i, j) for j in range(1, len(self)) for i in range(j)]


CONCLUSIONS = Weighted((0.5, "<"), (0.2, "<="), (0.15, "="), (0.15, "!="))
"""The relation that a chain composes to, read from one of its ends."""

_STEPS: dict[str, Weighted[str]] = {
    "<": Weighted((0.6, "<"), (0.2, "<="), (0.2, "=")),
    "<=": Weighted((0.6, "<="), (0.4, "=")),
    "=": Weighted((1.0, "=")),
    "!=": Weighted((1.0, "=")),
}
_ANY_RELATION = Weighted((0.3, "<"), (0.3, ">"), (0.1, "<="), (0.1, ">="), (0.1, "="), (0.1, "!="))


def draw_chain(rng: Random, names: Sequence[str], hops: int, conclusion: str) -> Premises:
    """Quantities 0 to `hops` in a row, so that 0 `conclusion` `hops` is all that follows for the ends.

    Args:
        rng: decides on the steps.
        names: at least hops + 1 different names.
        hops: the number of premises.
        conclusion: one of < <= = !=.
    """
    steps = [_STEPS[conclusion].draw(rng) for _ in range(hops)]
    if conclusion not in steps:  # a chain is as strict as its strictest step
        steps[int(rng.random() * hops)] = conclusion
    premises = Premises(names)
    for i, step in enumerate(steps):
        premises.attach(i, step)
    return premises


def add_others(rng: Random, premises: Premises, count: int) -> None:
    """Hang `count` more quantities with any relation onto any of those in use."""
    for _ in range(count):
        premises.attach(between(rng, 0, len(premises) - 1), _ANY_RELATION.draw(rng))


def pick_other_pair(rng: Random, premises: Premises, pair: Pair, relations: Sequence[str]) -> Pair | None:
    """Another pair of quantities, for which none of `relations` follows; None if there is none.

    Of such pairs it is the one most like `pair` on the surface: as many hops apart, and its second
    quantity as much more often on the greater side of a premise than its first. So neither nearness
    nor counting tells the two apart.
    """
    _, hops = premises.compose(*pair)
    rises = premises.rises()
    lead = rises[pair[1]] - rises[pair[0]]
    found: list[Pair] = []
    least = 1_000
    for i, j in premises.pairs():
        if {i, j} == set(pair):
            continue
        for first, last in ((i, j), (j, i)):
            ways, away = premises.compose(first, last)
            if not all(ways & ~WAYS[relation] for relation in relations):
                continue
            unlike = abs(away - hops) + abs(rises[last] - rises[first] - lead)
            if unlike < least:
                found, least = [], unlike
            if unlike == least:
                found.append((first, last))
    return pick(rng, found) if found else None
