from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from flyweight.base import UserError
from flyweight.corpus.generated.arithmetic import FORMS, OPERANDS, Form
from flyweight.corpus.generated.expressions import is_held_out, parse
from flyweight.evaluation.items import read_json_lines, write_json_lines
from flyweight.evaluation.tasks.arithmark import PUBLISHED, run_arithmark, run_arithmark_gen
from flyweight.evaluation.tasks.arithmark_items import (
    Item,
    generate_problems,
    question_of,
    read_questions,
    write_items,
)
from flyweight.evaluation.tasks.choices import score_choices
from flyweight.evaluation.tasks.published import Published, fetch
from flyweight.evaluation.tasks.task import TaskInput
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
def test_neither_size_nor_place_nor_length_tells_the_answer(form: Form):
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


def task(model: LanguageModel, **rest: Any) -> TaskInput:
    given = {"data": None, "limit": None, "seed": 0, "output": None, "progress": None, **rest}
    return TaskInput(model, **given)


def test_an_oracle_gets_everything_right(judging: Judging):
    answers = right_answers(seed=5, per_operands=12)
    model = judging(lambda text: 0.0 if text in answers else -5.0)
    result = run_arithmark_gen(task(model, limit=12, seed=5))
    assert {name: (one.value, one.n) for name, one in result.metrics.items()} == {
        "acc,v1": (1.0, 60),
        "acc,v2": (1.0, 36),
        "acc_norm,v3": (1.0, 24),
        "acc,v3": (1.0, 24),
    }
    assert result.chance == 0.25
    for form in FORMS:
        for operands in OPERANDS[form]:
            assert result.subsets[f"{form}, {operands} operands"]["acc"] == (1.0, 0.0, 12)
    assert [result.subsets[f"v2, {name}"]["acc"].n for name in ("easy", "medium", "hard")] == [12] * 3
    assert len(set(result.items["id"])) == len(result.items["gold"]) == 120
    json.dumps(result.to_json(), allow_nan=False)


def test_a_model_that_guesses_is_at_chance(judging: Judging):
    result = run_arithmark_gen(task(judging(lambda text: random.Random(text).random()), limit=150))
    for one in result.metrics.values():
        assert one.stderr == pytest.approx((0.25 * 0.75 / one.n) ** 0.5, rel=0.1)
        assert abs(one.value - 0.25) < 4 * one.stderr


def test_a_metric_is_the_mean_of_its_column(judging: Judging):
    result = run_arithmark_gen(task(judging(lambda text: random.Random(text).random()), limit=10))
    for name, one in result.metrics.items():
        counted = [value for value in result.items[name] if value is not None]
        assert one.value == sum(counted) / one.n
        assert len(counted) == one.n == result.items["subset"].count(name[-2:])


def test_the_norm_is_per_token_of_the_ending(judging: Judging, tmp_path: Path):
    # A token a byte here: " 1" has 2 tokens, " 1000" has 5.
    item = {"ctx": "Q:", "endings": [" 1", " 1000"], "label": 1, "activity_label": "count", "ind": 0}
    write_json_lines(tmp_path / PUBLISHED["v3"].file, [item])
    model = judging(lambda text: -4.0 if text.endswith(" 1") else -5.0)  # -2 a token against -1
    result = run_arithmark(task(model, data=tmp_path))
    assert {name: one.value for name, one in result.metrics.items()} == {"acc_norm,v3": 1.0, "acc,v3": 0.0}


def test_context_and_ending_are_tokenised_apart_without_anything_before(
    uniform: LanguageModel, monkeypatch: pytest.MonkeyPatch
):
    import flyweight.evaluation.tasks.choices as module

    seen: list[Any] = []
    score = module.score_requests
    monkeypatch.setattr(
        module,
        "score_requests",
        lambda model, requests, **rest: seen.extend(requests) or score(model, requests),
    )
    score_choices(uniform, [("1 + 1 =", [" 2", " 3"])])
    encode = uniform.tokenizer.encode
    assert seen == [(encode("1 + 1 ="), encode(" 2")), (encode("1 + 1 ="), encode(" 3"))]


def test_questions_that_do_not_fit_are_counted(uniform: LanguageModel):
    # One token a byte and 24 of context: 4 endings of " 1" with 24 bytes before them are one too many.
    questions = [("x" * size, [" 1", " 2", " 3", " 4"]) for size in (23, 24)]
    assert score_choices(uniform, questions).fit == {"requests": 8, "truncated": 4, "tokens_lost": 4}


def test_generated_items_are_kept_beside_the_results(judging: Judging, tmp_path: Path):
    run_arithmark_gen(task(judging(len), limit=3, seed=9, output=tmp_path))
    assert read_json_lines(tmp_path / "arithmark-gen-v2.jsonl") == generate_items("v2", 9, 3)


