"""Views of the event stream: the numbers of the events stand in what is shown."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flyweight.events import (
    CheckpointSaved,
    LossSpike,
    Notice,
    RolledBack,
    RunFinished,
    RunStarted,
    Sampled,
    StageEntered,
    StepDone,
    StepSkipped,
    Validated,
)
from flyweight.training.sinks.dashboard import Dashboard, sparkline
from flyweight.training.sinks.lines import PlainLines
from flyweight.training.sinks.progress import duration
from flyweight.training.sinks.tensorboard import tensorboard_sink

EVENTS = [
    RunStarted("tiny", "h", None, 100, 12_800, 21_000, {"hardware": "a CPU", "precision": "float32"}, {}),
    Notice("the mixture was normalised"),
    StageEntered(0, 0, 4, 32, "adamw"),
    Validated(0, 0, {"one": 7.125, "two": 6.5}, {"one": 5.0, "two": 4.5}, False, 0.1),
    *(
        StepDone(
            step=step, clock=step * 128, loss=5.0 - step / 50, z_loss=0.1, grad_norm=0.75, learning_rate=3e-3,
            weight_decay=0.1, z_loss_coefficient=1e-4, batch_size=4, sequence_length=32, seconds=0.1,
            tokens_per_second=1280.0, share_of_peak=0.33, realised={"one": 3 * step, "two": step},
        )
        for step in range(1, 51)
    ),
    Sampled(6400, "", "once <b>upon</b> a [time]"),
    CheckpointSaved(50, 6400, "checkpoints/tokens-000000000006400", True, 0.1),
    LossSpike(50, 6400, 9.5, 11.5),
    StepSkipped(50, 6400, "the loss is nan", float("nan"), 1.0, 200, 204, 1),
    RolledBack(40, 5120, 6400, "the gradient's norm is inf", 160, 204, 1, 0.1),
    RunFinished(50, 6400, "interrupted", 5.0),
]  # fmt: skip


def test_plain_lines_say_what_happened(capsys):
    sink = PlainLines()
    for event in EVENTS:
        sink.handle(event)
    sink.close()
    text = capsys.readouterr().out
    for expected in (
        "tiny: 21K parameters, 12,800 tokens in 100 steps, from the start; a CPU, float32",
        "note: the mixture was normalised",
        "4 x 32 tokens a step, adamw",
        "bits per byte at 0 tokens: one 7.125  two 6.500",
        "50.0%  loss 4.0000  lr 3.00e-03  grad 0.75  1,280 tokens/s (33% of peak)  5 s left",
        "saved checkpoints/tokens-000000000006400 (milestone)",
        "loss spike at 6,400 tokens: 9.5000, 11.5 robust standard deviations",
        "step 51 skipped at 6,400 tokens: the loss is nan; sequences 200 to 203 of the order are passed over",
        "back from 6,400 to 5,120 tokens: the gradient's norm is inf; sequences 160 to 203",
        "interrupted at 6,400 tokens",
    ):
        assert expected in text


def test_the_dashboard_shows_the_promised_numbers():
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120, color_system=None)
    dashboard = Dashboard(console)
    for event in EVENTS:
        dashboard.handle(event)
    dashboard.close()
    text = output.getvalue()
    for expected in (
        "4.0000",
        "one 7.125",
        "1,280 tokens/s",
        "33% of peak",
        "3.00e-03",
        "one 75.0%",
        "5 s left",
        "1 steps skipped, 1 times back to a checkpoint",
    ):
        assert expected in text
    assert "once <b>upon</b> a [time]" in text  # markup in a sample is text, not markup


def test_a_sparkline_falls_with_the_loss_and_fits():
    line = sparkline([10 - i / 100 for i in range(1000)], 40)
    assert len(line) == 40
    assert list(line) == sorted(line, reverse=True)
    assert sparkline([1.0, 1.0], 40) == "▁▁"
    assert sparkline([], 40) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.4, "12 s"), (250, "4 min 10 s"), (7500, "2 h 05 min"), (273_600, "3 d 4 h"), (None, "?")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_tensorboard_files_hold_the_scalars(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = tensorboard_sink(tmp_path)
    assert sink is not None
    for event in EVENTS:
        sink.handle(event)
    sink.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    losses = read.Scalars("train/loss")
    assert [(point.step, round(point.value, 4)) for point in losses][-1] == (
        5120,
        4.2,
    )  # what was undone is hidden
    assert read.Scalars("mixture/one")[0].value == 0.75
    assert read.Scalars("bits_per_byte/two")[0].value == 6.5
