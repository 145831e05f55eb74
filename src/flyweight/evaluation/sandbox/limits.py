"""What a program may use, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from flyweight.base import UserError

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """What one program may use. It may not start processes at all, as under evaluate's code_eval."""

    wall_seconds: float = 3.0
    """From when the program starts (not its interpreter) to the end of its tests; code_eval's number."""
    cpu_seconds: int = 10
    """Of all its threads together."""
    memory: int = 1024 * MEBIBYTE
    """Bytes of address space, the interpreter's 20 MiB included."""
    threads: int = 32
    """At the same time, the first included."""
    temporary: int = 64 * MEBIBYTE
    """Bytes in /tmp, the only place that can be written to; they are memory too."""
    file: int = 16 * MEBIBYTE
    """Bytes of one file."""
    open_files: int = 64
    output: int = 16 * MEBIBYTE
    """Bytes written to standard output and standard error together."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value <= 0:
                raise UserError(f"the limit {field.name} of programs is {value}; expected more than 0.")


Reason = Literal["passed", "failed", "timed out", "memory", "output", "killed"]


class Outcome(NamedTuple):
    """What came of one program and its tests."""

    reason: Reason
    """`failed`: an exception, or an end before the tests' end; `killed`: ended by a signal."""
    exception: str = ""
    """The type of the exception that ended it; empty if none did."""
    message: str = ""
    """The exception's text; without an exception, how it ended."""

    @property
    def passed(self) -> bool:
        """Whether all of the program ran, its tests included, without an exception."""
        return self.reason == "passed"

    @property
    def detail(self) -> str:
        """The last line that Python would print of it, or how the program ended; at most 200 characters."""
        lines = self.message.strip().splitlines() or [""]
        text = f"{self.exception}: {lines[0]}".rstrip(": ") if self.exception else lines[0]
        return text[:200]
