from __future__ import annotations

import itertools
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.corpus.generated.premises import Premises
from flyweight.corpus.generated.relations import (
    ANYTHING,
    COMPOSED,
    CONVERSE_WAYS,
    SYMBOLS,
    WAYS,
    Statement,
    canonical,
    entails,
    is_held_out,
    satisfiable,
)

HOLDS = {
    "<": operator.lt, "=": operator.eq, "<=": operator.le, ">": operator.gt, "!=": operator.ne, ">=": operator.ge,
}  # fmt: skip
RELATIONS = st.sampled_from(sorted(WAYS))
STATEMENTS = st.builds(
    lambda pair, relation: Statement(pair[0], relation, pair[1]),
    st.sampled_from(list(itertools.permutations("abcd", 2))),
    RELATIONS,
)


def is_true(statement: Statement, values: dict[str, int]) -> bool:
    return HOLDS[statement.relation](values[statement.left], values[statement.right])


def all_values(names: str) -> list[dict[str, int]]:
    """Numbers in every order that there is, ties included."""
    return [
        dict(zip(names, row, strict=True)) for row in itertools.product(range(len(names)), repeat=len(names))
    ]


FOUR = all_values("abcd")


@settings(deadline=None)
@given(statements=st.lists(STATEMENTS, max_size=7), conclusion=STATEMENTS)
def test_entailment_is_truth_under_all_values(statements: list[Statement], conclusion: Statement) -> None:
    models = [values for values in FOUR if all(is_true(statement, values) for statement in statements)]
    assert satisfiable(statements) == bool(models)
    assert entails(statements, conclusion) == all(is_true(conclusion, values) for values in models)


def test_entailment_through_two_ways_round() -> None:
    # s is below t or level with it on two paths whose middles differ: they cannot all be level.
    premises = [Statement(*words.split()) for words in ("s <= u", "s <= v", "u <= t", "v <= t", "u != v")]
    assert entails(premises, Statement("s", "<", "t"))
    assert not entails(premises[:-1], Statement("s", "<", "t"))


def test_a_statement_about_one_quantity() -> None:
    assert satisfiable([Statement("a", "<=", "a")])
    assert not satisfiable([Statement("a", "<", "a")])
    assert not satisfiable([Statement("a", "!=", "a")])


@given(values=st.tuples(st.integers(0, 5), st.integers(0, 5)), relation=RELATIONS)
def test_turned_says_the_same_and_denied_the_opposite(values: tuple[int, int], relation: str) -> None:
    statement = Statement("a", relation, "b")
    numbers = dict(zip("ab", values, strict=True))
    assert (
        is_true(statement.turned, numbers)
        == is_true(statement, numbers)
        != is_true(statement.denied, numbers)
    )
    assert canonical(statement) == canonical(statement.turned)
    assert canonical(statement) != canonical(statement.denied)


def test_composition_is_all_that_values_allow() -> None:
    """Over five levels there is room for every way that three quantities can stand."""
    for first, second in itertools.product(WAYS, WAYS):
        open_ways = 0
        for a, b, c in itertools.product(range(5), repeat=3):
            if b in (1, 2, 3) and HOLDS[first](a, b) and HOLDS[second](b, c):
                open_ways |= WAYS["<"] if a < c else WAYS["="] if a == c else WAYS[">"]
        assert COMPOSED[WAYS[first]][WAYS[second]] == open_ways
    for relation, ways in WAYS.items():
        assert SYMBOLS[CONVERSE_WAYS[ways]] == Statement("a", relation, "b").turned.relation


TREES = st.lists(st.tuples(st.integers(0, 100), RELATIONS), min_size=1, max_size=7)


@settings(max_examples=50, deadline=None)
@given(links=TREES)
def test_a_tree_of_premises_knows_what_follows(links: list[tuple[int, str]]) -> None:
    premises = Premises("abcdefgh")
    for i, (parent, relation) in enumerate(links):
        premises.attach(parent % (i + 1), relation)
    assert len(premises) == len(links) + 1
    assert satisfiable(premises.links)
    for first, last in itertools.permutations(range(len(premises)), 2):
        ways, hops = premises.compose(first, last)
        for relation, said in WAYS.items():
            follows = entails(premises.links, premises.state(first, relation, last))
            assert follows == (not ways & ~said & ANYTHING)
        chain = premises.chain(first, last)
        assert len(chain) == len(set(chain)) == hops
        assert set(chain) <= {canonical(link) for link in premises.links}
        known = premises.known(first, last)
        if known is None:
            assert ways == ANYTHING
        else:
            needed = [link for link in premises.links if canonical(link) in chain]
            assert entails(needed, known)
            for link in needed:
                rest = [other for other in premises.links if other != link]
                assert not entails(rest, known)  # every premise of the chain is needed


def test_one_chain_in_eight_is_held_out_in_any_order() -> None:
    chains = [(f"{a}<{b}", f"{b}={c}") for a, b, c in itertools.permutations("abcdefghijklmnop", 3)]
    share = sum(map(is_held_out, chains)) / len(chains)
    assert share == pytest.approx(1 / 8, abs=0.02)
    assert all(is_held_out(chain) == is_held_out(chain[::-1]) for chain in chains)
