"""Where programs run is said in one sentence, and many of them keep their order."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flyweight.base import UserError
from flyweight.evaluation.sandbox import Limits, Unsandboxed, find_sandbox, programs, run_programs
from flyweight.evaluation.sandbox.bubblewrap import Bubblewrap
from flyweight.evaluation.sandbox.launch import Launch


def test_without_bubblewrap_it_refuses_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"no `bwrap`.*apt install bubblewrap.*--unsafe-code"):
        find_sandbox()
    assert not find_sandbox(unsafe=True).isolated


@pytest.mark.parametrize(
    ("system", "machine", "words"),
    [("darwin", "arm64", "does not have; evaluate code on Linux"), ("linux", "riscv64", "not for riscv64")],
)
def test_other_machines_refuse(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, words: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(UserError, match=f"{words}.*--unsafe-code"):
        find_sandbox()


@pytest.mark.parametrize("words", ["No permissions to create new namespace", "Unknown option --size"])
def test_a_bubblewrap_that_does_not_work_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text(f"#!/bin/sh\necho 'bwrap: {words}' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(UserError, match=rf"does not work here \(.*{words}.*--unsafe-code"):
        find_sandbox()


def test_a_sandbox_that_works_is_used_even_where_going_without_is_allowed(monkeypatch: pytest.MonkeyPatch):
    found = Bubblewrap("bwrap")
    monkeypatch.setattr(programs, "_find_bubblewrap", lambda: found)
    assert find_sandbox(unsafe=True) is found


def test_outcomes_keep_the_order_of_the_programs() -> None:
    shares: list[float] = []
    texts = [f"import time; time.sleep({0.2 if n < 2 else 0}); raise ValueError({n})" for n in range(8)]
    outcomes = run_programs(texts, Limits(30), 4, shares.append, sandbox=Unsandboxed())
    assert [outcome.message for outcome in outcomes] == [str(n) for n in range(8)]
    assert shares == [(n + 1) / 8 for n in range(8)]


def test_programs_run_side_by_side() -> None:
    started = time.monotonic()
    outcomes = run_programs(["while True: pass"] * 6, Limits(2), 6, sandbox=Unsandboxed())
    assert {outcome.reason for outcome in outcomes} == {"timed out"}
    assert time.monotonic() - started < 6 * 2


def test_no_programs() -> None:
    assert run_programs([], sandbox=Unsandboxed()) == []


def test_a_sandbox_that_stops_working_is_no_failure_of_the_programs() -> None:
    """Else a full machine would look like a bad model."""

    class Failing(Unsandboxed):
        @contextmanager
        def launch(self, limits: Limits) -> Iterator[Launch]:
            yield Launch(["/bin/sh", "-c", "echo out of processes >&2; exit 1"], {}, "/")

    with pytest.raises(UserError, match="stopped working after 0 programs: out of processes"):
        run_programs(["assert True"] * 3, sandbox=Failing())


def test_nothing_of_a_run_stays_open() -> None:
    def descriptors() -> int:
        return len(os.listdir("/dev/fd"))

    run_programs(["assert True"], sandbox=Unsandboxed())
    before, threads = descriptors(), threading.active_count()
    run_programs(["assert True", "raise SystemExit", "import os; os._exit(3)"] * 3, sandbox=Unsandboxed())
    assert descriptors() == before
    assert threading.active_count() == threads


def test_workers_are_as_many_as_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert programs.default_workers() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert programs.default_workers() == 1


def test_the_guard_against_accidents(tmp_path: Path) -> None:
    """Without a sandbox the commonest accidents are refused; the docs say that this is no protection."""
    kept = tmp_path / "kept"
    kept.write_text("kept")
    attempts = [
        f"open({str(kept)!r}, 'w')", f"import os; os.remove({str(kept)!r})",
        f"import shutil; shutil.rmtree({str(tmp_path)!r})",
        "import os; os.system('true')", "import os; os.kill(os.getppid(), 9)",
        f"import os; os.rename({str(kept)!r}, 'x')",
        f"import os; os.symlink({str(tmp_path)!r}, 'link'); open('link/kept', 'w')",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
    ]  # fmt: skip
    outcomes = run_programs(attempts, Limits(30), sandbox=Unsandboxed())
    assert [outcome.exception for outcome in outcomes] == ["PermissionError"] * len(attempts)
    assert kept.read_text() == "kept"
    fine = "open('a', 'w').write('x')\nimport os\nos.rename('a', 'b'); os.remove('b')\nopen(os.devnull, 'w')"
    assert run_programs([fine], Limits(30), sandbox=Unsandboxed())[0].passed
