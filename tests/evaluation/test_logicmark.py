from __future__ import annotations

import json
import operator
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from flyweight.base import UserError
from flyweight.corpus.generated.logic import HOPS, Problem, evaluation_problems
from flyweight.corpus.generated.relations import Statement
from flyweight.evaluation.items import read_json_lines, write_json_lines
from flyweight.evaluation.tasks.logicmark import run_logicmark, run_logicmark_gen
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel

Judging = Callable[[Callable[[str], float]], LanguageModel]

MEANING = {
    "<": operator.lt, "<=": operator.le, "=": operator.eq, ">=": operator.ge, ">": operator.gt, "!=": operator.ne
}  # fmt: skip


def task(model: LanguageModel, **rest: object) -> TaskInput:
    given = {"data": None, "limit": None, "seed": 0, "output": None, "progress": None, **rest}
    return TaskInput(model, **given)  # type: ignore[arg-type]


def connected(premises: tuple[Statement, ...], first: str, last: str) -> list[str]:
    """All names, the ones between `first` and `last` in front."""
    paths = [[first]]
    for path in paths:
        for left, _, right in premises:
            paths += [
                [*path, b] for a, b in ((left, right), (right, left)) if a == path[-1] and b not in path
            ]
    between = next(path for path in paths if path[-1] == last)
    return list(dict.fromkeys([*between, *(name for path in paths for name in path)]))


def witness(statements: list[tuple[str, str, str]], names: list[str]) -> dict[str, int] | None:
    """Whole numbers that make all statements true, by trying them all; None where there are none.

    As many numbers as names are enough: only their order matters.
    """

    def extended(values: dict[str, int]) -> dict[str, int] | None:
        if len(values) == len(names):
            return values
        name = names[len(values)]
        for value in range(len(names)):
            tried = {**values, name: value}
            if all(
                MEANING[relation](tried[left], tried[right])
                for left, relation, right in statements
                if name in (left, right) and left in tried and right in tried
            ) and (found := extended(tried)):
                return found
        return None

    return extended({})


def test_trying_all_numbers_decides():
    assert witness([("a", "<", "b"), ("b", "<", "c")], ["a", "b", "c"]) == {"a": 0, "b": 1, "c": 2}
    assert witness([("a", "<", "b"), ("b", "<", "c"), ("c", "<=", "a")], ["a", "b", "c"]) is None
    assert witness([("a", "=", "b"), ("a", "!=", "b")], ["a", "b"]) is None


OPPOSITE = {"<": ">=", "<=": ">", "=": "!=", "!=": "=", ">": "<=", ">=": "<"}


@pytest.mark.parametrize("hops", HOPS)
def test_exactly_one_option_holds_under_all_numbers_that_satisfy_the_premises(hops: int):
    """With nothing of the generator's own reasoning: every assignment of small whole numbers is tried."""
    for problem in evaluation_problems(hops, 12, seed=3):
        for place, (left, relation, right) in enumerate(problem.options):
            names = connected(problem.premises, left, right)
            given = [tuple(premise) for premise in problem.premises]
            assert witness(given, names) is not None
            counterexample = witness([*given, (left, OPPOSITE[relation], right)], names)
            assert (counterexample is None) == (place == problem.answer), (problem, place)


def oracle(problems: list[Problem]) -> Callable[[str], float]:
    right = {problem.context + problem.endings[problem.answer] for problem in problems}
    return lambda text: 0.0 if text in right else -5.0


def test_an_oracle_gets_everything_right_and_a_guesser_a_quarter(judging: Judging, tmp_path: Path):
    problems = [problem for hops in HOPS for problem in evaluation_problems(hops, 8, 4)]
    found = run_logicmark_gen(task(judging(oracle(problems)), limit=8, seed=4, output=tmp_path))
    assert found.metrics["acc_norm"].value == 1.0
    assert list(found.subsets) == ["1 hop", "2 hops", "3 hops", "4 hops", "5 hops"]
    assert all(part["acc_norm"].n == 8 for part in found.subsets.values())
    items = read_json_lines(tmp_path / "logicmark-gen.jsonl")
    assert [set(item) for item in items] == [{"ctx", "endings", "label", "hops"}] * 40
    assert len(set(found.items["id"])) == 40
    guess = run_logicmark_gen(task(judging(lambda text: random.Random(text).random()), limit=60)).metrics[
        "acc"
    ]
    assert abs(guess.value - 0.25) < 4 * (guess.stderr or 0)
    json.dumps(found.to_json(), allow_nan=False)


