"""Programs made at random: the exact dialect brings every one of them back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tinydsl_programs import tree

from flyweight.corpus.tinydsl import denormalize, normalize

names = st.sampled_from(
    ["a", "b", "x1", "_", "len", "str", "length", "length_", "string", "begin", "end", "call", "function", "match",
     "type", "case", "comprehension", "list", "set", "generator", "dictionary", "dict", "é", "print"]
)  # fmt: skip
numbers = st.one_of(
    st.integers(0, 10**30).map(str),
    st.floats(0, allow_nan=False).map(lambda value: repr(value).replace("inf", "1e999")),
    st.floats(0, allow_nan=False, allow_infinity=False).map(lambda value: repr(value) + "j"),
)
strings = st.one_of(
    st.text(st.characters(exclude_characters="\0"), max_size=8).map(ascii),
    st.binary(max_size=6).map(repr),
    st.text("'\"\\{}\n\t!:aé\ud800", max_size=6).map(repr),
)
atoms = st.one_of(names, names, numbers, strings, st.sampled_from(["None", "True", "...", "()", "[]", "{}"]))
binary = st.sampled_from(
    ["+", "-", "*", "/", "//", "%", "@", "**", "<<", ">>", "&", "|", "^", "and", "or", "<", ">", "==", "!=",
     ">=", "<=", "in", "not in", "is", "is not"]
)  # fmt: skip


def in_f_string(text: str) -> bool:
    """Whether every Python that we support takes it inside an f-string."""
    return not any(character in text for character in "'\"\\\n#")


def f_string(first: str, second: str, text: str) -> str:
    start = text.encode("unicode_escape").decode()
    start = start.replace("{", "{{").replace("}", "}}").replace("'", "\\'")
    if not (in_f_string(first) and in_f_string(second)):
        return f"({first}, {second})"
    return f"f'{start}{{({first})!r:>{{({second})}}}}{{({second})}}'"


def unprinted(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The same strategy; hypothesis does not see what is in it when it prints what failed.

    Each level of a recursive strategy would print the one below it dozens of times: gigabytes.
    """
    return st.none().flatmap(lambda _: strategy)


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Larger expressions: children stand in parentheses, so that every nesting occurs."""
    inner = unprinted(inner)
    child = st.one_of(names, inner.map("({})".format))
    build = st.builds
    return st.one_of(
        build("{} {} {}".format, child, binary, child),
        build("{} {} {} {} {}".format, child, binary, child, binary, child),
        build("{}{}".format, st.sampled_from(["-", "+", "~", "not "]), child),
        build("{} if {} else {}".format, child, child, child),
        build("lambda {}, /, *b, c={}: {}".format, st.sampled_from(["a", "length"]), child, child),
        build("{}({}, {})".format, child, child, child),
        build("{}({})".format, child, inner),
        build("{}()".format, child),
        build("{}(*{}, {}={}, **{})".format, child, child, names, child, child),
        build("{}.{}".format, child, names),
        build("{}[{}]".format, child, inner),
        build("{}[{}:{}, ::{}]".format, child, child, child, child),
        build("[{} for {} in {}]".format, child, names, child),
        build(
            "({} for {}, *_ in {} if {} if {} for a in {})".format, child, names, child, child, child, child
        ),
        build("{{{}: {} for {} in {} if {}}}".format, child, child, names, child, child),
        build("{{{} for {} in {}}}".format, child, names, child),
        build("{{{}: {}, **{}}}".format, child, child, child),
        build("{{{}, *{}}}".format, child, child),
        build("[{}, *{}, {}]".format, child, child, child),
        build("({}, {})".format, child, child),
        build("({},)".format, child),
        build("({} := {})".format, names, child),
        build("(yield {})".format, inner),
        build("(yield from {})".format, child),
        build("(await {})".format, child),
        build(f_string, inner, inner, st.text("'\\{}\n\taé\"", max_size=4)),
    )


expressions = unprinted(st.recursive(atoms, compound, max_leaves=12))
targets = st.one_of(
    names,
    st.builds("({}).{}".format, expressions, names),
    st.builds("{}[{}], *{}".format, names, expressions, names),
)
patterns = st.recursive(
    st.sampled_from(["_", "1", "-2.5", "None", "'x'", "a.b", "length", "1 + 2j"]),
    lambda inner: st.one_of(
        st.builds("({} as end)".format, inner.filter(lambda text: text not in ("_", "length"))),
        st.builds("[{}, *_]".format, inner),
        st.builds("{{'k': {}, **end_}}".format, inner),
        st.builds("call({}, len={})".format, inner, inner),
    ),
    max_leaves=4,
)
Block = list[str]


def simple(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[Block]:
    return st.builds(template.format, *parts).map(lambda line: [line])


simple_statements = st.one_of(
    simple("{}", expressions),
    simple("{} = {}", targets, expressions),
    simple("{} += {}", names, expressions),
    simple("{}: {} = {}", names, expressions, expressions),
    simple("({}): {}", names, expressions),
    simple("return {}, {}", expressions, expressions),
    simple("raise {} from {}", expressions, expressions),
    simple("assert {}, {}", expressions, expressions),
    simple("del {}", names),
    simple("import {}.{} as {}, {}", names, names, names, names),
    simple("from ..{} import {}, {} as {}", names, names, names, names),
    simple("global {}, {}", names, names),
    st.sampled_from([["pass"], ["'text'"], ["break"], ["from . import *"]]),
)


def suites(inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    inner = unprinted(inner)
    suite = st.lists(inner, min_size=1, max_size=2).map(
        lambda blocks: [" " + line for block in blocks for line in block]
    )

    def headed(template: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[Block]:
        return st.builds(lambda head, body: [*head, *body], simple(template, *parts), suite)

    def joined(*blocks: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
        return st.tuples(*blocks).map(lambda parts: [line for block in parts for line in block])

    child = expressions
    return st.one_of(
        joined(headed("if {}:", child), headed("elif {}:", child), headed("else:")),
        joined(headed("if {}:", child), headed("else:")),
        joined(headed("for {} in {}:", targets, child), headed("else:")),
        joined(headed("while {}:", child), headed("else:")),
        headed("async for {} in {}:", names, child),
        headed("with {}, {} as {}, {}:", child, child, names, child),
        joined(headed("try:"), headed("except {} as {}:", child, names), headed("else:"), headed("finally:")),
        joined(headed("try:"), headed("except* {}:", child)),
        joined(simple("@{}", child), headed("def {}({}, *a, b={}) -> {}:", names, names, child, child)),
        headed("async def {}({}={}, /, **k):", names, names, child),
        headed("class {}({}, metaclass={}):", names, child, child),
        headed("match {}:\n case {} if {}:", child, patterns, child).map(
            lambda lines: [*lines[0].split("\n"), *(" " + line for line in lines[1:])]
        ),
    )


blocks = st.recursive(simple_statements, suites, max_leaves=5)


def comes_back(source: str) -> None:
    text = normalize(source, "exact")
    back = denormalize(text)
    assert tree(back) == tree(source), text
    assert normalize(back, "exact") == text
    normalize(source, "compact")


def program_of(parts: list[Block]) -> str:
    return "\n".join(line for block in parts for line in block)


programs = st.lists(blocks, max_size=2).map(program_of)

some = settings(
    max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None
)
# The same programs every time: this runs for minutes, unattended, beside other tests.
many = settings(some, max_examples=500, derandomize=True)


@some
@given(expressions)
def test_expressions_come_back(source: str) -> None:
    comes_back(f"x = {source}")


@some
@given(programs)
def test_programs_come_back(source: str) -> None:
    comes_back(source)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@many
@given(expressions)
def test_many_expressions_come_back(source: str) -> None:
    comes_back(f"x = {source}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@many
@given(programs)
def test_many_programs_come_back(source: str) -> None:
    comes_back(source)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="\0")), st.binary())
def test_strings_come_back(text: str, data: bytes) -> None:
    source = f"{text.encode('unicode_escape', 'surrogatepass')!r}; {text!a}, {data!r}"
    line = normalize(source, "exact")
    assert line.count("\n") == 1
    line.encode()
    assert tree(denormalize(line)) == tree(source)
