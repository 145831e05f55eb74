"""What the user types, and Ctrl-C while an answer is written."""

from __future__ import annotations

import contextlib
import select
import signal
import sys
from collections.abc import Callable, Iterator

_PASTE = 0.05
"""Seconds within which the next line of a pasted text is there; nobody types a line so fast."""


def is_interactive() -> bool:
    """Whether a person is at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def prepare_editing() -> None:
    """Let `input` edit lines and remember them, where this Python can."""
    with contextlib.suppress(ImportError):
        import readline

        # A pasted text comes as one, its line breaks included.
        readline.parse_and_bind("set enable-bracketed-paste on")


def read_message(prompt: str) -> str:
    """What the user enters: a line, or all lines of a text that is pasted at the prompt.

    Lines that were typed before the prompt came are taken one by one, as shells do.

    Raises:
        EOFError: the input has ended (Ctrl-D).
        KeyboardInterrupt: Ctrl-C.
    """
    typed_before = _more_is_there(0)
    lines = [input(prompt)]
    if typed_before:
        return lines[0]
    # Where the terminal does not mark what is pasted, its lines are there at once.
    with contextlib.suppress(EOFError):
        while _more_is_there(_PASTE):
            lines.append(input())
    return "\n".join(lines)


def _more_is_there(seconds: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready)


def piped_messages() -> Iterator[str]:
    """The lines of standard input that are not blank."""
    for line in sys.stdin:
        if line.strip():
            yield line.rstrip("\r\n")


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within it, the first Ctrl-C is only told to who asks; a second one is a KeyboardInterrupt."""
    pressed = False

    def handle(signum: int, frame: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