def test_the_generated_set_is_read_back_by_the_default_schema(judging: Judging, tmp_path: Path):
    problems = [problem for hops in HOPS for problem in evaluation_problems(hops, 6, 1)]
    model = judging(lambda text: random.Random(text).random())
    made = run_logicmark_gen(task(model, limit=6, seed=1, output=tmp_path / "logicmark"))
    read = run_logicmark(task(model, data=tmp_path))
    assert read.metrics == made.metrics
    assert read.items["loglikelihoods"] == made.items["loglikelihoods"]
    limited = run_logicmark(task(model, data=tmp_path, limit=2))
    assert limited.items["id"] == [str(6 * hops + n) for hops in range(5) for n in range(2)]
    assert limited.data == read.data
    assert len(problems) == len(read.items["id"])


def test_the_norm_is_per_token_and_the_average_over_items(judging: Judging, tmp_path: Path):
    # One token a byte: " no" has 3 tokens, " a longer" has 9.
    items = [
        {"ctx": f"{n}:", "endings": ["no", "a longer"], "label": 1, "hops": 1 if n < 3 else 2}
        for n in range(4)
    ]
    write_json_lines(tmp_path / "logicmark" / "set.jsonl", items)
    model = judging(lambda text: -4.0 if text.endswith("no") else -5.0 if text[0] != "0" else -50.0)
    found = run_logicmark(task(model, data=tmp_path))
    assert found.metrics["acc"].value == 0.0
    assert found.metrics["acc_norm"].value == 0.75
    assert found.subsets["1 hop"]["acc_norm"].value == pytest.approx(2 / 3)
    assert found.items["ending_tokens"][0] == [3, 9]
    assert found.chance == 0.5


@pytest.mark.parametrize("name", ["schema.yaml", "schema.json"])
def test_a_schema_says_what_the_fields_are_called(judging: Judging, tmp_path: Path, name: str):
    items = [{"q": {"text": "a < b. So"}, "options": [" b < a", " a < b"], "answer": "B", "n": 1}] * 2
    folder = tmp_path / "logicmark"
    write_json_lines(folder / "test.jsonl", items)
    write_json_lines(folder / "other.jsonl", items)
    schema = {"ctx": "q.text", "endings": "options", "label": "answer", "hops": "n", "file": "test.jsonl"}
    lines = "\n".join(f"{key}: {value}" for key, value in schema.items())
    (folder / name).write_text(json.dumps(schema) if name.endswith("json") else lines)
    model = judging(lambda text: 0.0 if text == "a < b. So a < b" else -5.0)
    assert run_logicmark(task(model, data=tmp_path)).metrics["acc_norm"].value == 1.0
    # The option goes before what lies beside the data.
    (tmp_path / "mine.yaml").write_text(lines.replace("test.jsonl", "other.jsonl"))
    found = run_logicmark(task(model, data=tmp_path, schema=tmp_path / "mine.yaml"))
    assert found.data["source"].endswith("other.jsonl")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"premises": "a"}, r"the field 'ctx' \(ctx\) is missing; this item has premises"),
        ({"ctx": "a", "endings": ["x"], "label": 0, "hops": 1}, "endings is .* expected a list of two texts"),
        ({"ctx": "a", "endings": ["x", "y"], "label": 2, "hops": 1}, "label is 2; expected .* 0 to 1"),
        (
            {"ctx": "a", "endings": ["x", "y"], "label": 1, "hops": "many"},
            "hops is 'many'; expected a number",
        ),
        (
            {"ctx": "a", "endings": ["x", "y"], "label": 1, "hops": float("inf")},
            "hops is inf; expected a number",
        ),
        ({"ctx": "", "endings": ["x", "y"], "label": 1, "hops": 1}, "ctx is ''; expected text"),
    ],
)
def test_items_of_other_fields_are_told(judging: Judging, tmp_path: Path, item: dict, message: str):
    write_json_lines(tmp_path / "logicmark" / "set.jsonl", [item])
    with pytest.raises(UserError, match=message):
        run_logicmark(task(judging(len), data=tmp_path))


def test_missing_files_and_wrong_schemas_are_told(judging: Judging, tmp_path: Path):
    model = judging(len)
    with pytest.raises(UserError, match="needs its file: give a folder"):
        run_logicmark(task(model))
    with pytest.raises(UserError, match="there is no data file here"):
        run_logicmark(task(model, data=tmp_path))
    schema = tmp_path / "schema.yaml"
    schema.write_text("context: q\n")
    with pytest.raises(UserError, match="context: extra inputs are not permitted; a schema has the keys ctx"):
        run_logicmark(task(model, data=tmp_path))
    schema.write_text("dataset: someone/logic\nfile: test.jsonl\n")
    with pytest.raises(
        UserError, match=r"someone/logic, which is not on this machine .*no network is to be used"
    ):
        run_logicmark(task(model, schema=schema, offline=True))
