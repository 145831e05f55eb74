"""The text is read back sentence by sentence, with a reader that shares nothing with its writer."""

# ruff: noqa: E501 (the forms are easier to compare in one line each)

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import NamedTuple

import pytest

from flyweight.base import UserError
from flyweight.corpus.generated.logic import (
    HOPS,
    Problem,
    evaluation_problems,
    held_out_documents,
    training_documents,
)
from flyweight.corpus.generated.relations import Statement, entails, is_held_out

PHRASES = {
    "<": "<", "=": "=", "<=": "<=", ">": ">", "!=": "!=", ">=": ">=",
    "is less than": "<", "is greater than": ">", "is at most": "<=", "is at least": ">=",
    "is equal to": "=", "is not equal to": "!=",
    "is smaller than": "<", "is larger than": ">", "is no larger than": "<=", "is no smaller than": ">=",
    "equals": "=", "differs from": "!=",
    "is below": "<", "is above": ">", "is not above": "<=", "is not below": ">=",
    "is level with": "=", "is not level with": "!=",
}  # fmt: skip
TRAITS = (
    ("shorter", "taller", "tall", "height", "shortest", "tallest"),
    ("younger", "older", "old", "age", "youngest", "oldest"),
    ("lighter", "heavier", "heavy", "weight", "lightest", "heaviest"),
    ("slower", "faster", "fast", "speed", "slowest", "fastest"),
    ("poorer", "richer", "rich", "wealth", "poorest", "richest"),
)
ASCENDING = {("smallest", "greatest"), ("smallest", "largest"), ("lowest", "highest")}
for low, high, plain, trait, least, most in TRAITS:
    PHRASES |= {
        f"is {low} than": "<", f"is {high} than": ">", f"is not {high} than": "<=",
        f"is not {low} than": ">=", f"is as {plain} as": "=", f"is not of the same {trait} as": "!=",
    }  # fmt: skip
    ASCENDING.add((least, most))

NAME = r"(?:[A-Z][a-z]+|[A-Za-z]\d{0,2})"
STATEMENT = re.compile(
    rf"\b({NAME}) ({'|'.join(sorted(map(re.escape, PHRASES), key=len, reverse=True))}) ({NAME})\b"
)
LIST = r"(?P<given>#\d+(?:, #\d+)*(?: and #\d+)?)"
UNKNOWN = r"(?:we only know that #\d+|the premises leave it open)"
FORMS = [
    ("conclusion", rf"Premises: {LIST}\. Conclusion: (?P<said>#\d+)\."),
    ("conclusion", rf"{LIST}, so (?P<said>#\d+)\."),
    ("conclusion", rf"If {LIST}, then (?P<said>#\d+)\."),
    ("conclusion", rf"Given that {LIST}, it follows that (?P<said>#\d+)\."),
    ("conclusion", rf"From {LIST} it follows that (?P<said>#\d+)\."),
    ("conclusion", rf"(?P<said>#\d+), because {LIST}\."),
    ("conclusion", rf"We know that {LIST}\. Therefore (?P<said>#\d+)\."),
    ("verdict", rf"Premises: {LIST}\. Claim: (?P<said>#\d+)\. Verdict: (?P<answer>true|false|unknown)\."),
    ("verdict", rf"{LIST}\. True, false or unknown: (?P<said>#\d+)\? (?P<answer>True|False: #\d+|Unknown)\."),
    ("verdict", rf"We know that {LIST}\. Does it follow that (?P<said>#\d+)\? (?P<answer>Yes|No, #\d+|No, {UNKNOWN})\."),
    ("verdict", rf"Is it true that (?P<said>#\d+) if {LIST}\? (?P<answer>Yes, it is|No, #\d+|That is not certain: {UNKNOWN})\."),
    ("relation", rf"We know that {LIST}\. How do (?P<a>{NAME}) and (?P<b>{NAME}) compare\? (?P<answer>#\d+|The premises leave it open)\."),
    ("greater", rf"We know that {LIST}\. Which is \w+, (?P<a>{NAME}) or (?P<b>{NAME})\? (?P<answer>{NAME}|Neither: #\d+|Not certain: {UNKNOWN})\."),
    ("proof", rf"We know that {LIST}\. (?P<steps>(?:Since #\d+ and #\d+, #\d+\. ?)+)(?:(?:So|Therefore|Hence|Conclusion:) (?P<said>#\d+)\.)?"),
    ("order", rf"We know that {LIST}\. From the (?P<from>\w+) to the (?P<to>\w+): (?P<row>{NAME}(?:, {NAME})+)\."),
    ("choice", rf"{LIST}\. (?:Which of these must be true|What follows|Which conclusion follows)\?"),
]  # fmt: skip


