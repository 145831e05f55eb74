from __future__ import annotations

import ast
import random
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.generated import expressions
from flyweight.corpus.generated.arithmetic import (
    FORMS,
    OPERANDS,
    Form,
    Problem,
    distractors,
    evaluation_problems,
    held_out_documents,
    training_documents,
)
from flyweight.corpus.generated.expressions import canonical, is_held_out, parse, render
from flyweight.corpus.generated.word_problems import CATEGORIES

ALL = [(form, count) for form in FORMS for count in OPERANDS[form]]


def exact(text: str) -> Fraction:
    """The value by Python's own grammar, every number made a Fraction."""
    tree = ast.parse(text, mode="eval")

    class Exact(ast.NodeTransformer):
        def visit_Constant(self, node: ast.Constant) -> ast.AST:
            return ast.Call(ast.Name("Fraction", ast.Load()), [node], [])

    code = compile(ast.fix_missing_locations(Exact().visit(tree)), "expression", "eval")
    return eval(code, {"Fraction": Fraction})


def is_right(expression: str, answer: str) -> bool:
    value = exact(expression)
    if value == int(value):
        return answer == str(int(value))
    return abs(Fraction(answer) - value) <= Fraction(1, 20_000) and len(answer.partition(".")[2]) <= 4


@pytest.mark.parametrize(("form", "count"), ALL)
def test_problems_are_right_held_out_different_and_of_their_form(form: Form, count: int) -> None:
    problems = evaluation_problems(count, 200, seed=3, form=form)
    assert len({problem.context for problem in problems}) == 200
    assert problems == evaluation_problems(count, 200, seed=3, form=form)
    assert problems != evaluation_problems(count, 200, seed=4, form=form)
    for problem in problems:
        body = problem.expression.removesuffix(" =")
        assert problem.expression.endswith(" =")
        assert is_right(body, problem.answer), problem
        assert is_held_out(parse(problem.expression))
        assert len(re.findall(r"\d+", body)) == count == problem.n_operands
        if form == "v1":
            assert all(-20 <= int(n) <= 20 for n in re.findall(r"(?<![\d)] )-?\d+", body))
            assert "(" not in body
        else:
            assert problem.answer.isdigit()
        if form == "v3":
            numbers = set(re.findall(r"\d+", body)) - {"2", "60"}
            assert numbers <= set(re.findall(r"\d+", problem.context)), problem
            assert problem.context.endswith(" Answer:")
            assert "{" not in problem.context


LINE = re.compile(
    r"(?:What is |Question: )?([-\d+*/() ]+?)(?: = ?\?\nAnswer:| =|\?| equals) (-?[\d.]+?)\.?(?=\n)"
)


def equations(documents: list[str]) -> list[tuple[str, str]]:
    text = "\n" + "".join(documents)
    for word, sign in ((" plus ", " + "), (" minus ", " - "), (" times ", " * "), (" divided by ", " / ")):
        text = text.replace(word, sign)
    return [(body.strip(), answer) for body, answer in LINE.findall(text)]


def test_training_text_is_right_and_never_shows_a_held_out_expression() -> None:
    documents = list(training_documents(seed=1, bytes=300_000))
    assert 300_000 <= sum(map(len, documents)) < 305_000
    found = equations(documents)
    assert len(found) > 5_000
    for body, answer in found:
        assert is_right(body, answer), (body, answer)
        assert not is_held_out(parse(body)), body
    words = [line for text in documents for line in text.splitlines() if " Answer: " in line]
    assert len(words) > 500
    lines = sum(text.count("\n") for text in documents)
    questions = sum(text.count("\nAnswer:") for text in documents)
    assert len(found) + len(words) == lines - questions  # every line was checked


def test_word_problems_of_training_are_none_of_evaluation() -> None:
    contexts = {
        problem.context for count in OPERANDS["v3"] for problem in evaluation_problems(count, 500, 0, "v3")
    }
    numbers = {tuple(re.findall(r"\d+", context)) for context in contexts}
    assert numbers
    for text in training_documents(seed=0, bytes=300_000):
        assert not any(line.rsplit(" ", 1)[0] in contexts for line in text.splitlines())


def test_held_out_text_is_of_held_out_expressions_only() -> None:
    found = equations(list(held_out_documents(seed=1, bytes=50_000)))
    assert len(found) > 500
    assert all(is_held_out(parse(body)) and is_right(body, answer) for body, answer in found)


def test_one_expression_in_eight_is_held_out_whatever_its_order() -> None:
    pairs = [(a, b) for a in range(100) for b in range(a, 100)]
    share = sum(is_held_out(("+", a, b)) for a, b in pairs) / len(pairs)
    assert share == pytest.approx(1 / 8, abs=0.015)
    for text, same in (("3 + 4", "4 + 3"), ("(2 * 5) + 1 + 7", "7 + (1 + 5 * 2)"), ("8 - (3)", "8 - 3")):
        assert canonical(parse(text)) == canonical(parse(same))
    assert canonical(parse("8 - 3")) != canonical(parse("3 - 8"))


EXPRESSIONS = st.recursive(
    st.integers(-30, 30), lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner), max_leaves=8
)


@given(expression=EXPRESSIONS, seed=st.integers(0, 1000))
def test_rendering_keeps_the_value_and_parsing_reads_it_back(
    expression: expressions.Expression, seed: int
) -> None:
    text = render(expression, random.Random(seed), extra=0.5)
    assert parse(text) == expression
    try:
        expected = expressions.value(expression)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            exact(text)
    else:
        assert exact(text) == expected
        assert is_right(text, expressions.format_number(expected))


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Fraction(-4, 3), "-1.3333"),
        (Fraction(3, 2), "1.5"),
        (Fraction(6, 3), "2"),
        (Fraction(-1, 10**6), "0"),
        (Fraction(29_999, 10_000) + Fraction(6, 10**5), "3"),
        (Fraction(-1, 2), "-0.5"),
    ],
)
def test_numbers_are_written_with_at_most_four_decimals(number: Fraction, text: str) -> None:
    assert expressions.format_number(number) == text


@pytest.mark.parametrize(("form", "count"), ALL)
def test_options_are_four_different_numbers_with_the_right_one_anywhere(form: Form, count: int) -> None:
    places = [0, 0, 0, 0]
    for rng in (random.Random(0), np.random.default_rng(0)):
        for problem in evaluation_problems(count, 200, seed=0, form=form):
            options = distractors(problem, rng)
            assert len({Fraction(option) for option in options}) == 4 == len(set(options))
            places[options.index(problem.answer)] += 1
            if form != "v1":
                assert all(option.isdigit() for option in options)
    assert min(places) > 60


def test_options_exist_for_the_smallest_answers() -> None:
    for answer, text in (("0", "3 - 3 ="), ("1", "1 / 1 ="), ("10", "5 + 5 =")):
        for form in FORMS:
            problem = Problem(text, answer, 2, form, form, text)
            for seed in range(50):
                assert len(set(distractors(problem, random.Random(seed)))) == 4


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UserError, match="form 'v2' with 6 operands"):
        evaluation_problems(6, 10, 0, "v2")
    with pytest.raises(UserError, match="1,000,000 were asked for, there are about"):
        evaluation_problems(2, 1_000_000, 0, "v1")


def test_there_are_seventeen_kinds_of_word_problems_in_several_wordings() -> None:
    assert len({category.name for category in CATEGORIES}) == 17
    assert all(len(set(category.wordings)) >= 2 for category in CATEGORIES)
    seen = {problem.category for count in (2, 3) for problem in evaluation_problems(count, 500, 0, "v3")}
    assert seen == {category.name for category in CATEGORIES}
