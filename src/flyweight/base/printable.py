"""Text from elsewhere on a terminal: it must not steer it, and no character is an error."""

from __future__ import annotations

import sys
from typing import Any

_REPLACED = 0xFFFD
_PICTURES = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)} | {0x7F: 0x2421}
# The other control characters, those that turn the direction of writing, and halves of characters.
_UNSEEN = (range(0x80, 0xA0), range(0x202A, 0x202F), range(0x2066, 0x206A), range(0xD800, 0xE000))
_TABLE = _PICTURES | {code: _REPLACED for codes in _UNSEEN for code in codes}


def printable(text: str) -> str:
    """`text` with what could steer a terminal as pictures, or as U+FFFD; tabs and line breaks stay."""
    return text.translate(_TABLE)


def write_out(text: str) -> None:
    """Write `text` to standard output at once: printable on a terminal, unchanged into a file or pipe."""
    sys.stdout.write(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def never_fail(stream: Any) -> None:
    """Characters that a stream's encoding does not have become question marks, not errors."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
