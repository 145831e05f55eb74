"""How an episode is written down for a model, and how what it writes is read."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Turn:
    """One numbered step of an episode."""

    number: int
    """From 1."""
    thought: str
    """Empty where there was none."""
    action: str | None
    """As the agent wrote it; None for a step that was a thought only."""
    observation: str
    """The environment's answer, or the loop's."""
    valid: bool = True
    """Whether the action was one by the grammar."""
    possible: bool = True
    """Whether it could be done."""
    asked_again: bool = False
    """Whether the first text had no action in it, so that the action alone was asked for."""

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


class Ask(NamedTuple):
    """What a model is asked to continue."""

    cue: str
    """Stands at the end of the prompt."""
    stop: tuple[str, ...]
    """Text ends before the first of these."""


class Written(NamedTuple):
    """What a model's text says."""

    thought: str
    action: str | None
    """None where there is no action in the text."""


class Layout(Protocol):
    """A way to write episodes down."""

    @property
    def opening(self) -> str:
        """Stands before every task: instructions, examples."""
        ...

    @property
    def shots(self) -> int:
        """Examples in it."""
        ...

    def ask(self, number: int) -> Ask:
        """The question for step `number`."""
        ...

    def read(self, number: int, text: str) -> Written:
        """What the answer says."""
        ...

    def ask_again(self, number: int, thought: str) -> Ask | None:
        """The question for the action alone; None where a text without action is a thought."""
        ...

    def record(self, turn: Turn) -> str:
        """The step as the next prompt shows it."""
        ...


@dataclass(frozen=True)
class NumberedLayout:
    """Thought 1, Action 1, Observation 1, ...: ReAct's for questions (arXiv 2210.03629).

    A text without `Action N:` is malformed: its first line is kept as the thought, and the action is asked
    for once more, alone, as the reference does. An action ends at its line's end.
    """

    opening: str
    shots: int = 0

    def ask(self, number: int) -> Ask:
        """See `Layout`."""
        return Ask(f"Thought {number}:", (f"\nObservation {number}:",))

    def read(self, number: int, text: str) -> Written:
        """See `Layout`."""
        thought, found, rest = f"\n{text.strip()}".partition(f"\nAction {number}:")
        return Written(_first_line(thought), _first_line(rest) if found else None)

    def ask_again(self, number: int, thought: str) -> Ask:
        """See `Layout`."""
        return Ask(f"Thought {number}: {thought}\nAction {number}:", ("\n",))

    def record(self, turn: Turn) -> str:
        """See `Layout`."""
        return (
            f"Thought {turn.number}: {turn.thought}\nAction {turn.number}: {turn.action or ''}\n"
            f"Observation {turn.number}: {turn.observation}\n"
        )


@dataclass(frozen=True)
class CommandLayout:
    """`> command`, then what is seen: ReAct's for ALFWorld, with `think: ...` answered "OK."."""

    opening: str
    shots: int = 0
    cue: str = ">"
    """Stands before a command."""
    answer: str = "{observation}\n"
    """How an observation is written."""
    thought: str = r"think:\s*(.*)"
    """A line of this form is a thought."""

    def ask(self, number: int) -> Ask:
        """See `Layout`."""
        return Ask(self.cue, ("\n",))

    def read(self, number: int, text: str) -> Written:
        """See `Layout`."""
        line = _first_line(text)
        thought = re.fullmatch(self.thought, line)
        return Written("", line) if thought is None else Written(thought[1], None)

    def ask_again(self, number: int, thought: str) -> None:
        """See `Layout`."""
        return None

    def record(self, turn: Turn) -> str:
        """See `Layout`."""
        line = self._think(turn.thought) if turn.action is None else turn.action
        return f"{self.cue} {line}\n{self.answer.replace('{observation}', turn.observation)}"

    def _think(self, thought: str) -> str:
        return f"think[{thought}]" if self.thought.startswith(r"think\[") else f"think: {thought}"


WEBSHOP_THOUGHT = r"think\[(.*)\]"
"""The form of a thought among WebShop's actions."""


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].strip() if lines else ""
