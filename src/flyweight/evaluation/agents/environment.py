"""What the loop asks of an environment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from random import Random
from typing import NamedTuple

from flyweight.evaluation.agents.grammar import Grammar
from flyweight.evaluation.agents.layout import Layout


class Step(NamedTuple):
    """What an action led to."""

    observation: str
    """What is seen now."""
    done: bool = False
    """Whether the episode is over."""
    possible: bool = True
    """False for an action of the right form that cannot be done here and now."""


class Environment(ABC):
    """One task that an agent can try, as often as it is reset.

    The loop hands `step` only what the grammar has parsed. Environments are deterministic: the same actions
    after a reset lead to the same observations.
    """

    grammar: Grammar
    """Which actions there are."""
    layout: Layout
    """How the prompt is written, examples included."""
    step_limit: int
    """After so many steps the episode is over."""
    new_tokens: int = 100
    """Tokens that a model may write at once; 100 in the ReAct reference."""
    has_oracle: bool = False
    """Whether `oracle_action` knows a solution."""
    forced_finish: str | None = None
    """The action that the loop takes for an agent that has no steps left."""

    def __init__(self, identity: str, kind: str = "") -> None:
        """Name the task.

        Args:
            identity: unique among the tasks of a benchmark, the same in every run over the same data.
            kind: the part of the benchmark that it belongs to.
        """
        self.identity = identity
        self.kind = kind

    @abstractmethod
    def reset(self) -> str:
        """Begin; the text of the task and what is seen at first."""

    @abstractmethod
    def step(self, action: str) -> Step:
        """Do `action`, in its canonical form."""

    @abstractmethod
    def scores(self) -> dict[str, float]:
        """What the episode is worth as it stands, by the metric's name, the main one first."""

    @abstractmethod
    def random_action(self, random: Random) -> str:
        """An action drawn evenly from those that make sense here; the random agent's."""

    def oracle_action(self) -> str:
        """What somebody who knows the solution does next; asked only where `has_oracle`."""
        raise AssertionError(f"{self.identity}: nobody knows the solution")

    def invalid_observation(self) -> str:
        """The answer to what is no action."""
        return f"Invalid action. Expected {self.grammar.describe()}."

    def close(self) -> None:  # noqa: B027
        """Free what `reset` took; `reset` may come again."""
