from __future__ import annotations

import random
import re
from collections import Counter
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.generated import expressions
from flyweight.corpus.generated.arithmetic import (
    FORMS,
    KINDS,
    OPERANDS,
    Form,
    Problem,
    distractors,
    draw_exercise,
    evaluation_problems,
    held_out_documents,
    training_documents,
)
from flyweight.corpus.generated.expressions import canonical, is_held_out, parse, render
from flyweight.corpus.generated.number_words import in_words
from flyweight.corpus.generated.word_problems import CATEGORIES, Category

ALL = [(form, count) for form in FORMS for count in OPERANDS[form]]


@cache
def exact(text: str) -> Fraction:
    """The value by Python's own grammar, every number made a Fraction."""
    return eval(re.sub(r"[\d.]+", r"Fraction('\g<0>')", text), {"Fraction": Fraction})


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


NUMBER = r"-?\d+(?:\.\d+)?"
EXPRESSION = rf"\(*{NUMBER}\)*(?: [-+*/] \(*{NUMBER}\)*)+"
SIDE = rf"(?:{EXPRESSION}|{NUMBER})"
WORDS = {in_words(number): number for number in range(2_001)}
SIGNS = {"plus": "+", "minus": "-", "times": "*", "divided by": "/"}


def in_digits(text: str) -> str:
    """The text with its operators and numbers in words as signs and digits."""
    if not any(map(str.isdigit, text)):
        found = re.fullmatch(
            rf"((?:What is )?)(.+?) ({'|'.join(SIGNS)}) (.+?)(\?? (?:It is|is|equals|makes) )(.+)\.", text
        )
        assert found, text
        first, second, result = (WORDS[found[i].lower()] for i in (2, 4, 6))
        return f"{found[1]}{first} {SIGNS[found[3]]} {second}{found[5]}{result}."
    for name, sign in SIGNS.items():
        text = re.sub(rf"(?<=[\d)]) {name} (?=[-(\d])", f" {sign} ", text)
    return text


def shown_expressions(text: str) -> list[str]:
    """Every expression in a text, as long as it goes on."""
    found = re.findall(EXPRESSION, text)
    assert len(re.findall(r"(?<=[\d)]) [-+*/] (?=[-(\d])", text)) == sum(
        len(re.findall(r" [-+*/] ", e)) for e in found
    )
    return found


def check_equalities(text: str) -> int:
    """Read every a = b = c, fail where the sides are not equal, and say how many there were."""
    found = re.findall(rf"(?<![\d?] [-+*/] )(?<!\? [-+*/] )(?<![\d.]){SIDE}(?: = {SIDE})+(?![\d.]*\d)", text)
    for equality in found:
        *sides, last = equality.split(" = ")
        assert all(exact(side) == exact(sides[0]) for side in sides), equality
        assert is_right(sides[0], last) or exact(last) == exact(sides[0]), equality
    return len(found)


QUESTIONS = (
    rf"What is ({EXPRESSION})\? (?:It is )?({NUMBER})\.?",
    rf"Question: ({EXPRESSION}) = \?\nAnswer: ({NUMBER})",
    rf"Q: What is ({EXPRESSION})\?\nA: ({NUMBER})",
    rf"Calculate ({EXPRESSION})\. The result is ({NUMBER})\.",
    rf"(?:The value of )?({EXPRESSION}) (?:is|equals|makes) ({NUMBER})\.",
    rf"To work out ({EXPRESSION}), first [^a-z]*(?:, then [^a-z]*)*\. The answer is ({NUMBER})\.",
    rf"Problem: ({EXPRESSION})(?:\n[^a-zA-Z]*)+\nAnswer: ({NUMBER})",
)


def told_problems() -> list[tuple[re.Pattern[str], Category]]:
    """A pattern for every wording of every kind of word problem."""
    patterns = []
    for category in CATEGORIES:
        for wording in category.wordings:
            pattern = re.escape(wording)
            for letter in "abc":
                pattern = pattern.replace(rf"\{{{letter}\}}", rf"(?P<{letter}>\d+)", 1)
                pattern = pattern.replace(rf"\{{{letter}\}}", rf"(?P={letter})")
            pattern = re.sub(r"\\\{\w+\\\}", r"\\w+", pattern)
            patterns.append((re.compile(pattern), category))
    return patterns


TOLD = told_problems()


