"""What can be wrong with a text, in either direction."""

from __future__ import annotations


class NotNormalisable(ValueError):
    """Source text that this interpreter cannot turn into a syntax tree.

    `reason` is one of a few short strings, for counting; `detail` says where, for one who looks at a
    single file.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[NotNormalisable], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # it crosses process borders


class NotTinyDSL(ValueError):
    """Text that is not of the exact dialect. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message

    def __reduce__(self) -> tuple[type[NotTinyDSL], tuple[int, str]]:
        return type(self), (self.line, self.message)
