from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flyweight.base import UserError, read_json, write_json
from flyweight.evaluation import (
    SUITES,
    Metric,
    Settings,
    TaskResult,
    Wanted,
    engine,
    evaluate,
    parse_tasks,
    render_notes,
    render_results,
    render_suite,
)
from flyweight.evaluation.suites import suite_row
from flyweight.inference import DecoderModel, LanguageModel

GENERATED = [Wanted("arithmark-gen")]


def shown(renderable: object) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_results_say_what_was_measured_and_lie_beside(
    model: DecoderModel, benchmarks_folder: Path, tmp_path: Path
):
    seen: list[tuple[str, float]] = []
    results = evaluate(
        model, [Wanted("piqa"), *GENERATED], Settings(data=benchmarks_folder, limit=2, seed=4), output=tmp_path / "out",
        progress=lambda task, share: seen.append((task, share)),
    )  # fmt: skip
    assert read_json(tmp_path / "out" / "results.json") == json.loads(json.dumps(results, allow_nan=False))
    assert (results["model"]["name"], results["model"]["precision"]) == ("tiny", "float32")
    assert results["settings"] == {"limit": 2, "seed": 4, "data": str(benchmarks_folder), "schema": None}
    assert results["versions"]["lm-eval"].startswith("0.4.")
    assert list(results["tasks"]) == ["piqa", "arithmark-gen"]
    for task in results["tasks"].values():
        assert task["seconds"] >= 0
        assert {len(column) for column in task["items"].values()} == {len(task["items"]["id"])}
        assert TaskResult.from_json(task).to_json().items() <= task.items()
    assert ("piqa", 1.0) in seen
    assert ("arithmark-gen", 1.0) in seen


def test_the_table_for_people(model: DecoderModel, benchmarks_folder: Path):
    results = evaluate(model, [Wanted("piqa"), *GENERATED], Settings(data=benchmarks_folder, limit=3))
    text = shown(render_results(results))
    value = results["tasks"]["piqa"]["metrics"]["acc"]["value"]
    assert re.search(rf"piqa .* 3 .* acc .* {value:.1%} .* 50\.0%", text)
    assert re.search(r"arithmark-gen .* acc,v1 .* 25\.0%", text)


def test_the_same_again(model: DecoderModel):
    one, two = (evaluate(model, GENERATED, Settings(limit=3, seed=1)) for _ in range(2))
    for results in (one, two):
        del results["tasks"]["arithmark-gen"]["seconds"]
    assert one == two


