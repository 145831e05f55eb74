from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from flyweight.base import UserError, write_json
from flyweight.evaluation.comparison import Comparison, Difference, compare
from flyweight.evaluation.render_comparison import render_comparison
from flyweight.evaluation.resampling import holm, paired_difference
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.runs import Run, read_run


def result(
    values: list[float], *, metric: str = "acc", value: float | None = None, prefix: str = "", **rest: Any
) -> TaskResult:
    """A task's result whose items have these values."""
    columns = rest.pop("columns", {})
    mean = float(np.mean(values)) if value is None else value
    return TaskResult(
        {metric: Metric(mean, None, len(values))},
        {"id": [f"{prefix}{n}" for n in range(len(values))], metric: values, **columns},
        **{"chance": 0.25, "data": {"source": "here", "fingerprint": "f"}, **rest},
    )


def run(name: str, **tasks: TaskResult) -> Run:
    return Run(name, name, tasks)


def only(found: Comparison) -> Difference:
    [one] = found.differences
    return one


def answers(count: int, accuracy: float, seed: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(count) < accuracy]


def test_pairing_takes_out_what_is_hard_for_both():
    hard = np.array(answers(1000, 0.5, 0))
    flips = np.array(answers(1000, 0.03, 1)) == 1
    a, b = hard.copy(), np.where(flips & (hard == 1), 0.0, hard)
    found = only(compare(run("A", hellaswag=result(list(a))), run("B", hellaswag=result(list(b)))))
    change = a - b
    assert found.difference == pytest.approx(change.mean())
    assert found.stderr == pytest.approx(change.std(ddof=1) / math.sqrt(1000))
    unpaired = math.sqrt(a.var() / 1000 + b.var() / 1000)
    assert found.stderr < unpaired / 3
    assert found.low == pytest.approx(found.difference - 1.96 * found.stderr, abs=0.25 * found.stderr)
    assert found.high == pytest.approx(found.difference + 1.96 * found.stderr, abs=0.25 * found.stderr)
    assert found.is_told_apart


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    random = np.random.default_rng(0)
    covered = apart = 0
    for _ in range(300):
        a, b = (random.random((2, 200)) < [[0.5], [0.4]]).astype(float)
        found = paired_difference(a, b, resamples=1000, coverage=0.95, random=random)
        covered += found.low <= 0.1 <= found.high
        same = paired_difference(
            a, (random.random(200) < 0.5) * 1.0, resamples=1000, coverage=0.95, random=random
        )
        apart += same.low > 0 or same.high < 0
    assert 0.91 < covered / 300 < 0.985
    assert apart / 300 < 0.09


def test_counts_of_few_values_are_drawn_as_items_are():
    random = np.random.default_rng(0)
    a, b = (random.random((2, 120)) < 0.5).astype(float)
    few = paired_difference(a, b, resamples=20_000, coverage=0.95, random=random)
    jittered = a + 1e-9 * random.random(120)  # so that no two differences are equal
    many = paired_difference(jittered, b, resamples=20_000, coverage=0.95, random=random)
    assert (few.low, few.high) == pytest.approx((many.low, many.high), abs=0.009)
    assert few.p == pytest.approx(many.p, abs=0.02)


def test_a_mean_of_subsets_is_drawn_within_subsets():
    # One small subset of four weighs as much as each of the large ones.
    random = np.random.default_rng(3)
    subset = ["s"] * 20 + ["x"] * 400 + ["y"] * 400
    a, b = (np.round(random.random((2, 820)) * 0.8)).tolist()
    macro = [float(np.mean([np.mean(v[:20]), np.mean(v[20:420]), np.mean(v[420:])])) for v in (a, b)]
    made = [result(v, value=m, columns={"subset": subset}) for v, m in zip((a, b), macro, strict=True)]
    found = only(compare(run("A", blimp=made[0]), run("B", blimp=made[1])))
    assert found.averaging == "subsets"
    assert (found.a, found.b) == pytest.approx(tuple(macro))
    change = np.array(a) - np.array(b)
    errors = [part.std(ddof=1) / math.sqrt(len(part)) for part in (change[:20], change[20:420], change[420:])]
    assert found.stderr == pytest.approx(math.sqrt(sum(error**2 for error in errors)) / 3)
    assert (found.high - found.low) / 3.92 == pytest.approx(found.stderr, rel=0.1)