def told_expression(text: str) -> expressions.Expression | None:
    """The expression that a word problem asks for, from its own words and numbers; None of other texts."""
    if "?" not in text or "Answer:" not in text:
        return None
    question = re.sub(r"\s+Answer: \d+$", "", text)
    question = re.sub(rf"(?:\nSolution:)?(?: {EXPRESSION} = {NUMBER}\.)+$", "", question)
    question = question.replace(" 1 minute ", " 1 minutes ").replace(" 1 gets off", " 1 get off")
    question = re.sub(r" 1 minute([.?])", r" 1 minutes\1", question)
    matches = [(found, category) for pattern, category in TOLD if (found := pattern.fullmatch(question))]
    assert len(matches) <= 1
    for found, category in matches:
        return category.expression(*(int(found[letter]) for letter in "abc" if letter in found.groupdict()))
    return None


def check_in_digits(first: str, rest: list[str]) -> None:
    """Every step of a sum or a difference by digits, and the result."""
    numbers = [int(number) for number in re.findall(r"\d+", first)]
    result = int(re.findall(r"\d+", rest[-1])[-1])
    if first.startswith("Add"):
        assert result == sum(numbers)
        written = [re.search(r"write (\d+)", line) for line in rest[:-1]]
        assert int("".join(found[1] for found in reversed(written) if found)) == result
    else:
        assert result == numbers[1] - numbers[0] > 0
        digits = [re.search(r"= (\d)\.", line) for line in rest[:-1]]
        assert int("".join(found[1] for found in reversed(digits) if found)) == result


def check_exercise(text: str) -> str:
    """The kind of an exercise whose every number was checked; fails for a wrong one or an unknown kind."""
    lines = text.split("\n")
    equalities = check_equalities(text)
    if (expression := told_expression(text)) is not None:
        assert not is_held_out(expression), text
        assert is_right(render(expression), text.rpartition(" ")[2]), text
        return "told" if equalities == 0 else "solved"
    for pattern in QUESTIONS:
        if found := re.fullmatch(pattern, text):
            assert is_right(found[1], found[2]), text
            return pattern
    if lines[0].startswith(("Add", "Subtract")):
        parts = lines if len(lines) > 1 else re.split(r"(?<=\.) (?=[A-Z])", text)
        check_in_digits(parts[0], parts[1:])
        return lines[0].split()[0]
    if found := re.fullmatch(r"Order from the smallest to the largest: (.*)\. Answer: (.*)", text):
        row = [[int(number) for number in found[i].split(", ")] for i in (1, 2)]
        assert sorted(row[0]) == row[1]
        return "sorted"
    if found := re.fullmatch(r"Which is larger, (-?\d+) or (-?\d+)\? (-?\d+)", text):
        assert int(found[3]) == max(int(found[1]), int(found[2]))
        return "larger"
    if found := re.fullmatch(r"Is (-?\d+) greater than (-?\d+)\? (Yes|No), (-?\d+) > (-?\d+)\.", text):
        a, b, c, d = (int(found[i]) for i in (1, 2, 4, 5))
        assert (found[3] == "Yes") == (a > b)
        assert c > d
        assert {a, b} == {c, d}
        return "greater"
    if found := re.fullmatch(rf"Which is (\w+)[,:] ({EXPRESSION}) or ({EXPRESSION})\? .*, so (.*)\.", text):
        a, b = exact(found[2]), exact(found[3])
        wanted = min(a, b) if found[1] == "smaller" else max(a, b)
        if a == b:
            assert found[4] == "they are equal"
        else:
            assert found[4] == f"{found[2] if a == wanted else found[3]} is {found[1]}"
        assert equalities == 2
        return "compared"
    if found := re.search(
        r"(?:next: |Continue )([-\d, ]+)[?.] (?:Each|Every) number is (\d+) (more|less|times)", text
    ):
        numbers = [int(number) for number in found[1].split(", ")]
        step = {
            "more": lambda x: x + int(found[2]),
            "less": lambda x: x - int(found[2]),
            "times": lambda x: x * int(found[2]),
        }[found[3]]
        numbers.append(int(re.findall(NUMBER, text)[-1]))
        assert [step(number) for number in numbers[:-1]] == numbers[1:], text
        return "sequence"
    if found := re.search(r"(\d+) / (\d+) is (\d+) with remainder (\d+)", text):
        number, divisor, quotient, rest = (int(found[i]) for i in (1, 2, 3, 4))
        assert divmod(number, divisor) == (quotient, rest)
        assert equalities == 2
        return "remainder"
    if found := re.search(r"\? ([-+*/]) (\d+) = (\d+)", text):
        missing = re.findall(r"is (\d+)[,.]", text)[-1]
        assert exact(f"{missing} {found[1]} {found[2]}") == int(found[3])
        assert not is_held_out(parse(f"{missing} {found[1]} {found[2]}"))
        return "gap"
    if text.startswith("Multiply "):
        assert equalities == 5
        return "parts"
    if re.fullmatch(rf"{SIDE}(?: = {SIDE})+", text):
        return "equation" if text.count("=") == 1 else "steps"
    if re.fullmatch(rf"{SIDE} = {NUMBER}(?:\. Check:|, because) {SIDE} = {NUMBER}\.", text):
        return "inverse"
    assert re.fullmatch(rf"If {SIDE} = {NUMBER}, then {SIDE} = {NUMBER}\.", text), text
    return "inverse"