def test_a_run_that_was_interrupted_goes_on(
    model: DecoderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ran: list[str] = []

    def counted(name: str, interrupt: bool = False):
        def run(task: object) -> TaskResult:
            ran.append(name)
            if interrupt:
                raise KeyboardInterrupt
            return TaskResult({"acc": Metric(0.5, None, 1)}, {"id": ["0"], "acc": [0.5]})

        return run

    tasks = [Wanted("one"), Wanted("two")]
    monkeypatch.setattr(engine, "OWN_TASKS", {"one": counted("one"), "two": counted("two", interrupt=True)})
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, tasks, output=tmp_path)
    assert list(read_json(tmp_path / "results.json")["tasks"]) == ["one"]
    monkeypatch.setattr(engine, "OWN_TASKS", {"one": counted("one"), "two": counted("two")})
    results = evaluate(model, tasks, output=tmp_path)
    assert ran == ["one", "two", "two"]
    assert list(results["tasks"]) == ["one", "two"]
    for other, message in (
        (Settings(limit=5), "another setting: limit is None there and 5 here"),
        (Settings(data=tmp_path), "another setting: data is 'hub' there"),
        (Settings(schema=tmp_path / "schema.yaml"), "another setting: schema is None there"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(model, tasks, other, output=tmp_path)
    evaluate(model, [Wanted("one")], Settings(data=tmp_path / "a"), output=tmp_path / "local")
    with pytest.raises(UserError, match=r"data is '.*/a' there and '.*/b' here"):
        evaluate(model, [Wanted("one")], Settings(data=tmp_path / "b"), output=tmp_path / "local")


def test_results_of_another_model_are_not_mixed_in(
    model: DecoderModel, uniform: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    result = TaskResult({"acc": Metric(0.5, None, 1)}, {"id": ["0"], "acc": [0.5]})
    monkeypatch.setattr(engine, "OWN_TASKS", {"one": lambda task: result})
    evaluate(model, [Wanted("one")], output=tmp_path)
    with pytest.raises(UserError, match=r"another model: fingerprint is .* choose another folder"):
        evaluate(uniform, [Wanted("one")], output=tmp_path)


def test_results_of_another_lm_eval_or_without_their_parts_are_not_mixed_in(
    model: DecoderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    result = TaskResult({"acc": Metric(0.5, None, 1)}, {"id": ["0"], "acc": [0.5]})
    monkeypatch.setattr(engine, "OWN_TASKS", {"one": lambda task: result})
    evaluate(model, [Wanted("one")], output=tmp_path)
    data = read_json(tmp_path / "results.json")
    here = data["versions"]["lm-eval"]
    write_json(tmp_path / "results.json", {**data, "versions": {"lm-eval": "0.4.0"}})
    with pytest.raises(UserError, match=rf"another version: lm-eval is '0\.4\.0' there and '{here}' here"):
        evaluate(model, [Wanted("one")], output=tmp_path)
    write_json(tmp_path / "results.json", {"format": 2})
    with pytest.raises(UserError, match="another model"):
        evaluate(model, [Wanted("one")], output=tmp_path)
    with pytest.raises(UserError, match=r"results\.json: this is a file"):
        evaluate(model, [Wanted("one")], output=tmp_path / "results.json")


def test_a_task_that_fails_costs_the_others_nothing(
    model: DecoderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(task: object) -> TaskResult:
        raise UserError("the file is broken.")

    result = TaskResult({"acc": Metric(0.5, None, 1)}, {"id": ["0"], "acc": [0.5]})
    monkeypatch.setattr(engine, "OWN_TASKS", {"one": broken, "two": lambda task: result})
    results = evaluate(model, [Wanted("one"), Wanted("two")], output=tmp_path)
    assert results["failed"] == {"one": "the file is broken."}
    assert list(read_json(tmp_path / "results.json")["tasks"]) == ["two"]
    assert render_notes(results) == ["failed: the file is broken."]


def test_what_cannot_run_is_refused_before_any_work(model: DecoderModel, benchmarks_folder: Path):
    with pytest.raises(UserError, match=r"there is no task 'blinp', .* did you mean blimp"):
        evaluate(model, [*GENERATED, Wanted("blinp")])
    with pytest.raises(UserError, match="did you mean arithmark-gen"):
        evaluate(model, [Wanted("arithmrk-gen")])
    with pytest.raises(
        UserError, match=r"here are hellaswag, .* logicmark-gen, .* and `lm_eval ls tasks` lists"
    ):
        evaluate(model, [Wanted("qqqqqqqq")])
    with pytest.raises(UserError, match="the limit is 0"):
        Settings(limit=0)
    with pytest.raises(UserError, match=r"sciq: there is no folder .*sciq with its files"):
        evaluate(model, [*GENERATED, Wanted("sciq")], Settings(data=benchmarks_folder))
    results = evaluate(model, [Wanted("sciq")], Settings(data=benchmarks_folder), skip_missing=True)
    assert list(results["missing"]) == ["sciq"]
    assert render_notes(results)[0].startswith("not run: sciq: there is no folder")


def test_a_missing_lm_eval_is_told_before_any_work(
    model: DecoderModel, benchmarks_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    for skip_missing in (False, True):
        with pytest.raises(
            UserError, match=r"^piqa: benchmarks need lm-eval: pip install 'flyweight\[eval\]'"
        ):
            evaluate(
                model,
                [*GENERATED, Wanted("piqa")],
                Settings(data=benchmarks_folder),
                skip_missing=skip_missing,
            )
    assert list(evaluate(model, GENERATED, Settings(limit=1))["tasks"]) == ["arithmark-gen"]


def test_names_of_tasks():
    assert parse_tasks("hellaswag, gsm8k@8") == [Wanted("hellaswag"), Wanted("gsm8k", 8)]
    assert [one.key for one in parse_tasks("piqa@0,piqa")] == ["piqa@0", "piqa"]
    for text, message in (
        ("a,,b", "task '': expected NAME"),
        ("a@x", "NAME@EXAMPLES"),
        ("a,a", "asked for twice"),
    ):
        with pytest.raises(UserError, match=message):
            parse_tasks(text)


CARD_SAYS_OTHERWISE = {"GPT-2 Medium (355M)"}
"""Rows whose printed average is not that of their columns."""


def test_baselines_of_agents_stand_below_their_scores():
    random = {"em": Metric(0.125, 0.01, 8)._asdict(), "steps": Metric(9.0, 1.0, 8)._asdict()}
    result = TaskResult(
        {"em": Metric(0.5, 0.1, 8), "steps": Metric(3.0, 0.5, 8)}, {"id": list(range(8))},
        fit={"requests": 24, "truncated": 0, "did_not_fit": 2},
        details={"main_metric": "em", "baselines": {"random": random}},
    )  # fmt: skip
    results = {
        "model": {"name": "mine", "max_length": 512}, "tasks": {"hotpotqa": result.to_json()}, "missing": {},
        "failed": {},
    }  # fmt: skip
    text = shown(render_results(results))
    assert re.search(r"hotpotqa +0 +8 +em +50\.0% +10\.0%", text)
    assert re.search(r"random agent +8 +em +12\.5% +1\.0%", text)
    assert text.count("steps") == 1
    assert render_notes(results) == [
        "hotpotqa: 2 of 8 episodes ended since the prompt did not fit into the model's 512 tokens."
    ]


@pytest.mark.parametrize("name", SUITES)
def test_a_narrow_terminal_shows_every_number_of_a_card_whole(name: str):
    suite = SUITES[name]
    console = Console(width=80, file=io.StringIO())
    results = {"model": {"name": "gpt-s-5m@5.095M"}, "tasks": {}}
    console.print(render_suite(suite, name, results))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    for row in suite.published:
        for value in row.values:
            assert value is None or f"{value:.2f}" in text, (row.model, value)


@pytest.mark.parametrize("name", SUITES)
def test_a_part_of_each_set_is_marked_beside_published_rows_with_its_errors(name: str):
    suite = SUITES[name]
    metric = Metric(0.4123, 0.0234, 10)
    tasks = {part.key: TaskResult({part.metric: metric}, {"id": []}).to_json() for part in suite.parts}
    found = {"model": {"name": "gpt-s-5m@5.095M"}, "tasks": tasks}
    for limit in (4, None):
        console = Console(width=80, file=io.StringIO())
        console.print(render_suite(suite, name, {**found, "settings": {"limit": limit}}))
        text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
        assert "…" not in text
        assert ("gpt-s-5m@5.095M (part)" in text) == (limit is not None)
        assert ("It answered a part of each set only" in text) == (limit is not None)
        assert "± error" in text
        assert " 2.34 " in text


def test_published_rows_have_a_number_a_column_and_the_average_of_them():
    for suite in SUITES.values():
        for row in suite.published:
            assert len(row.values) == len(suite.columns) + 1, row.model
            *values, average = row.values
            known = [value for value in values if value is not None]
            if average is not None and len(known) == len(values) and row.model not in CARD_SAYS_OTHERWISE:
                assert sum(known) / len(known) == pytest.approx(average, abs=0.02), row.model


def test_a_row_in_a_cards_columns():
    suite = SUITES["gpt-x2"]
    shares = {"hellaswag": 0.4, "arc_easy": 0.5, "arc_challenge": 0.3, "piqa": 0.6, "winogrande": 0.5}
    metrics = {"winogrande": "acc"}
    results = {
        name: TaskResult({metrics.get(name, "acc_norm"): Metric(share, None, 10)}, {"id": []})
        for name, share in shares.items()
    }
    row = suite_row(suite, results)
    assert row.values == pytest.approx((40.0, 40.0, 60.0, None, 50.0, None))
    assert row.average is None  # never over fewer columns than the card's
    tasks = {name: result.to_json() for name, result in results.items()}
    text = shown(render_suite(suite, "gpt-x2", {"model": {"name": "mine"}, "tasks": tasks}))
    assert re.search(r"mine +40\.00 +40\.00 +60\.00 +50\.00", text)
    assert re.search(r"SmolLM2-135M +43\.22", text)
    assert "mine was measured here" in text
    assert "their authors' own harness" in text or "its authors' own harness" in " ".join(text.split())
