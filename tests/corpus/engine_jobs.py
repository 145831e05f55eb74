"""Jobs for the engine's tests: they must be importable by worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from flyweight.base import UserError


def square(number: int, report) -> int:
    report(0.5)
    return number * number


def slow_first(number: int, report) -> int:
    time.sleep(0.3 if number == 0 else 0)
    return number


def die_once(number: int, mark: str, report) -> int:
    """Kill its own process the first time that it is called with this mark."""
    if number == 2 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(report) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def need_too_much(report) -> None:
    raise MemoryError


def fail_twice(mark: str, report) -> str:
    """An error of the disk or the network that goes away."""
    tries = Path(mark)
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    if len(tries.read_text()) < 3:
        raise ConnectionResetError("the other side went away")
    return "there"


def refuse(report) -> None:
    raise UserError("no such file; give another.")


def break_down(report) -> None:
    raise ZeroDivisionError("a fault of ours")


def environment(report) -> str | None:
    return os.environ.get("TOKENIZERS_PARALLELISM")