def test_a_micro_average_with_subsets_stays_one_over_items():
    subset = ["s"] * 20 + ["x"] * 80
    a, b = answers(100, 0.6, 1), answers(100, 0.5, 2)
    made = [result(v, columns={"subset": subset}) for v in (a, b)]
    assert only(compare(run("A", mmlu=made[0]), run("B", mmlu=made[1]))).averaging == "items"


def test_bits_per_byte_are_weighed_by_bytes_and_less_is_better():
    random = np.random.default_rng(0)
    weights = random.integers(10, 1000, 50)
    a, b = 1.0 + random.random((2, 50)) * 0.01
    b += 0.05
    made = [
        result(list(v), metric="bits_per_byte", value=float(np.average(v, weights=weights)),
               columns={"weight": weights.tolist()}, chance=None)
        for v in (a, b)
    ]  # fmt: skip
    found = compare(run("A", text=made[0]), run("B", text=made[1]))
    one = only(found)
    assert one.averaging == "weight"
    assert one.difference == pytest.approx(np.average(a - b, weights=weights))
    assert found.sentences[0].startswith("A is better than B on text (bits_per_byte) by 0.0")
    assert "interval 0.0" in found.sentences[0]


def test_sentences_are_plain():
    right, wrong = [1.0] * 600 + [0.0] * 400, [1.0] * 500 + [0.0] * 500
    better = compare(run("A", hellaswag=result(wrong)), run("B", hellaswag=result(right)))
    assert better.sentences[0].startswith(
        "B is better than A on hellaswag (acc) by 10.0 points (95% interval 8.2 to 11."
    )
    same = compare(run("A", piqa=result(answers(200, 0.5, 1))), run("B", piqa=result(answers(200, 0.5, 2))))
    assert same.sentences[0].startswith("A and B cannot be told apart on piqa (acc): difference")
    few = compare(run("A", piqa=result([1.0] * 5)), run("B", piqa=result([0.0] * 5)))
    assert few.sentences == ["A and B have only 5 items of piqa in common: too few to tell them apart"]
    assert "0 of 1 comparisons" in few.summary


