"""Where the time went, in one attempt and over several; and records from before there was accounting."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
from test_faults import KillAt, Killed
from test_run import STEP, changed

from flyweight.base import UserError
from flyweight.events import EVENTS_FILE, Spent, read_events, run_spent
from flyweight.events.record import raw_events
from flyweight.inference import list_checkpoints
from flyweight.training import guard, loop, recovery, train
from flyweight.training import run as run_module
from flyweight.training.accounting import Accounts, Window
from flyweight.training.devices import bfloat16_peak


class Joules:
    """A meter that counts a joule every time it is asked."""

    source = "a test"

    def __init__(self) -> None:
        self.count = 0
        self.closed = False

    def joules(self) -> float:
        self.count += 1
        return float(self.count)

    def close(self) -> None:
        self.closed = True


class Scripted(Joules):
    def __init__(self, *values: float | None) -> None:
        super().__init__()
        self.values = list(values)

    def joules(self) -> float | None:  # type: ignore[override]
        return self.values.pop(0)


def test_what_is_left_out_of_a_line_is_no_part_of_its_energy() -> None:
    window = Window.new(Scripted(10.0, 14.0, 20.0, 23.0))
    with window.paused():
        pass
    assert window.joules == 23 - 10 - (20 - 14)
    broken = Window.new(Scripted(10.0, 14.0, None, None))
    with broken.paused():
        pass
    assert broken.joules is None
    assert Window.new().joules is None


def test_utilisation_is_arithmetic_over_what_the_device_could_have_done() -> None:
    accounts = Accounts(peak_flops=100.0)
    accounts.add(Window(None, 0.0, None, targets=27, positions=30, flops=80.0, data_seconds=0.25), 2.0)
    accounts.add(Window(None, 0.0, None, targets=9, positions=10, flops=40.0), 1.0)
    end = accounts.finished(7, 40, "finished", 4.0)
    assert end.share_of_peak == pytest.approx(120 / 3 / 100)
    assert (end.tokens, end.training_seconds, end.data_seconds, end.joules) == (40, 3.0, 0.25, None)
    assert Accounts(peak_flops=0.0).share_of_peak(1.0, 1.0) is None


@pytest.fixture(scope="module")
def interrupted(recipe, corpus, tmp_path_factory) -> Path:
    """A run in two attempts, with checkpoints and validations, beside a meter."""
    folder = tmp_path_factory.mktemp("accounting") / "run"
    busy = changed(recipe, execution={"checkpoint_every": 4 * STEP}, evaluation={"every": 5 * STEP})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "energy_metered", _metered)
        train(busy, corpus, folder, sinks=[], stop_after=7 * STEP)
        train(busy, corpus, folder, sinks=[])
    return folder


class _metered:
    def __init__(self, device, *, first) -> None:
        self.meter = Joules()

    def __enter__(self) -> Joules:
        return self.meter

    def __exit__(self, *_: object) -> None:
        self.meter.close()


def test_the_parts_of_an_attempt_are_within_its_time_and_add_up_to_its_lines(interrupted) -> None:
    events = read_events(interrupted)
    end = events[-1]
    assert end["kind"] == "run_finished"
    parts = end["training_seconds"] + end["checkpoint_seconds"] + end["validation_seconds"]
    assert 0.3 * end["seconds"] < parts <= end["seconds"]
    assert all(end[f"{part}_seconds"] > 0 for part in ("training", "data", "checkpoint", "validation"))
    own = [event for event in events if event["attempt"] == end["attempt"]]
    lines = [event for event in own if event["kind"] == "step"]
    assert end["training_seconds"] == pytest.approx(sum(line["seconds"] for line in lines), abs=0.01)
    assert end["tokens"] == 13 * STEP
    assert end["energy_from"] == "a test"
    assert end["joules"] > sum(line["joules"] for line in lines) > 0  # the rest is validation and checkpoints
    validated = [event for event in own if event["kind"] == "validated"]
    assert end["validation_seconds"] >= sum(event["seconds"] for event in validated)


def test_what_a_run_spent_is_the_sum_of_its_attempts(interrupted, tmp_path) -> None:
    raw = [json.loads(line) for line in (interrupted / EVENTS_FILE).read_text().splitlines()]
    ends = [event for event in raw if event["kind"] == "run_finished"]
    spent = run_spent(interrupted)
    assert spent is not None
    assert (spent.attempts, spent.killed, spent.tokens) == (2, 0, 20 * STEP)
    assert spent.joules == sum(end["joules"] for end in ends)
    assert spent.seconds == sum(end["seconds"] for end in ends)
    killed = [event for event in raw if event is not ends[0]]
    (tmp_path / EVENTS_FILE).write_text("".join(json.dumps(event) + "\n" for event in killed))
    without_end = run_spent(tmp_path)
    assert without_end is not None
    assert without_end.killed == 1
    assert without_end.tokens == pytest.approx(spent.tokens)
    assert 0.5 * spent.seconds < without_end.seconds
    assert without_end.training_seconds == pytest.approx(spent.training_seconds, abs=0.01)


def of(folder: Path, kind: str) -> list[dict]:
    return [event for event in raw_events(folder) if event["kind"] == kind]


def without_end(folder: Path, copy: Path) -> Spent:
    """What a run spent, had its attempts been killed right before their ends."""
    copy.mkdir()
    lines = [line for line in raw_events(folder) if line["kind"] != "run_finished"]
    (copy / EVENTS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))
    spent = run_spent(copy)
    assert spent is not None
    return spent


def test_what_a_return_undid_is_counted_and_going_back_has_a_row_of_its_own(
    recipe, corpus, tmp_path, monkeypatch
) -> None:
    """The seventh step taken of ten fails; the log's line is longer than the run."""
    judged, judge, last_good = [], guard.Guard.judge, recovery._last_good

    def fails_once(self, loss, norm, stage):
        judged.append(loss)
        time.sleep(0.02)
        return judge(self, math.nan if len(judged) == 7 else loss, norm, stage)

    def slow(trainer):
        time.sleep(0.3)
        return last_good(trainer)

    monkeypatch.setattr(guard.Guard, "judge", fails_once)
    monkeypatch.setattr(recovery, "_last_good", slow)
    settings = {"rollback_after": 1, "spike": "ignore"}
    faulty = changed(
        recipe,
        training={"tokens": 10 * STEP, "guard": settings},
        execution={"log_every": 100, "checkpoint_every": 4 * STEP},
    )
    train(faulty, corpus, tmp_path / "run", sinks=[])
    assert [e["clock"] // STEP for e in of(tmp_path / "run", "step")] == [1, 4, 6, 8, 10]
    spent = run_spent(tmp_path / "run")
    assert spent is not None
    assert spent.tokens == (len(judged) - 1) * STEP == 12 * STEP
    assert 0.02 * len(judged) < spent.training_seconds
    assert 0.3 < spent.recovery_seconds == of(tmp_path / "run", "rolled_back")[0]["seconds"] < 0.6
    assert spent.training_seconds < spent.seconds - spent.recovery_seconds  # nor is it anything else
    killed = without_end(tmp_path / "run", tmp_path / "killed")
    assert killed.tokens == pytest.approx(spent.tokens)
    assert killed.recovery_seconds == spent.recovery_seconds


def test_steps_that_were_saved_because_a_shard_is_gone_are_on_record(
    recipe, corpus, tmp_path, monkeypatch
) -> None:
    draw, run = loop.Trainer._draw, tmp_path / "run"

    def gone(self, place):
        if place[0].step == 8:
            raise UserError("a shard is gone")
        return draw(self, place)

    rare = changed(recipe, execution={"log_every": 5})
    monkeypatch.setattr(loop.Trainer, "_draw", gone)
    with pytest.raises(UserError, match="a shard is gone"):
        train(rare, corpus, run, sinks=[])
    monkeypatch.undo()
    assert [clock for clock, _ in list_checkpoints(run)] == [8 * STEP]
    assert train(rare, corpus, run, sinks=[]).finished
    lines = [event for event in read_events(run) if event["kind"] == "step"]
    assert [line["clock"] // STEP for line in lines] == [1, 5, 8, 10, 15, 20]
    spent = run_spent(run)
    assert spent is not None
    assert spent.tokens == 20 * STEP


def test_what_an_attempt_did_before_it_failed_is_counted(recipe, corpus, tmp_path, monkeypatch) -> None:
    judge, judged = guard.Guard.judge, []

    def breaks(self, loss, norm, stage):
        judged.append(loss)
        if len(judged) == 7:
            raise MemoryError
        return judge(self, loss, norm, stage)

    monkeypatch.setattr(guard.Guard, "judge", breaks)
    with pytest.raises(MemoryError):
        train(changed(recipe, execution={"log_every": 100}), corpus, tmp_path / "run", sinks=[])
    end = of(tmp_path / "run", "run_finished")[0]
    assert end["tokens"] == 6 * STEP
    assert end["training_seconds"] > of(tmp_path / "run", "step")[0]["seconds"]


def test_a_line_that_cannot_be_told_is_counted_once(recipe, corpus, tmp_path) -> None:
    with pytest.raises(Killed):
        train(
            changed(recipe, execution={"log_every": 5}), corpus, tmp_path / "run", sinks=[KillAt("step", 2)]
        )
    end, lines = of(tmp_path / "run", "run_finished")[0], of(tmp_path / "run", "step")
    assert end["tokens"] == 5 * STEP
    assert end["training_seconds"] == pytest.approx(sum(line["seconds"] for line in lines), abs=0.01)


@pytest.mark.parametrize(
    ("told", "known", "of_steps"),
    [
        ("several processes", 2, 1),  # the other meters could not be asked
        ("killed", 2, 1),
        ("unmeasured", None, 0),
        ("in order", 9, 0),
    ],
)
def test_the_energy_of_an_attempt_that_failed_is_that_of_its_lines(
    interrupted, tmp_path, told, known, of_steps
) -> None:
    first, second = dict.fromkeys(event["attempt"] for event in raw_events(interrupted))
    lines = []
    for event in raw_events(interrupted):
        ends = event["kind"] == "run_finished"
        if event["attempt"] == first and told == "unmeasured":
            event |= {"joules": None} | ({"energy_from": ""} if ends else {})
        elif event["attempt"] == first:
            joules = {"several processes": None, "in order": 9.0}.get(told) if ends else 2.0 / 7
            event |= {"joules": joules} if "joules" in event else {}
            if ends and told == "killed":
                continue
        lines.append(json.dumps(event))
    (tmp_path / EVENTS_FILE).write_text("\n".join(lines) + "\n")
    spent, end = run_spent(tmp_path), of(interrupted, "run_finished")[-1]
    assert spent is not None
    assert end["attempt"] == second
    expected = None if known is None else pytest.approx(known + end["joules"])
    assert (spent.joules, spent.energy_of_steps) == (expected, of_steps)


def test_records_without_accounts_are_read(interrupted, tmp_path) -> None:
    """As versions before wrote them: no such fields in any event."""
    new = {"data_seconds", "joules", "training_seconds", "checkpoint_seconds", "validation_seconds", "tokens",
           "energy_from"}  # fmt: skip
    lines = []
    for line in (interrupted / EVENTS_FILE).read_text().splitlines():
        event = json.loads(line)
        keep = event["kind"] not in ("step", "run_finished")
        lines.append(json.dumps({key: value for key, value in event.items() if keep or key not in new}))
    (tmp_path / EVENTS_FILE).write_text("\n".join(lines) + "\n")
    spent = run_spent(tmp_path)
    assert spent is not None
    assert spent.tokens == pytest.approx(20 * STEP)
    assert spent.joules is None  # nothing was measured, so nothing is said
    assert spent.kilowatt_hours is None
    assert spent.data_seconds == 0


@pytest.mark.parametrize(
    ("name", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4), ("NVIDIA H100 PCIe", 756.5), ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA A100 80GB PCIe", 312.0), ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.05), ("NVIDIA A10", 125.0), ("NVIDIA GeForce RTX 3080 Ti", 68.2),
        ("NVIDIA GeForce RTX 3090", 71.0), ("NVIDIA GeForce RTX 4090", 165.2), ("NVIDIA GeForce RTX 5090", 209.5),
    ],
)  # fmt: skip
def test_peaks_are_dense_bfloat16(name: str, tera: float) -> None:
    peak = bfloat16_peak(name)
    assert peak is not None
    assert peak.flops == pytest.approx(tera * 1e12)
    assert "NVIDIA" in peak.source


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA GeForce RTX 3080 Ti Laptop GPU",
        "Tesla V100-SXM2-32GB",
        "x",
    ],
)
def test_what_is_not_the_whole_known_board_is_measured(name: str) -> None:
    assert bfloat16_peak(name) is None