def test_published_files_are_read_by_their_own_names(judging: Judging, tmp_path: Path):
    folder = tmp_path / "arithmark"
    for form in ("v1", "v3"):
        write_json_lines(folder / PUBLISHED[form].file, generate_items(form, 5, 12))
    answers = right_answers(seed=5, per_operands=12)
    model = judging(lambda text: 0.0 if text in answers else -5.0)
    result = run_arithmark(task(model, data=tmp_path))
    assert {name: (one.value, one.n) for name, one in result.metrics.items()} == {
        "acc,v1": (1.0, 60),
        "acc_norm,v3": (1.0, 24),
        "acc,v3": (1.0, 24),
    }
    assert "v1, 2 operands" in result.subsets
    assert not any(part.startswith("v3") and "operands" in part for part in result.subsets)  # they do not say
    assert result.details["missing"] == {"v2": "no such file"}
    # Of the first version no hash is on record; this third one is none of the publisher's.
    assert [result.details["files"][form]["is_published_file"] for form in ("v1", "v3")] == [
        "not known",
        "no",
    ]
    limited = run_arithmark(task(model, data=folder, limit=7))
    assert [one.n for one in limited.metrics.values()] == [7, 7, 7]
    assert limited.data["fingerprint"] == result.data["fingerprint"]


def test_the_published_file_is_known_by_its_hash(tmp_path: Path):
    (tmp_path / "items.jsonl").write_text("published\n")
    digest = hashlib.sha256(b"published\n").hexdigest()
    published = Published("someone/set", "items.jsonl", sha256=digest)
    assert published.judge(tmp_path / "items.jsonl") == {"sha256": digest, "is_published_file": "yes"}


def test_the_hub_is_asked_for_the_pinned_commits(
    judging: Judging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def served(dataset: str, name: str, *, revision: str | None, **rest: Any) -> str:
        asked.append((dataset, revision, rest["local_files_only"]))
        if name != PUBLISHED["v1"].file:
            raise OSError("no connection")
        write_json_lines(tmp_path / name, generate_items("v1", 0, 2))
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", served)
    result = run_arithmark(task(judging(len)))
    assert asked == [(one.dataset, one.revision, False) for one in PUBLISHED.values()]
    assert list(result.metrics) == ["acc,v1"]
    assert "no connection" in result.details["missing"]["v3"]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "mathmark.jsonl"))
    with pytest.raises(UserError, match="is not the published file"):
        fetch(PUBLISHED["v2"], "arithmark", offline=False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"ctx": "1 + 1 =", "endings": [" 2"], "label": 0, "metadata": {"operator_count": 1}}',
            "expected two or more",
        ),
        (
            '{"ctx": "1 + 1 =", "endings": [" 2", " 3"], "label": 0.5, "metadata": {"operator_count": 1}}',
            "label 0.5; expected a whole number",
        ),
        ('{"ctx": "1 + 1 ="}', r"item 1: not an ArithMark v2 item: 'metadata' is missing"),
        (
            '{"ctx": "1 =", "endings": [" 1", " 2"], "label": 4, "metadata": {"operator_count": 1}}',
            "label 4 of 2",
        ),
        ('{"ctx": "1 =", "endings": [" 1", " "], "label": 0, "metadata": {"operator_count": 1}}', "empty"),
        (
            '{"ctx": "1 =", "endings": [" 1"], "label": "x", "metadata": {"operator_count": 1}}',
            "not an ArithMark",
        ),
        (
            '{"ctx": 5, "endings": [" 1"], "label": 0, "metadata": {"operator_count": 1}}',
            "item 1: not an ArithMark v2 item: 'int' object",
        ),
        (
            '{"ctx": "1 =", "endings": "1234", "label": 0, "metadata": {"operator_count": 1}}',
            "endings is '1234'; expected a list of texts",
        ),
        ("", "no items"),
    ],
)
def test_foreign_files_are_told(tmp_path: Path, judging: Judging, line: str, message: str):
    file = tmp_path / PUBLISHED["v2"].file
    file.write_text(line + "\n")
    with pytest.raises(UserError, match=message):
        run_arithmark(task(judging(len), data=tmp_path))


@pytest.mark.parametrize("options", ["7890", [None, 1, 2, 3], [[1], [2], [3], [4]]])
def test_options_that_are_no_numbers_are_told(tmp_path: Path, judging: Judging, options: Any):
    item = {**generate_items("v1", 0, 1)[0], "options": options}
    write_json_lines(tmp_path / PUBLISHED["v1"].file, [item])
    with pytest.raises(UserError, match="expected a list of numbers"):
        run_arithmark(task(judging(len), data=tmp_path))


def test_missing_files_are_told(tmp_path: Path, judging: Judging):
    with pytest.raises(UserError, match=r"mathmark\.jsonl"):
        run_arithmark(task(judging(len), data=tmp_path))
    with pytest.raises(UserError, match=r"which is not on this machine .*no network is to be used"):
        run_arithmark(task(judging(len), offline=True))
