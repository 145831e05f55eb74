"""How it is decided whether a program has passed, and programs that try to decide it themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flyweight.evaluation.sandbox import Outcome

Run = Callable[..., Outcome]
TESTS = "\nassert add(2, 3) == 5"
WRONG = "def add(a, b): return a * b\n"


def test_right_and_wrong(run_anywhere: Run) -> None:
    assert run_anywhere("def add(a, b): return a + b" + TESTS).passed
    outcome = run_anywhere(WRONG + TESTS)
    assert (outcome.reason, outcome.detail) == ("failed", "AssertionError")


@pytest.mark.parametrize(
    ("program", "exception", "message"),
    [
        ("raise ValueError('no\\nway')", "ValueError", "no\nway"),
        ("def add(", "SyntaxError", "'(' was never closed (<string>, line 1)"),
        ("import numpy", "ModuleNotFoundError", "No module named 'numpy'"),
        ("x = '\\ud800'\nraise ValueError(x)", "ValueError", "\\ud800"),
        ("def f(): f()\nf()", "RecursionError", "maximum recursion depth exceeded"),
        ("raise type('A' * 300, (Exception,), {})('é')", "A" * 100, "é"),
        ("\ud800 = 1", "UnicodeEncodeError", "'utf-8' codec can't encode"),
        ("input()", "EOFError", "EOF when reading a line"),
        ("class E(Exception):\n  def __str__(self): raise OSError\nraise E", "Exception", "its own text cannot be had"),
    ],
)  # fmt: skip
def test_what_ended_it_is_told(run_anywhere: Run, program: str, exception: str, message: str) -> None:
    outcome = run_anywhere(program)
    assert (outcome.reason, outcome.exception) == ("failed", exception)
    assert outcome.message.startswith(message)


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os; os._exit(0)", "ended with exit code 0 before its tests had ended"),
        ("import os; os.close(1); os.close(2); os._exit(0)", "ended with exit code 0 before its tests had ended"),
        ("import os; os.abort()", "ended by SIGABRT"),
    ],
)  # fmt: skip
def test_an_early_end_is_no_pass(run_anywhere: Run, end: str, detail: str | None) -> None:
    outcome = run_anywhere(WRONG + end + TESTS)
    assert not outcome.passed
    assert detail is None or outcome.detail == detail


@pytest.mark.parametrize(
    "trick",
    [
        "print('passed'); print('done'); print('ready')",
        "import os, builtins\nos._exit = lambda code: None\nbuiltins.exit = os._exit",
        # Says `done` everywhere and claims to have sent back the word.
        "import os\nfor fd in range(64):\n"
        "  try: os.write(fd, b'done\\n'); os.write(fd, b'0' * 32)\n"
        "  except OSError: pass",
        "import os, time\nfor fd in range(64):\n"
        "  try: os.write(fd, b'done\\n')\n"
        "  except OSError: pass\n"
        "time.sleep(0.5)",
        "import os\nos.closerange(0, 64)",
        "import os\nos.write = os.read = lambda *a: b'done'",
        "import sys\nsys.exit = sys.excepthook = lambda *a: None",
        "import builtins\nbuiltins.AssertionError = type('Quiet', (BaseException,), {})",
        "import threading, os\nthreading.Thread(target=lambda: os._exit(0)).start()",
        "import signal, os, time\nsignal.signal(signal.SIGALRM, lambda *a: os._exit(0))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.5)",
        "import atexit, os\natexit.register(lambda: os._exit(0))",
        "import sys\nsys.modules['__main__'].main = lambda: None",
    ],
)  # fmt: skip
def test_tricks_do_not_pass(run_anywhere: Run, trick: str) -> None:
    assert not run_anywhere(trick + "\n" + WRONG + TESTS, wall_seconds=5).passed


def test_the_word_is_not_to_be_found_while_the_program_runs(run_anywhere: Run) -> None:
    """Frames, all objects, arguments, environment: whatever looks like a word is sent to every open file."""
    program = r"""
import gc, os, re, sys
seen = []
frame = sys._getframe()
while frame is not None:
    seen += [repr(frame.f_locals), repr(frame.f_globals), repr(frame.f_code.co_consts)]
    frame = frame.f_back
seen += [repr(sys.orig_argv), repr(os.environ)]
seen += [repr(each) for each in gc.get_objects() if isinstance(each, (dict, list, tuple)) and len(each) < 1000]
words = set(re.findall("[0-9a-f]{32}", " ".join(seen)))
for fd in range(3, 64):
    for word in words:
        try:
            os.write(fd, b"done\n")
            os.write(fd, word.encode())
        except OSError:
            break
assert False
"""
    outcome = run_anywhere(program)
    assert not outcome.passed
    assert outcome.detail != "ended with exit code 0 before its tests had ended"


def test_what_is_left_running_does_not_change_a_pass(run_anywhere: Run) -> None:
    program = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"
    assert run_anywhere(program).passed


def test_the_namespace_is_that_of_code_eval(run_anywhere: Run) -> None:
    """Empty, not `__main__`, and nothing of the file that runs the program, its future imports among it."""
    program = """
if __name__ == "__main__":
    raise SystemExit
assert set(globals()) == {"__builtins__"}, globals()
def annotated(x: 1 + 1): ...
assert annotated.__annotations__["x"] == 2
from dataclasses import dataclass
@dataclass
class Point:
    x: int
assert Point(1) == Point(1)
"""
    outcome = run_anywhere(program)
    assert outcome.passed, outcome


def test_sets_of_texts_have_one_order(run_anywhere: Run) -> None:
    told = {run_anywhere("raise ValueError(list({str(n) for n in range(50)}))").message for _ in range(3)}
    assert len(told) == 1


def test_line_ends_of_other_systems(run_anywhere: Run) -> None:
    assert run_anywhere("def add(a, b):\r\n  return a + b\r\n" + TESTS).passed


def test_a_long_program(run_anywhere: Run) -> None:
    program = "x = '" + "a" * 2**21 + "'\nassert len(x) == 2**21"
    assert run_anywhere(program).passed
