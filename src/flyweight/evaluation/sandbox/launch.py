"""One program from start to end, as the process outside of the sandbox sees it."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import selectors
import signal
import socket
import subprocess
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flyweight.evaluation.sandbox.inside import NO_CHANGE
from flyweight.evaluation.sandbox.limits import Limits, Outcome

ENVIRONMENT = {
    # PYTHONHASHSEED: the order of sets of texts is the same in every run, so that the outcome is too.
    "PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0",
}  # fmt: skip
"""All that a program sees of the environment."""
FLAGS = ("-S", "-s", "-P", "-B")
"""No installed packages, nothing from the working folder, no files written; and a third of the time to start."""

_START_SECONDS = 60.0
_END_SECONDS = 1.0
_PIECE = 2**16
_MOST_TOLD = 2**14
_KEPT_OUTPUT = 4096


@dataclass(frozen=True)
class Launch:
    """A command that is given one program."""

    command: list[str]
    environment: dict[str, str]
    folder: str
    descriptors: tuple[int, ...] = ()
    identity: int | None = None
    """The user and group to become before the program is run."""
    limit_threads: bool = False
    guarded: bool = False
    """Whether the audit hook against accidents is set."""


class Sandbox(Protocol):
    """Where programs run."""

    @property
    def name(self) -> str:
        """As results say it."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether it keeps programs from harm."""
        ...

    def launch(self, limits: Limits) -> AbstractContextManager[Launch]:
        """What to start for one program."""
        ...


class LaunchError(Exception):
    """The sandbox did not come up, so nothing is known about the program; the message is the sandbox's own."""


@functools.cache
def inside_text() -> str:
    """The text of `inside.py`."""
    return (Path(__file__).parent / "inside.py").read_text(encoding="utf-8")


def order(program: str, limits: Limits, launch: Launch) -> bytes:
    """What `inside.py` reads: its limits, who to become, whether to guard, the program's length; the program."""
    data = program.encode("utf-8", "surrogatepass")
    threads = limits.threads if launch.limit_threads else NO_CHANGE
    identity = NO_CHANGE if launch.identity is None else launch.identity
    numbers = (limits.memory, limits.cpu_seconds, threads, limits.file, limits.open_files, identity)
    return " ".join(map(str, (*numbers, int(launch.guarded), len(data)))).encode() + b"\n" + data