class Read(NamedTuple):
    """One exercise as it was read."""

    form: str
    given: list[Statement]
    asked: list[tuple[str, str]]
    """The pairs of quantities that something is said or asked about; the main one first."""
    inferences: list[list[Statement]]
    """Steps of a proof: two reasons and what they give."""


def number(token: str) -> int:
    return int(token.removeprefix("#"))


def statements(text: str, found: list[Statement]) -> list[Statement]:
    return [found[number(token)] for token in re.findall(r"#\d+", text)]


def tokenised(line: str) -> tuple[str, list[Statement]]:
    found: list[Statement] = []

    def note(match: re.Match[str]) -> str:
        found.append(Statement(match[1], PHRASES[match[2]], match[3]))
        return f"#{len(found) - 1}"

    return STATEMENT.sub(note, line), found


def read(document: str) -> Iterator[Read]:
    """Every exercise of a document; a line that no form fits fails, as does a wrong answer."""
    lines = iter(document.splitlines())
    for line in lines:
        text, found = tokenised(line)
        fitting = [(form, match) for form, pattern in FORMS if (match := re.fullmatch(pattern, text))]
        assert len(fitting) == 1, (line, text)
        form, match = fitting[0]
        given = statements(match["given"], found)
        if form == "choice":
            yield read_choice(given, [next(lines) for _ in range(6)])
        else:
            yield CHECKS[form](given, match, found)


def ends(statement: Statement) -> tuple[str, str]:
    return statement.left, statement.right


def read_choice(given: list[Statement], lines: list[str]) -> Read:
    options = [tokenised(line)[1][0] for line in lines[:4]]
    assert lines[4].removeprefix("Answer: ") in lines[:4]
    assert lines[5] == ""
    answer = lines.index(lines[4].removeprefix("Answer: "))
    assert [entails(given, option) for option in options] == [place == answer for place in range(4)]
    return Read("choice", given, [ends(options[answer]), *map(ends, options)], [])


def read_conclusion(given: list[Statement], match: re.Match[str], found: list[Statement]) -> Read:
    conclusion = found[number(match["said"])]
    assert entails(given, conclusion), match.string
    return Read("conclusion", given, [ends(conclusion)], [])


def check_what_is_known(
    given: list[Statement], text: str, pair: tuple[str, str], found: list[Statement]
) -> None:
    """The statement in an answer is all that is known of the pair; without one, nothing is."""
    for known in statements(text, found):
        assert set(ends(known)) == set(pair)
        assert entails(given, known)
        assert sum(entails(given, known._replace(relation=relation)) for relation in ("<", "=", ">")) == (
            known.relation in ("<", "=", ">")
        )
    if "open" in text:
        assert not any(
            entails(given, Statement(pair[0], relation, pair[1])) for relation in ("<=", ">=", "!=")
        )


def read_verdict(given: list[Statement], match: re.Match[str], found: list[Statement]) -> Read:
    claim, answer = found[number(match["said"])], match["answer"].lower()
    expected = ("true", "yes") if entails(given, claim) else ("false", "no, #")
    if not entails(given, claim) and not entails(given, claim.denied):
        expected = ("unknown", "no, we", "no, the", "that")
    assert answer.startswith(expected), (match.string, found)
    check_what_is_known(given, match["answer"], ends(claim), found)
    return Read("verdict", given, [ends(claim)], [])


def read_relation(given: list[Statement], match: re.Match[str], found: list[Statement]) -> Read:
    pair = (match["a"], match["b"])
    check_what_is_known(given, match["answer"], pair, found)
    return Read("relation", given, [pair], [])


