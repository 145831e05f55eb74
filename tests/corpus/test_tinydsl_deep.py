"""Whatever normalises exactly also comes back, however deep it nests."""

from __future__ import annotations

import ast
import contextlib
import sys
import threading
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinydsl_programs import tree

from flyweight.corpus.tinydsl import NotNormalisable, NotTinyDSL, denormalize, normalize

AROUND = {
    "call": ("f(", ")"),
    "keyword": ("f(a=", ")"),
    "named": ("f(a := ", ")"),
    "starred": ("f(*a or ", ")"),
    "parentheses": ("(1 + ", ")"),
    "tuple": ("(", ",)"),
    "list": ("[", "]"),
    "set": ("{", "}"),
    "dictionary": ("{1: ", "}"),
    "subscript": ("a[", "]"),
    "slice": ("a[1:", ":2]"),
    "list comprehension": ("[", " for a in b]"),
    "source of a comprehension": ("[a for a in ", "]"),
    "generator": ("f(a for a in ", ")"),
    "dictionary comprehension": ("{1: ", " for a in b}"),
    "lambda": ("lambda a: ", ""),
    "default": ("(lambda a=", ": a)"),
    "conditional": ("1 if a else ", ""),
    "condition": ("(1 if ", " else b)"),
    "not": ("not ", ""),
    "sign": ("-", ""),
    "power": ("a ** ", ""),
    "comparison": ("a < (", ")"),
    "await": ("await (", ")"),
    "yield": ("(yield ", ")"),
    "or": ("a or (", ")"),
    "attribute": ("", ".b"),
    "method": ("", ".b(1)"),
    "called": ("", "()"),
    "item": ("", "[0]"),
    "sum": ("", " + a"),
}
CORES = ["a", "1 .real", "()", 'f"{a!r:>{b}}"', 'f"{[a, {1: lambda: b}]}"']
DEPTHS = [1, 30, 53, 62, 89, 91, 120, 180, 198, 199, 200, 400, 900, 985, 1500, 3000]


def nested(kinds: list[str], depth: int, core: str) -> str:
    """`depth` expressions round `core`, of these kinds in turn."""
    pairs = [AROUND[kinds[place % len(kinds)]] for place in range(depth)]
    return "".join(begin for begin, _ in pairs) + core + "".join(end for _, end in reversed(pairs))


def in_blocks(statement: str, blocks: int) -> str:
    return "".join(" " * depth + "if a:\n" for depth in range(blocks)) + " " * blocks + statement


def assert_comes_back_or_is_refused(source: str) -> bool:
    """Whether it came back."""
    try:
        text = normalize(source, "exact")
    except NotNormalisable:
        return False
    back = denormalize(text)
    assert normalize(back, "exact") == text
    with contextlib.suppress(RecursionError):  # of ast.dump; the same text is the same tree
        assert tree(back) == tree(source)
    return True


@pytest.mark.parametrize("kind", AROUND)
def test_one_kind_comes_back_at_every_depth_or_is_refused(kind: str) -> None:
    for core in CORES[:2]:
        back = [
            depth for depth in DEPTHS if assert_comes_back_or_is_refused(f"x = {nested([kind], depth, core)}")
        ]
        assert back[:5] == DEPTHS[:5]
        assert back == DEPTHS[: len(back)]


@given(
    st.lists(st.sampled_from(sorted(AROUND)), min_size=1, max_size=5),
    st.integers(1, 260) | st.integers(1, 3000),
    st.sampled_from(CORES),
    st.sampled_from([0, 0, 50, 98]),
)
@settings(deadline=None, max_examples=150)
def test_any_nesting_comes_back_or_is_refused(kinds: list[str], depth: int, core: str, blocks: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_comes_back_or_is_refused(in_blocks(f"x = {nested(kinds, depth, core)}", blocks))


@pytest.mark.parametrize("begin", ["A(", "[", "{1: "])
def test_deep_patterns_come_back(begin: str) -> None:
    end = {"A(": ")", "[": "]", "{1: ": "}"}[begin]
    back = [
        depth
        for depth in DEPTHS
        if assert_comes_back_or_is_refused(f"match a:\n case {begin * depth}b{end * depth}: pass")
    ]
    assert back[-1] >= 180


def test_what_python_would_not_read_back_is_refused() -> None:
    source = nested(["named"], 120, "1")
    ast.parse(source)
    with pytest.raises(NotNormalisable) as caught:  # our text has two brackets for each of its brackets
        normalize(source, "exact")
    assert caught.value.reason == "nested too deep"
    assert assert_comes_back_or_is_refused(nested(["named"], 98, "1"))


def test_threads_do_not_disturb_each_other() -> None:
    text = normalize(nested(["call", "parentheses"], 180, "a"), "exact")
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                denormalize(text)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.timeout(60)
def test_f_strings_in_f_strings_take_no_exponential_time() -> None:
    text = 'f"{' * 40 + "a" + '}"' * 40
    if sys.version_info >= (3, 12):
        assert normalize(denormalize(text), "exact") == text
    else:
        with pytest.raises(NotTinyDSL, match="f-string"):
            denormalize(text)
