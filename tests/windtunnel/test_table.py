"""What a search shows: on a terminal a table that fits it, elsewhere a line for each trial."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from rich.console import Console
from ruamel.yaml import YAML

pytest.importorskip("optuna")

import optuna
from windtunnel_setup import tunnel_recipe

from flyweight.base import progress
from flyweight.recipe.tunnel import TABLE_5
from flyweight.windtunnel import table as table_module
from flyweight.windtunnel.machines import MACHINE
from flyweight.windtunnel.proxy import proxy_recipe
from flyweight.windtunnel.search import DIVERGED
from flyweight.windtunnel.study import Study
from flyweight.windtunnel.table import TrialsTable, short_names

HALF, WHOLE = 12 * 4 * 32, 24 * 4 * 32


def study(folder: Path, space: dict | None = None, trials: int = 60) -> Study:
    recipe = tunnel_recipe(folder, space=space or TABLE_5, trials=trials, confirm=3, seeds=3)
    return Study(folder, proxy_recipe(recipe, recipe.tunnel.proxy), recipe.tunnel, None)


def filled(one: Study, ended: int = 50) -> list[optuna.trial.FrozenTrial]:
    """Trials as in the middle of a search; the best is trial 31."""
    record = one.load()
    for number in range(ended):
        trial = record.ask(one.distributions())
        if number % 10 == 9:
            trial.set_user_attr(DIVERGED, "not finite")
            record.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif number % 3 == 2:
            trial.report(5 + number / 1000, HALF)
            record.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            record.tell(trial, 3 + abs(number - 31) / 100)
    record.ask(one.distributions()).report(4.25, HALF)
    record.ask(one.distributions()).set_user_attr(MACHINE, "node-17.lab.example")
    return record.get_trials()


def shown(table: TrialsTable, width: int, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    table._console = console
    console.print(table.frame())
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("width", [80, 120])
def test_the_best_and_the_newest_fit_a_terminal(tmp_path: Path, width: int):
    one = study(tmp_path)
    table = TrialsTable(one)
    table(filled(one))
    table.confirmed(2, 6)
    lines = shown(table, width)
    assert len(lines) <= 23
    text = "\n".join(lines)
    assert "50 of 60 trials, best so far 3.0000 (trial 31)" in text
    for word in ("trial", "dim model", "base", "depth", "scale emb", "learning", "bits per", "byte"):
        assert word in text
    numbers = [int(line.split()[0]) for line in lines if re.match(r"\s+\d+ ", line)]
    assert numbers[:3] == [31, 30, 33]  # best first
    assert numbers[-6:] == [46, 47, 48, 49, 50, 51]  # newest last
    assert len(numbers) == len(set(numbers)) == 12
    assert re.search(r"49 .* diverged", text)
    assert re.search(r"47 .* 5\.0470 +pruned", text)
    assert re.search(r"50 .* 4\.2500 +at 50%", text)
    assert re.search(r"51 .* running, node-17 ", text)
    assert "the best with other seeds: 2 of 6 runs" in text
    assert "…" not in text


def test_knobs_without_room_are_named_instead_of_cut(tmp_path: Path):
    space = {f"sources.{name}.weight": {"low": 0.1, "high": 0.9} for name in ("books", "maths", "code")}
    one = study(tmp_path, {**TABLE_5, **space})
    table = TrialsTable(one)
    table(filled(one, 4))
    lines = shown(table, 80)
    assert "no room for maths.weight, learning_rate" in " ".join(" ".join(lines).split())
    assert "…" not in "".join(lines)
    assert "no room" not in " ".join(shown(table, 120))


def test_a_low_terminal_shows_fewer_trials(tmp_path: Path):
    one = study(tmp_path)
    table = TrialsTable(one)
    table(filled(one))
    assert len(shown(table, 80, height=16)) <= 16


def test_the_time_left_is_of_what_was_done_now(tmp_path: Path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(table_module, "time", clock)
    monkeypatch.setattr(progress, "time", clock)
    one = study(tmp_path)
    trials = filled(one)
    console = Console(file=io.StringIO(), width=80)
    table = TrialsTable(one, console)
    table(trials[:30])  # of an earlier call
    clock.now += 600
    table(trials[:40])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("\n") == 10
    last = text.splitlines()[-1]
    assert last.startswith("trial 39: diverged: dim_model_base ")
    assert last.endswith("40 of 60 trials, best so far 3.0000 (trial 31), about 26 min left")  # 20 and 6 runs
    clock.now += 240
    assert "about 22 min left" in shown(table, 80)[0]  # counted down


def test_names_are_as_short_as_they_can_be():
    assert short_names(["training.learning_rate", "parametrization.scale_emb"]) == [
        "learning_rate",
        "scale_emb",
    ]
    assert short_names(["sources.a.weight", "sources.b.weight", "x"]) == ["a.weight", "b.weight", "x"]
    assert short_names(["a.b.c", "d.b.c"]) == ["a.b.c", "d.b.c"]
    assert short_names(["weight", "a.weight"]) == ["weight", "a.weight"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40)])
def test_a_search_on_a_terminal(texts: Path, shards: Path, tmp_path: Path, columns: int, rows: int):
    """A real search under a pseudo-terminal: its last frame has all trials and nothing that is wider."""
    recipe = tmp_path / "recipe.yaml"
    with recipe.open("w") as file:
        YAML(typ="safe", pure=True).dump(tunnel_recipe(texts, prune="none").to_dict(), file)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    words = [
        "tunnel",
        str(recipe),
        "--study",
        str(tmp_path / "study"),
        "--corpus",
        str(shards),
        "--workers=1",
    ]
    unwanted = ("COLUMNS", "LINES", "NO_COLOR")
    environment = {key: value for key, value in os.environ.items() if key not in unwanted}
    process = subprocess.Popen(
        [sys.executable, "-m", "flyweight", *words], stdin=theirs, stdout=theirs, stderr=theirs,
        env=environment | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # nobody has the other end open any more
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    assert process.wait() == 0
    frames = _frames(written.decode())
    assert any(re.search(r"[1-5] of 6 trials, best so far", frame) for frame in frames)
    assert any("running" in frame or "at 50%" in frame for frame in frames)
    assert any(
        re.search(r"[2-5] of 6 trials, best so far .*, about \d+ (s|min) left *$", frame, re.M)
        for frame in frames
    )
    last = [frame for frame in frames if "of 6 trials" in frame][-1]
    assert "6 of 6 trials, best so far" in last
    assert "the best with other seeds: 2 of 2 runs" in last
    assert len(re.findall(r"^ +\d+ ", last, re.MULTILINE)) == 6
    assert "scale emb" in last
    redrawn = [frame for frame in frames[:-1] if re.match(r"\d of 6 trials", frame.lstrip())]
    assert len(redrawn) > 5
    assert all(len(line.rstrip()) <= columns for frame in redrawn for line in frame.splitlines())
    assert "…" not in last


def _frames(text: str) -> list[str]:
    """What stood on the terminal between two redraws, without colours."""
    pieces = re.split(r"(?:\x1b\[1A|\x1b\[2K|\r)*\x1b\[1A(?:\x1b\[2K)?", text.replace("\r\n", "\n"))
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", piece).replace("\r", "") for piece in pieces]