def read_greater(given: list[Statement], match: re.Match[str], found: list[Statement]) -> Read:
    a, b, answer = match["a"], match["b"], match["answer"]
    greater = [name for name, sign in ((a, ">"), (b, "<")) if entails(given, Statement(a, sign, b))]
    if greater:
        assert answer == greater[0]
    elif entails(given, Statement(a, "=", b)):
        assert answer.startswith("Neither: ")
    else:
        assert answer.startswith("Not certain: ")
    check_what_is_known(given, answer, (a, b), found)
    return Read("greater", given, [(a, b)], [])


def read_proof(given: list[Statement], match: re.Match[str], found: list[Statement]) -> Read:
    said = statements(match["steps"], found)
    steps = [said[i : i + 3] for i in range(0, len(said), 3)]
    known = list(given)
    for first, second, result in steps:
        assert any(entails([one], first) for one in known)
        assert any(entails([one], second) for one in known)
        assert entails([first, second], result)
        assert not entails([first], result)
        known.append(result)
    last = steps[-1][2]
    if match["said"] is not None:
        assert found[number(match["said"])] in (last, last.turned)
    return Read("proof", given, [ends(last), *(ends(step[2]) for step in steps)], steps)


def read_order(given: list[Statement], match: re.Match[str], found: list[Statement]) -> Read:
    row = match["row"].split(", ")
    if (match["to"], match["from"]) in ASCENDING:
        row.reverse()
    else:
        assert (match["from"], match["to"]) in ASCENDING
    assert set(row) == {name for statement in given for name in ends(statement)}
    assert all(entails(given, Statement(a, "<", b)) for a, b in pairwise(row))
    pairs = [(row[i], row[j]) for j in range(len(row)) for i in range(j)]
    return Read("order", given, [(row[0], row[-1]), *pairs], [])


CHECKS = {
    "conclusion": read_conclusion, "verdict": read_verdict, "relation": read_relation,
    "greater": read_greater, "proof": read_proof, "order": read_order,
}  # fmt: skip


def named(premises: list[Statement]) -> frozenset[str]:
    """A chain's premises, whichever side each is told from."""
    return frozenset(min(str(premise), str(premise.turned)) for premise in premises)


def path(given: list[Statement], first: str, last: str) -> list[Statement]:
    """The premises between two quantities, by breadth-first search."""
    reached: dict[str, list[Statement]] = {first: []}
    todo = [first]
    for name in todo:
        for statement in given:
            for here, there in (ends(statement), ends(statement)[::-1]):
                if here == name and there not in reached:
                    reached[there] = [*reached[name], statement]
                    todo.append(there)
    return reached[last]


def chains(exercise: Read) -> list[list[Statement]]:
    """All inferences that an exercise shows, the main one first."""
    found = [path(exercise.given, *pair) for pair in exercise.asked]
    return found + [[first, second] for first, second, _ in exercise.inferences]


def own_canonical(chain: list[Statement]) -> list[str]:
    """The form in which chains are told apart: every premise from its lesser or alphabetical side."""
    texts = []
    for statement in chain:
        if statement.relation in (">", ">=") or (
            statement.relation in ("=", "!=") and statement.left > statement.right
        ):
            statement = statement.turned
        texts.append("".join(statement))
    return texts


@pytest.fixture(scope="module")
def training() -> list[Read]:
    documents = [
        text for stream in (0, 1) for text in training_documents(seed=1, bytes=100_000, stream=stream)
    ]
    return [exercise for document in documents for exercise in read(document)]


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return [problem for hops in HOPS for problem in evaluation_problems(hops, 300, 0)]


def test_training_text_is_right_in_all_its_wordings(training: list[Read]) -> None:
    """`read` checks every answer; here: that there are enough of each kind."""
    counts = Counter(exercise.form for exercise in training)
    assert set(counts) == {form for form, _ in FORMS}
    assert min(counts.values()) > 30
    assert counts["conclusion"] > len(training) / 3
    hops = Counter(len(path(exercise.given, *exercise.asked[0])) for exercise in training)
    assert all(hops[count] > 100 for count in HOPS)


def test_training_text_never_shows_a_held_out_inference(
    training: list[Read], problems: list[Problem]
) -> None:
    held_out = {named(path(list(p.premises), *ends(p.options[p.answer]))) for p in problems}
    assert len(held_out) > 1_000
    shown = 0
    for exercise in training:
        for chain in chains(exercise):
            shown += 1
            assert named(chain) not in held_out
            assert not is_held_out(own_canonical(chain))
    assert shown > len(training)