def test_many_comparisons_are_corrected():
    tasks = {f"t{n}": result(answers(300, 0.5, n)) for n in range(20)}
    others = {f"t{n}": result(answers(300, 0.5, 100 + n)) for n in range(20)}
    found = compare(run("A", **tasks), run("B", **others))
    assert "about 1.0 would by chance" in found.summary
    assert not any(one.survives for one in found.differences)
    assert all(one.p_holm >= one.p for one in found.differences)
    # By hand: 0.01 * 4, 0.02 * 3, then never below what came before.
    assert holm([0.04, 0.01, 0.02, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_items_are_matched_by_id_and_the_rest_is_counted():
    a, b = result(answers(100, 0.7, 1)), result(answers(80, 0.7, 2))
    b.items["id"] = [str(n) for n in reversed(range(30, 110))]
    found = compare(run("A", piqa=a), run("B", piqa=b))
    one = only(found)
    assert (one.items, one.only_a, one.only_b) == (70, 30, 10)
    shared = [b.items["acc"][79 - (n - 30)] for n in range(30, 100)]
    assert one.b == pytest.approx(np.mean(shared))
    assert one.a == pytest.approx(np.mean(a.items["acc"][30:]))
    assert "30 items only A has and 10 only B has are left out" in found.notes[0]


def test_items_that_do_not_count_for_a_metric_are_left_out():
    values = [1.0, None, 0.0] * 20
    made = [TaskResult({"acc,v1": Metric(0.5, None, 40)}, {"id": list(range(60)), "acc,v1": values})] * 2
    assert only(compare(run("A", arithmark=made[0]), run("B", arithmark=made[1]))).items == 40


def test_what_is_not_comparable_is_refused_with_its_reason():
    a = run("A", piqa=result([1.0] * 20), boolq=result([1.0] * 20))
    other_data = result([1.0] * 20, data={"source": "there", "fingerprint": "g"})
    found = compare(a, run("B", piqa=other_data, boolq=result([0.0] * 20)))
    assert [one.task for one in found.differences] == ["boolq"]
    assert "A was measured on data f (here), B on g (there)" in found.refused["piqa"]
    with pytest.raises(UserError, match="A was given 0 examples in the prompt and B 5"):
        compare(run("A", piqa=result([1.0])), run("B", piqa=result([1.0], shots=5)))
    with pytest.raises(UserError, match="no mean over the items"):
        compare(run("A", wikitext=result([1.0], value=7.0)), run("B", wikitext=result([1.0])))
    with pytest.raises(
        UserError, match="no task in common: the first was measured on piqa, the second on boolq"
    ):
        compare(run("A", piqa=result([1.0])), run("B", boolq=result([1.0])))
    twice = result([1.0, 1.0])
    twice.items["id"] = ["1", "1"]
    with pytest.raises(UserError, match="1 items of A share their id"):
        compare(run("A", piqa=twice), run("B", piqa=result([1.0])))


def test_the_same_answers_everywhere_say_so_without_a_crash():
    a = run("tiny", piqa=result([1.0, 0.0] * 20))
    found = compare(a, a)
    assert (found.a, found.b) == ("tiny (first)", "tiny (second)")
    assert (only(found).low, only(found).high, only(found).p) == (0.0, 0.0, 1.0)
    assert found.notes == ("both results are of the same weights",)


def written(folder: Path, name: str, tasks: dict[str, TaskResult], **rest: Any) -> Path:
    data = {
        "format": 2,
        "model": {"name": name, "fingerprint": name},
        "versions": {"lm_eval": "0.4.13"},
        "tasks": {task: result.to_json() for task, result in tasks.items()},
    }
    write_json(folder / "results.json", {**data, **rest})
    return folder


def test_results_are_read_from_files_and_folders(tmp_path: Path):
    tasks = {"piqa": result(answers(50, 0.6, 1)), "boolq": result(answers(50, 0.6, 2))}
    a = written(tmp_path / "a", "A", tasks)
    b = written(tmp_path / "b", "B", tasks, versions={"lm_eval": "0.4.12"})
    found = compare(read_run(a), read_run(b / "results.json"), resamples=500)
    assert found.notes == ("A was measured with lm_eval 0.4.13, B with lm_eval 0.4.12",) or (
        "A was measured with lm_eval 0.4.13, B with 0.4.12" in found.notes
    )
    again = compare(read_run(a), read_run(b), resamples=500)
    assert found == again
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(data["differences"]) == 2
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render_comparison(found))
    text = console.export_text()
    assert "cannot be told apart" in text
    assert found.summary.split(";")[0] in text


def test_a_narrow_terminal_shows_every_number_and_verdict_whole():
    made = [
        ("arithmark-gen", "acc_norm,v1", 0.2, 0.1, 0.3, 1.2e-5, 10042, ["+20.0 (+10.0 to +30.0) <0.001", " A "]),
        ("hellaswag", "acc_norm", 0.2, 0.1, 0.3, 0.32, 10042, ["10,042", " 0.32 ", " A? "]),
        ("gsm8k@8", "exact_match,flexible-extract", -0.5, -1.0, 0.1, 1.0, 9999, ["(-100.0 to +10.0)", "neither"]),
        ("text", "bits_per_byte", -0.1, -0.12345, -0.1, 0.03, 12, ["-0.1000 (-0.1235 to -0.1000)", " 0.03 "]),
        ("piqa", "acc", 0.2, 0.1, 0.3, 1.0, 4, ["too few"]),
    ]  # fmt: skip
    found = tuple(
        Difference(task, metric, 0.5, 0.5, change, 0.01, low, high, p, p, items, 0, 0, "items")
        for task, metric, change, low, high, p, items, _ in made
    )
    console = Console(width=80, file=io.StringIO())
    console.print(render_comparison(Comparison("A", "B", found, {}, (), 10_000)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert "better" in text
    words = " ".join(text.split())
    for task, *_, shown in made:
        assert task in words
        for part in shown:
            assert part in words, part


def test_a_value_that_is_no_number_is_told(tmp_path: Path):
    broken = result([1.0, 0.0])
    broken.metrics["acc"] = Metric(None, None, 2)  # type: ignore[arg-type]
    folder = written(tmp_path / "a", "A", {"piqa": broken})
    with pytest.raises(
        UserError, match=r"a/results\.json: .*damaged \(TypeError: piqa acc is None, no number\)"
    ):
        read_run(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 1, "tasks": {}}, "have format 1; expected 2. Run the evaluation again"),
        ({"format": 3}, "have format 3; expected 2. Use a newer Flyweight"),
        ([], "have format None"),
        ({"format": 2, "tasks": {}}, "damaged"),
        ({"format": 2, "model": {"name": "x"}, "tasks": {"piqa": {}}}, "damaged"),
    ],
)
def test_other_files_are_told(tmp_path: Path, content: Any, message: str):
    write_json(tmp_path / "results.json", content)
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        read_run(tmp_path)
    with pytest.raises(UserError, match="no such results"):
        read_run(tmp_path / "nothing.json")