def exercises(document: str) -> list[str]:
    """A document's exercises: most are lines, some are several."""
    found: list[str] = []
    for line in map(in_digits, document.splitlines()):
        goes_on = found and re.match(r"(Answer:|A:|Solution:|Ones:|Tens:|Hundreds:|Thousands:|So )", line)
        in_a_problem = found and found[-1].startswith("Problem:") and "\nAnswer:" not in found[-1]
        if goes_on or in_a_problem:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


@pytest.fixture(scope="module")
def training() -> list[str]:
    """Exercises of whole documents, and enough of those of every wording."""
    documents = [
        text for stream in (0, 1) for text in training_documents(seed=1, bytes=50_000, stream=stream)
    ]
    found = [exercise for document in documents for exercise in exercises(document)]
    rng = random.Random(0)
    for wording in dict.fromkeys(wording for kind in KINDS.choices for wording in kind.wordings):
        document = "\n".join(draw_exercise(rng, wording, held_out=False) for _ in range(40))
        found += exercises(document)
    return found


def test_training_text_is_right_in_all_its_wordings(training: list[str]) -> None:
    kinds = Counter(check_exercise(exercise) for exercise in training)
    assert set(kinds) == {
        *QUESTIONS, "told", "solved", "Add", "Subtract", "sorted", "larger", "greater", "compared",
        "sequence", "remainder", "gap", "parts", "equation", "steps", "inverse",
    }  # fmt: skip
    assert min(kinds.values()) >= 3
    assert kinds["equation"] > len(training) / 4


def test_training_text_never_shows_a_held_out_expression(training: list[str]) -> None:
    shown = [expression for exercise in training for expression in shown_expressions(exercise)]
    assert len(shown) > len(training)
    assert not [expression for expression in shown if is_held_out(parse(expression))]


def test_no_problem_of_evaluation_is_in_training_text(training: list[str]) -> None:
    problems = [
        problem
        for form in FORMS
        for count in OPERANDS[form]
        for problem in evaluation_problems(count, 200, 0, form)
    ]
    asked = {canonical(parse(problem.expression)) for problem in problems}
    questions = {problem.context.removesuffix(" Answer:") for problem in problems if problem.form == "v3"}
    assert all(question.endswith("?") for question in questions)
    for exercise in training:
        assert not asked & {canonical(parse(shown)) for shown in shown_expressions(exercise)}
        assert exercise[: exercise.rfind("?") + 1] not in questions


def test_held_out_text_is_about_held_out_expressions() -> None:
    found = [text for document in held_out_documents(seed=1, bytes=25_000) for text in exercises(document)]
    assert len(found) > 300
    equations = [text for text in found if re.fullmatch(rf"{EXPRESSION} = {NUMBER}", text)]
    assert len(equations) > 200
    for text in found:
        check_equalities(text)
    for text in equations:
        assert is_held_out(parse(text.split(" = ")[0]))
    for text in found:
        told = told_expression(text)
        shown = [parse(body) for body in shown_expressions(text)] if told is None else [told]
        if shown and " ? " not in f" {text}":  # of an equation with a gap the other half is shown
            assert any(map(is_held_out, shown)), text


def test_streams_are_deterministic_different_and_of_the_size_that_was_asked() -> None:
    first, again, second, other = (
        list(training_documents(seed, 50_000, stream)) for seed, stream in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert first == again
    assert not set(first) & set(second)
    assert not set(first) & set(other)
    for documents in (first, second, other):
        assert 50_000 <= sum(len(text.encode()) for text in documents) < 55_000
        assert all(text.isascii() for text in documents)
    assert list(training_documents(1, 0)) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"), (13, "thirteen"), (40, "forty"), (99, "ninety-nine"), (100, "one hundred"),
        (105, "one hundred and five"), (999, "nine hundred and ninety-nine"), (2_000, "two thousand"),
        (1_042, "one thousand and forty-two"), (12_345, "twelve thousand three hundred and forty-five"),
        (-7, "minus seven"),
    ],
)  # fmt: skip
def test_numbers_in_words(number: int, words: str) -> None:
    assert in_words(number) == words


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