def test_held_out_text_is_about_held_out_inferences() -> None:
    documents = held_out_documents(seed=1, bytes=30_000)
    exercises = [exercise for document in documents for exercise in read(document)]
    assert len(exercises) > 150
    assert all(is_held_out(own_canonical(chains(exercise)[0])) for exercise in exercises)


def test_exactly_one_option_of_a_problem_follows(problems: list[Problem]) -> None:
    for problem in problems:
        assert len(set(problem.options)) == 4
        follows = [entails(problem.premises, option) for option in problem.options]
        assert follows == [place == problem.answer for place in range(4)]
        chain = path(list(problem.premises), *ends(problem.options[problem.answer]))
        assert len(chain) == problem.hops
        assert sorted(own_canonical(chain)) == list(problem.chain)
        assert is_held_out(problem.chain)
        for needed in chain:
            rest = [premise for premise in problem.premises if premise != needed]
            assert not entails(rest, problem.options[problem.answer])


def test_a_problem_is_shown_as_training_text_is(problems: list[Problem]) -> None:
    for problem in problems[::50]:
        [exercise] = read(problem.context + problem.endings[problem.answer] + ".")
        assert exercise.form == "conclusion"
        assert exercise.given == list(problem.premises)
        wrong = problem.endings[(problem.answer + 1) % 4]
        with pytest.raises(AssertionError):
            list(read(problem.context + wrong + "."))


def test_problems_are_different_and_follow_from_the_seed() -> None:
    for hops in HOPS:
        one = evaluation_problems(hops, 50, seed=0)
        assert len({problem.context for problem in one}) == 50
        assert one == evaluation_problems(hops, 50, seed=0)
        assert not set(one) & set(evaluation_problems(hops, 50, seed=1))


def test_no_rule_that_looks_at_the_options_alone_finds_the_answer(problems: list[Problem]) -> None:
    allowed = 0.25 + 4 * (0.25 * 0.75 / len(problems)) ** 0.5
    for place in range(4):
        assert sum(problem.answer == place for problem in problems) / len(problems) < allowed
    for preferred in ("<", "<=", "=", "!=", ">", ">="):
        assert rule(problems, lambda p, o, sign=preferred: o.relation == sign) < allowed
    assert rule(problems, lambda p, o: o.left < o.right) < allowed
    for problem in problems:  # the two pairs look the same: each twice, with the same two relations
        pairs = Counter(frozenset(ends(option)) for option in problem.options)
        assert sorted(pairs.values()) == [2, 2]


def test_counting_sides_does_not_settle_a_problem(problems: list[Problem]) -> None:
    """To prefer what is seldom on the greater side as the lesser is a rule that needs no chain."""

    def lead(problem: Problem, option: Statement) -> int:
        seen: Counter[str] = Counter()
        for premise in problem.premises:
            sign = {"<": 1, "<=": 1, ">": -1, ">=": -1}.get(premise.relation, 0)
            seen[premise.right] += sign
            seen[premise.left] -= sign
        sign = {"<": 1, "<=": 1, ">": -1, ">=": -1}.get(option.relation, 0)
        return sign * (seen[option.right] - seen[option.left])

    assert rule(problems, lead) < 0.58


def rule(problems: list[Problem], score: Callable[[Problem, Statement], float]) -> float:
    """The share of problems that a rule gets, picking at random among the options it likes best."""
    right = 0.0
    for problem in problems:
        scores = [score(problem, option) for option in problem.options]
        best = [place for place, value in enumerate(scores) if value == max(scores)]
        right += (problem.answer in best) / len(best)
    return right / len(problems)


def test_streams_are_deterministic_different_and_of_the_size_that_was_asked() -> None:
    first, again, second, other = (
        list(training_documents(seed, 50_000, stream)) for seed, stream in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert first == again
    assert not set(first) & set(second)
    assert not set(first) & set(other)
    assert (
        list(islice(training_documents(1, 200_000), len(first))) == first
    )  # a longer text goes on from a shorter
    for documents in (first, second, other):
        size = sum(len(text.encode()) for text in documents)
        assert 50_000 <= size < 60_000
        assert size == sum(map(len, documents))  # ASCII
    assert list(training_documents(1, 0)) == []


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UserError, match="logic problems of 6 hops: there are none"):
        evaluation_problems(6, 10, 0)
