"""A run folder is read as one history, whatever it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyweight.base import UserError, write_json
from flyweight.recipe import Recipe
from flyweight.report import RunRecord, read_run
from flyweight.training.folder import locked_run


def test_what_a_later_attempt_undid_is_gone(run: Path, recipe: Recipe):
    record = read_run(run)
    clocks = [step["clock"] for step in record.steps]
    assert clocks == [256 * number for number in range(1, 65)]
    assert max(step["loss"] for step in record.steps) < 10
    assert record.state == "finished"
    assert len(record.of("run_started")) == 2
    assert record.recipe == recipe


def test_numbers_of_a_run(run: Path):
    record = read_run(run)
    assert record.clock == 64 * 256
    assert record.training_seconds == pytest.approx(32.0)
    assert record.tokens_per_second == 512.0
    assert record.share_of_peak == pytest.approx(0.321)
    assert record.bits_per_byte == {"english": pytest.approx(1.53125), "mine": pytest.approx(2.53125)}
    assert record.hardware == "Test CPU <9000>, 2 threads"
    assert record.corpus["mine"]["licence"] == "mit"
    assert record.versions["torch"] == "2.13.0"


def test_a_run_without_results_or_plan_has_none(run: Path):
    (run / "results.json").unlink()
    (run / "plan.json").unlink()
    record = read_run(run)
    assert (record.results, record.execution, record.corpus, record.export) == ({}, {}, {}, {})


def test_a_run_that_was_killed_is_not_finished(run: Path):
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    (run / "events.jsonl").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    assert read_run(run).state == "running or killed"


def test_a_run_in_whose_folder_a_process_trains_is_running(run: Path):
    with locked_run(run):
        assert read_run(run).state == "running"
    assert read_run(run).state == "finished"


def test_looking_for_a_lock_makes_none(run: Path):
    assert not read_run(run).locked
    assert not (run / ".lock").exists()


def lines(recipe: Recipe, *losses: tuple[int, float | str]) -> RunRecord:
    """A record whose log lines end at these steps of 256 tokens."""
    shape = {"kind": "step", "batch_size": 8, "sequence_length": 32}
    events = [{**shape, "step": step, "clock": 256 * step, "loss": loss} for step, loss in losses]
    return RunRecord("x", recipe, "x", events)


def test_the_last_loss_is_a_mean_by_steps(recipe: Recipe):
    # The last line covers two steps only.
    assert lines(recipe, (80, 9.0), (90, 8.0), (98, 4.0), (100, 3.0)).last_loss == (pytest.approx(3.8), 10)
    many = [(step, float(step > 990)) for step in range(1, 1001)]
    assert lines(recipe, *many).last_loss == (1.0, 10)  # 1 % of the tokens
    assert lines(recipe, (20, 5.0)).last_loss == (5.0, 20)


def test_a_last_loss_that_was_not_finite_is_none(recipe: Recipe):
    assert lines(recipe, (98, "nan"), (100, 3.0)).last_loss == (None, 100)
    assert lines(recipe).last_loss == (None, 0)


def test_the_export_beside_it_is_found_unless_it_is_another_models(run: Path, recipe: Recipe, export_record):
    export_record(run.parent / "export", recipe, 16384)
    assert read_run(run).export["model_class"] == "FlyweightForCausalLM"
    export_record(run.parent / "export", recipe.model_copy(update={"seed": 99}), 16384)
    assert read_run(run).export == {}


def test_the_record_up_to_a_clock(run: Path):
    record = read_run(run).until(8192)
    assert record.clock == 8192
    assert max(event.get("clock", 0) for event in record.events) == 8192
    assert record.results == {}  # they are of the end
    assert read_run(run).until(16384).results["tasks"]


def test_results_belong_to_the_model_that_they_name(run: Path):
    write_json(run / "results.json", {"model": {"name": "tiny@8.192K"}, "tasks": {}})
    assert read_run(run).until(8192).results
    assert not read_run(run).until(16384).results
    write_json(run / "results.json", {"tasks": {}})
    assert read_run(run).until(16384).results  # unnamed: the run's end
    assert not read_run(run).until(8192).results


def test_what_is_no_run_is_said(tmp_path: Path, run: Path):
    with pytest.raises(UserError, match="no such folder"):
        read_run(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no run here"):
        read_run(tmp_path / "empty")
    (run / "results.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UserError, match=r"results\.json: expected keys and values"):
        read_run(run)
    (run / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="not valid JSON"):
        read_run(run)
    (run / "recipe.yaml").unlink()
    with pytest.raises(UserError, match=r"recipe\.yaml is missing"):
        read_run(run)


def test_an_empty_record_says_nothing(recipe: Recipe):
    record = RunRecord("x", recipe, "x")
    assert record.clock == 0
    assert record.bits_per_byte == {}
    assert record.tokens_per_second is record.share_of_peak is record.training_seconds is None
