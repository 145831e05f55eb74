"""What a program may use, and what it is told when it asks for more."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from flyweight.base import UserError
from flyweight.evaluation.sandbox import Limits, Outcome, Sandbox, run_program

Run = Callable[..., Outcome]
MEBIBYTE = 2**20


def test_an_endless_loop_ends_in_time(place: Sandbox) -> None:
    started = time.monotonic()
    outcome = run_program(
        "while True:\n    try:\n        pass\n    except BaseException:\n        pass", Limits(0.3), place
    )
    assert outcome.reason == "timed out"
    assert time.monotonic() - started < 20


def test_the_clock_of_a_program_starts_with_the_program(run_anywhere: Run) -> None:
    """Starting an interpreter takes more than this; a sleep of this length is still too long."""
    assert run_anywhere("import time\ntime.sleep(30)", wall_seconds=0.01).reason == "timed out"
    assert run_anywhere("import time\nassert time.sleep(0.3) is None", wall_seconds=20).passed


def test_processor_time_is_limited_apart_from_the_clock(run: Run) -> None:
    outcome = run("while True: pass", cpu_seconds=1)
    assert outcome.reason == "timed out"
    assert "processor" in outcome.detail


def test_a_clock_of_the_programs_own_is_no_limit_of_ours(run: Run) -> None:
    outcome = run("import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(20)")
    assert (outcome.reason, outcome.detail) == ("killed", "ended by SIGALRM")


def test_one_hog_of_memory(run_anywhere: Run) -> None:
    outcome = run_anywhere("hog = []\nwhile True: hog.append(bytearray(2**22))", memory=200 * MEBIBYTE)
    assert outcome.reason == "memory"
    assert outcome.exception == "MemoryError"


def test_all_memory_together_is_limited(run: Run) -> None:
    """Shared mappings and files: none of them gives more than the two limits together."""
    program = """
import mmap
memory, temporary = 200 * 2**20, 32 * 2**20
held, shared = [], []
def hog(take):
    try:
        while True:
            take()
    except (MemoryError, OSError):
        pass
hog(lambda: held.append(bytearray(2**21)))
del held[len(held) // 2:]
hog(lambda: shared.append(mmap.mmap(-1, 2**20)))
total = len(held) * 2**21 + len(shared) * 2**20
assert memory // 2 < total < memory, total
shared.clear()
files = [open(f"/tmp/{n}", "wb", buffering=0) for n in range(20)]
written = [0]
def write(file):
    written[0] += file.write(bytes(2**20))
for file in files:
    hog(lambda: write(file))
assert temporary // 2 < written[0] <= temporary, written
"""
    outcome = run(program, memory=200 * MEBIBYTE, temporary=32 * MEBIBYTE, file=4 * MEBIBYTE)
    assert outcome.passed, outcome


def test_a_bomb_of_forks_does_not_go_off(run_anywhere: Run) -> None:
    outcome = run_anywhere("import os\nwhile True: os.fork()")
    assert (outcome.reason, outcome.exception) == ("failed", "PermissionError")
    program = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])"
    assert run_anywhere(program).exception == "PermissionError"


def test_a_bomb_of_forks_does_not_go_off_below_python_either(run: Run) -> None:
    program = """
import ctypes
libc = ctypes.CDLL(None)
for _ in range(1000):
    assert libc.fork() == -1
"""
    assert run(program).passed


def test_threads_are_counted(run: Run) -> None:
    program = """
import threading, time
started = 0
try:
    for _ in range(200):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
except RuntimeError:
    pass
assert 4 <= started <= 16, started
"""
    outcome = run(program, threads=16)
    assert outcome.passed, outcome


def test_a_huge_file_is_refused(run_anywhere: Run) -> None:
    outcome = run_anywhere("open('big', 'wb').write(bytes(2**23))", file=2**20)
    assert (outcome.reason, outcome.exception) == ("failed", "OSError")


def test_open_files_are_counted(run_anywhere: Run) -> None:
    outcome = run_anywhere("files = []\nwhile True: files.append(open('/dev/null'))", open_files=32)
    assert (outcome.reason, outcome.exception) == ("failed", "OSError")


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_huge_output_ends_the_program(run_anywhere: Run, where: str) -> None:
    outcome = run_anywhere(f"import sys\nwhile True: sys.{where}.write('x' * 4096)", output=2**20)
    assert outcome.reason == "output"


def test_output_within_the_limit_does_no_harm(run_anywhere: Run) -> None:
    assert run_anywhere("print('x' * 10**6)\nassert True").passed


@pytest.mark.parametrize("field", ["wall_seconds", "memory", "threads"])
def test_limits_of_nothing_are_refused(field: str) -> None:
    with pytest.raises(UserError, match=f"limit {field} of programs is 0; expected more than 0"):
        Limits(**{field: 0})