def run_program(program: str, limits: Limits, sandbox: Sandbox) -> Outcome:
    """Run `program` to its end and say what came of it.

    It has passed if the code after it in `inside.py` was reached: that code asks for a random word, which is
    drawn only then, and sends it back. Exit codes and what a program prints decide nothing. Not defended
    against: a program written against this very exchange, which finds the socket among its open files and
    carries the exchange out itself, and one whose values compare equal to everything. The tests of HumanEval
    and MBPP run in the program's own interpreter; no harness that runs them as published can rule that out.

    Raises:
        LaunchError: the sandbox did not come up.
    """
    with sandbox.launch(limits) as launch:
        ours, theirs = socket.socketpair()
        output_read, output_write = os.pipe()
        try:
            process = subprocess.Popen(
                launch.command, stdin=theirs.fileno(), stdout=output_write, stderr=output_write, cwd=launch.folder,
                env=launch.environment, pass_fds=launch.descriptors, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            ours.close()
            os.close(output_read)
            raise LaunchError(f"{launch.command[0]}: {error.strerror}") from error
        finally:
            theirs.close()
            os.close(output_write)
        exchange = _Exchange(process, ours, output_read, limits)
        try:
            return exchange.run(order(program, limits, launch))
        finally:
            exchange.end()


class _Exchange:
    """The socket and the output of a running program."""

    def __init__(
        self, process: subprocess.Popen[bytes], channel: socket.socket, output: int, limits: Limits
    ) -> None:
        self.process, self.channel, self.output, self.limits = process, channel, output, limits
        self.told = bytearray()
        self.tail = b""
        self.written = 0
        self.started = False
        self.word = b""
        self.output_open = True
        self.selector = selectors.DefaultSelector()
        self.selector.register(channel, selectors.EVENT_READ)
        self.selector.register(output, selectors.EVENT_READ)

    def run(self, order: bytes) -> Outcome:
        deadline = time.monotonic() + _START_SECONDS
        self.channel.settimeout(_START_SECONDS)
        with contextlib.suppress(OSError):  # it ended before it had read all: the loop below finds out
            self.channel.sendall(order)
        while (left := deadline - time.monotonic()) > 0:
            started = self.started
            for key, _ in self.selector.select(left):
                outcome = self._output_came() if key.fileobj == self.output else self._told_came()
                if outcome is not None:
                    return outcome
            if self.started and not started:
                deadline = time.monotonic() + self.limits.wall_seconds
        if not self.started:
            raise LaunchError(self._last_line() or f"it was not up after {_START_SECONDS:.0f} s")
        return Outcome("timed out", message=f"still running after {self.limits.wall_seconds:g} s")

    def end(self) -> None:
        """End whatever is left of it: when this returns, nothing of a sandbox runs any more."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # The first process of the sandbox holds the pipe for as long as it lives; it dies with bubblewrap.
        self._drain()
        self.selector.close()
        self.channel.close()
        os.close(self.output)

    def _output_came(self) -> Outcome | None:
        data = os.read(self.output, _PIECE)
        if not data:
            self.selector.unregister(self.output)
            self.output_open = False
            return None
        self.written += len(data)
        self.tail = (self.tail + data)[-_KEPT_OUTPUT:]
        if self.written > self.limits.output:
            return Outcome("output", message=f"wrote more than {self.limits.output} bytes")
        return None

    def _told_came(self) -> Outcome | None:
        try:
            data = self.channel.recv(_PIECE)
        except OSError:
            data = b""
        self.told += data
        if not self.started and self.told.startswith(b"ready\n"):
            self.started = True
            del self.told[: len(b"ready\n")]
        if self.started and self.word and bytes(self.told) == self.word:
            return Outcome("passed")
        if self.started and not self.word and self.told == b"done\n":
            self.word = secrets.token_hex(16).encode()
            self.told.clear()
            with contextlib.suppress(OSError):
                self.channel.send(self.word)
        if not data or len(self.told) > _MOST_TOLD:
            return self._ended()
        return None

    def _ended(self) -> Outcome:
        """The channel was closed, by the end of the process or by the program, or holds what nobody sends."""
        if not self.started:
            self._drain()
            raise LaunchError(self._last_line() or "it ended without a word")
        if self.told.startswith(b"error\n"):
            _, name, message = (*bytes(self.told).decode("utf-8", "replace").split("\n", 2), "", "")[:3]
            return Outcome("memory" if name == "MemoryError" else "failed", name, message)
        try:
            code = self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            return Outcome("failed", message="closed its files before its tests had ended")
        # bubblewrap tells of a signal as a shell does, by 128 and its number.
        number = -code if code < 0 else code - 128
        if number == signal.SIGXCPU:
            return Outcome(
                "timed out", message=f"used more than {self.limits.cpu_seconds} s of the processor"
            )
        if number in {item.value for item in signal.Signals}:
            return Outcome("killed", message=f"ended by {signal.Signals(number).name}")
        return Outcome("failed", message=f"ended with exit code {code} before its tests had ended")

    def _drain(self) -> None:
        """Read the output to its end, which comes when no process is left that could write to it."""
        with contextlib.suppress(KeyError):
            self.selector.unregister(self.channel)
        deadline = time.monotonic() + _END_SECONDS
        while self.output_open and (left := deadline - time.monotonic()) > 0:
            if self.selector.select(left):
                self._output_came()

    def _last_line(self) -> str:
        lines = self.tail.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""
