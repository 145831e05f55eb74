from __future__ import annotations

import random
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.corpus.generated.arithmetic import FORMS, OPERANDS, Form
from flyweight.corpus.generated.expressions import is_held_out, parse
from flyweight.evaluation import evaluate
from flyweight.evaluation.items import read_json_lines, write_json_lines
from flyweight.evaluation.tasks.arithmark import PUBLISHED_FILES, score_questions
from flyweight.evaluation.tasks.arithmark_items import (
    Item,
    generate_problems,
    question_of,
    read_questions,
    write_items,
)
from flyweight.inference import LanguageModel

Judging = Callable[[Callable[[str], float]], LanguageModel]
FIELDS = {
    "v1": ["id", "stage", "n_operands", "expression", "options", "answer_index", "answer"],
    "v2": ["ctx", "endings", "label", "metadata"],
    "v3": ["ctx", "endings", "label", "activity_label", "ind"],
}


def generate_items(form: Form, seed: int, per_operands: int) -> list[Item]:
    return write_items(generate_problems(form, seed, per_operands), form, seed)


def value_of(expression: str) -> Fraction:
    """Python's own arithmetic on fractions, not the corpus's."""
    return eval(re.sub(r"(\d+)", r"Fraction(\1)", expression.removesuffix("=")), {"Fraction": Fraction})


@pytest.mark.parametrize("form", FORMS)
def test_items_have_exactly_the_published_fields(form: Form):
    items = generate_items(form, seed=0, per_operands=20)
    assert len(items) == 20 * len(OPERANDS[form])
    for item in items:
        assert list(item) == FIELDS[form]
        question = question_of(item, form)
        assert len(set(question.endings)) == 4
        assert all(re.fullmatch(r" -?\d+(\.\d{1,4})?", ending) for ending in question.endings)


def test_v1_and_v2_answers_are_right():
    for item in generate_items("v1", seed=1, per_operands=40):
        assert item["answer"] == item["options"][item["answer_index"]]
        assert abs(value_of(item["expression"]) - Fraction(str(item["answer"]))) <= Fraction(1, 20_000)
        assert item["stage"] == item["n_operands"] - 1 == len(re.findall(r" [-+*/] ", item["expression"]))
    for item in generate_items("v2", seed=1, per_operands=40):
        assert value_of(item["ctx"]) == int(item["endings"][item["label"]])
        assert item["metadata"]["operator_count"] == len(re.findall(r" [-+*/] ", item["ctx"]))


@pytest.mark.parametrize("form", FORMS)
def test_items_come_from_the_held_out_split_only(form: Form):
    problems = generate_problems(form, seed=7, per_operands=30)
    questions = [question_of(item, form) for item in write_items(problems, form, seed=7)]
    assert [problem.context for problem in problems] == [question.context for question in questions]
    assert all(is_held_out(parse(problem.expression)) for problem in problems)
    if form != "v3":
        assert [problem.n_operands for problem in problems] == [q.operands for q in questions]
    assert [f" {problem.answer}" for problem in problems] == [q.endings[q.label] for q in questions]


@pytest.mark.parametrize("form", FORMS)
def test_the_seed_decides_the_items(form: Form):
    one, again, other = (generate_items(form, seed, 10) for seed in (1, 1, 2))
    assert one == again
    assert one != other


@pytest.mark.parametrize("form", FORMS)
def test_items_survive_a_file(form: Form, tmp_path: Path):
    items = generate_items(form, seed=3, per_operands=10)
    write_json_lines(tmp_path / "items.jsonl", items)
    assert read_json_lines(tmp_path / "items.jsonl") == items
    assert read_questions(tmp_path / "items.jsonl", form) == [question_of(item, form) for item in items]


@pytest.mark.parametrize("form", FORMS)
def test_no_rule_that_does_not_calculate_finds_the_answer(form: Form):
    questions = [question_of(item, form) for item in generate_items(form, seed=0, per_operands=200)]
    allowed = 4 * (0.25 * 0.75 / len(questions)) ** 0.5
    for rank in range(4):  # always take the smallest number, the second smallest, ...
        picked = [sorted(range(4), key=lambda i, q=q: float(q.endings[i]))[rank] for q in questions]
        share = sum(pick == q.label for pick, q in zip(picked, questions, strict=True)) / len(questions)
        assert abs(share - 0.25) < allowed, rank
    for place in range(4):
        assert abs(sum(q.label == place for q in questions) / len(questions) - 0.25) < allowed
    shortest = sum(min(range(4), key=lambda i, q=q: len(q.endings[i])) == q.label for q in questions)
    assert shortest / len(questions) < 0.25 + allowed


def right_answers(seed: int, per_operands: int) -> set[str]:
    questions = (
        question_of(item, form) for form in FORMS for item in generate_items(form, seed, per_operands)
    )
    return {question.context + question.endings[question.label] for question in questions}


