"""Multiple-choice problems of logic: premises, four conclusions, and the one that must be true."""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from flyweight.base import UserError, derive_seed
from flyweight.corpus.generated.draws import Random, Weighted, different, pick, shuffled
from flyweight.corpus.generated.premises import (
    CONCLUSIONS,
    HOPS,
    Premises,
    add_others,
    draw_chain,
    pick_other_pair,
)
from flyweight.corpus.generated.relations import Statement, entails, is_held_out

OPTIONS = 4
"""Conclusions to choose from."""

OTHER_PREMISES = 3
"""Premises of a problem beside those that its answer needs."""

LETTERS = (tuple(string.ascii_lowercase), tuple(string.ascii_uppercase))
"""Names of the quantities in evaluation: those of one problem are all small or all capital letters."""

_PLENTY_OF_TRIES = 2_000


@dataclass(frozen=True)
class Problem:
    """Premises and four conclusions, exactly one of which follows."""

    premises: tuple[Statement, ...]
    """In the order in which they are shown."""
    options: tuple[Statement, ...]
    """The four conclusions."""
    answer: int
    """The place of the one that follows."""
    hops: int
    """Premises that the answer needs."""
    chain: tuple[str, ...]
    """These premises in canonical form: what held-out problems and training text never share."""

    @property
    def context(self) -> str:
        """What the model is given: "Premises: a < b, c > b. Conclusion:"."""
        return f"Premises: {', '.join(map(str, self.premises))}. Conclusion:"

    @property
    def endings(self) -> tuple[str, ...]:
        """The options as they go on from the context, each with a space before it."""
        return tuple(f" {option}" for option in self.options)


def evaluation_problems(hops: int, count: int, seed: int) -> list[Problem]:
    """`count` different problems whose chains are held out from all training text.

    That the answer follows and the other options do not is known by construction (`premises`); an
    independent decision procedure (`relations.entails`) is asked again about every option.

    Args:
        hops: premises that the answer needs, 1 to 5.
        count: how many.
        seed: the run's seed; evaluation draws from a stream of its own.

    Raises:
        UserError: another number of hops, or fewer problems than `count`.
    """
    if hops not in HOPS:
        raise UserError(
            f"logic problems of {hops} hops: there are none; known are {', '.join(map(str, HOPS))} hops."
        )
    rng = random.Random(derive_seed(seed, "logic", "evaluation", hops))
    problems: dict[str, Problem] = {}
    tries = 0
    while len(problems) < count:
        problem = _held_out_problem(rng, hops)
        tries = tries + 1 if problem.context in problems else 0
        problems.setdefault(problem.context, problem)
        if tries > _PLENTY_OF_TRIES:
            raise UserError(
                f"logic problems of {hops} hops: {count:,} were asked for, there are about {len(problems):,}."
            )
    return list(problems.values())


def _held_out_problem(rng: Random, hops: int) -> Problem:
    for _ in range(_PLENTY_OF_TRIES):
        premises = draw_chain(
            rng,
            different(rng, pick(rng, LETTERS), hops + OTHER_PREMISES + 1),
            hops,
            CONCLUSIONS.draw(rng),
        )
        chain = premises.chain(0, hops)
        if not is_held_out(chain):
            continue
        add_others(rng, premises, OTHER_PREMISES)
        drawn = draw_options(rng, premises, hops)
        if drawn is None:
            continue
        options, answer = drawn
        shown = write_premises(rng, premises, tidy=False)
        follows = [entails(shown, option) for option in options]
        assert follows == [place == answer for place in range(OPTIONS)], (shown, options, answer)
        return Problem(tuple(shown), tuple(options), answer, hops, tuple(sorted(chain)))
    raise AssertionError(f"no held-out problem of {hops} hops in {_PLENTY_OF_TRIES} tries")


# Each relation comes as often as its opposite, so that the relation alone does not tell the answer:
# `<` against `>=` is one problem in five, as is `<=` against `>`.
_AGAINST: dict[str, Weighted[str]] = {
    "<": Weighted((0.6, ">"), (0.4, ">=")),
    "<=": Weighted((1.0, ">")),
    "=": Weighted((1.0, "!=")),
    "!=": Weighted((1.0, "=")),
}


def draw_options(rng: Random, premises: Premises, hops: int) -> tuple[list[Statement], int] | None:
    """Four conclusions in random order and the place of the one that follows.

    They are the conclusion for the ends of the chain (quantities 0 and `hops`) and one that excludes
    it, and the same two about another pair, for which neither follows. So the answer needs both:
    which pair is settled, and which way. None if there is no such pair.
    """
    right = premises.known(0, hops)
    assert right is not None
    against = _AGAINST[right.relation].draw(rng)
    other = pick_other_pair(rng, premises, (0, hops), (right.relation, against))
    if other is None:
        return None
    options = [
        right,
        premises.state(0, against, hops),
        premises.state(other[0], right.relation, other[1]),
        premises.state(other[0], against, other[1]),
    ]
    order = shuffled(rng, range(OPTIONS))
    return [turn_half(rng, options[place]) for place in order], order.index(0)


def write_premises(rng: Random, premises: Premises, tidy: bool) -> list[Statement]:
    """The premises as they are shown.

    Args:
        rng: decides on order and direction.
        premises: what is said.
        tidy: in the order in which they hang together, all read the same way; otherwise in any order,
            each from either side.
    """
    if not tidy:
        return [turn_half(rng, link) for link in shuffled(rng, premises.links)]
    if rng.random() < 0.5:
        return list(premises.links)
    return [link.turned for link in reversed(premises.links)]


def turn_half(rng: Random, statement: Statement) -> Statement:
    """The statement, from the other side half of the time."""
    return statement.turned if rng.random() < 0.5 else statement