def test_an_oracle_gets_everything_right(judging: Judging):
    answers = right_answers(seed=5, per_operands=12)
    result = evaluate(
        judging(lambda text: 0.0 if text in answers else -5.0), ["arithmark-gen"], limit=12, seed=5
    )["tasks"]["arithmark-gen"]
    assert (result["acc"], result["chance"], result["n"]) == (1.0, 0.25, 12 * 10)
    for form in FORMS:
        groups = result[form]["by_operands"]
        assert list(groups) == [str(n) for n in OPERANDS[form]]
        assert all(group == {"acc": 1.0, "acc_stderr": 0.0, "n": 12} for group in groups.values())
    assert result["v3"]["acc_norm"] == 1.0
    assert sum(group["n"] for group in result["v3"]["by_category"].values()) == result["v3"]["n"]


def test_a_model_that_guesses_is_at_chance(judging: Judging):
    result = evaluate(judging(lambda text: random.Random(text).random()), ["arithmark-gen"], limit=150)[
        "tasks"
    ]["arithmark-gen"]
    for part in (result, *(result[form] for form in FORMS)):
        assert abs(part["acc"] - 0.25) < 4 * part["acc_stderr"]
        assert part["acc_stderr"] == pytest.approx((0.25 * 0.75 / part["n"]) ** 0.5, rel=0.1)


def test_the_norm_is_per_token_of_the_ending(judging: Judging):
    # A token a byte here: " 1" has 2 tokens, " 1000" has 5.
    item = {"ctx": "Q:", "endings": [" 1", " 1000"], "label": 1, "activity_label": "count", "ind": 0}
    model = judging(lambda text: {"Q: 1": -4.0, "Q: 1000": -5.0}.get(text, 0.0))  # -2 a token against -1
    assert score_questions(model, [question_of(item, "v3")]) == ([0.0], [1.0], 0)


def test_context_and_ending_are_tokenised_apart_without_anything_before(
    uniform: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    import flyweight.evaluation.tasks.arithmark as module

    seen: list[Any] = []
    score = module.score_requests
    monkeypatch.setattr(
        module,
        "score_requests",
        lambda model, requests, **rest: seen.extend(requests) or score(model, requests),
    )
    question = question_of(
        {"ctx": "1 + 1 =", "endings": [" 2", " 3"], "label": "0", "metadata": {"operator_count": 1}}, "v2"
    )
    score_questions(uniform, [question])
    encode = uniform.tokenizer.encode
    assert seen == [(encode("1 + 1 ="), encode(" 2")), (encode("1 + 1 ="), encode(" 3"))]


def test_questions_that_do_not_fit_are_counted(uniform: LanguageModel):
    # One token a byte and 24 of context: 4 endings of " 1" with 24 bytes before them are one too many.
    items = [
        {"ctx": "x" * size, "endings": [" 1", " 2", " 3", " 4"], "label": 0, "activity_label": "a", "ind": 0}
        for size in (23, 24)
    ]
    assert score_questions(uniform, [question_of(item, "v3") for item in items])[2] == 4


def test_generated_items_are_kept_beside_the_results(judging: Judging, tmp_path: Path):
    evaluate(judging(len), ["arithmark-gen"], limit=3, seed=9, output=tmp_path)
    assert read_json_lines(tmp_path / "arithmark-gen-v2.jsonl") == generate_items("v2", 9, 3)


def test_published_files_are_read_by_their_own_names(judging: Judging, tmp_path: Path):
    folder = tmp_path / "arithmark"
    for form in ("v1", "v3"):
        write_json_lines(folder / PUBLISHED_FILES[form], generate_items(form, 5, 12))
    answers = right_answers(seed=5, per_operands=12)
    model = judging(lambda text: 0.0 if text in answers else -5.0)
    result = evaluate(model, ["arithmark"], tmp_path)["tasks"]["arithmark"]
    assert (result["acc"], result["v1"]["n"], result["v3"]["n"], "v2" in result) == (1.0, 60, 24, False)
    assert "by_operands" in result["v1"]
    assert "by_operands" not in result["v3"]  # its published fields do not say
    assert evaluate(model, ["arithmark"], folder, limit=7)["tasks"]["arithmark"]["n"] == 14


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"ctx": "1 + 1 ="}', r"item 1: not an ArithMark v2 item: 'metadata' is missing"),
        ('{"ctx": "1 =", "endings": [" 1"], "label": 4, "metadata": {"operator_count": 1}}', "label 4 of 1"),
        ('{"ctx": "1 =", "endings": [" 1", " "], "label": 0, "metadata": {"operator_count": 1}}', "empty"),
        (
            '{"ctx": "1 =", "endings": [" 1"], "label": "x", "metadata": {"operator_count": 1}}',
            "not an ArithMark",
        ),
        ("", "no items"),
    ],
)
def test_foreign_files_are_told(tmp_path: Path, judging: Judging, line: str, message: str):
    file = tmp_path / PUBLISHED_FILES["v2"]
    file.write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        evaluate(judging(len), ["arithmark"], tmp_path)


def test_missing_files_are_told(tmp_path: Path, judging: Judging):
    with pytest.raises(UserError, match=r"mathmark\.jsonl"):
        evaluate(judging(len), ["arithmark"], tmp_path)
    with pytest.raises(UserError, match="needs its files"):
        evaluate(judging(len), ["arithmark"])
