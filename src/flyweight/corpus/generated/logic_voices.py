"""How statements of logic are put into words: as symbols, as phrases about numbers, about people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flyweight.corpus.generated.draws import Random, Weighted, pick
from flyweight.corpus.generated.logic_problems import LETTERS
from flyweight.corpus.generated.relations import Statement
from flyweight.corpus.generated.word_problems import NAMES


@dataclass(frozen=True)
class Voice:
    """One way of saying statements; a document keeps to one."""

    phrases: Mapping[str, str]
    """What stands between the two names, for each relation."""
    greater: str
    """The word for the one of two that is above."""
    least: str
    """The word for the lowest of all."""
    most: str
    """The word for the highest of all."""

    def say(self, statement: Statement) -> str:
        """The statement in words, without a full stop."""
        return f"{statement.left} {self.phrases[statement.relation]} {statement.right}"

    def say_all(self, statements: Sequence[Statement]) -> list[str]:
        """Each of the statements in words."""
        return [self.say(statement) for statement in statements]


def _voice(less: str, equal: str, at_most: str, superlatives: str, opposites: str) -> Voice:
    """A voice of its phrases for < = <=, its words for greater, least, most, and its phrases for > != >=."""
    greater, least, most = superlatives.split()
    above, unequal, at_least = opposites.split(", ")
    phrases = {"<": less, "=": equal, "<=": at_most, ">": above, "!=": unequal, ">=": at_least}
    return Voice(phrases, greater, least, most)


SYMBOLS = _voice("<", "=", "<=", "greater smallest greatest", ">, !=, >=")
"""The wording of evaluation."""

IN_WORDS = (
    _voice(
        "is less than", "is equal to", "is at most", "greater smallest greatest",
        "is greater than, is not equal to, is at least",
    ),
    _voice(
        "is smaller than", "equals", "is no larger than", "larger smallest largest",
        "is larger than, differs from, is no smaller than",
    ),
    _voice(
        "is below", "is level with", "is not above", "higher lowest highest",
        "is above, is not level with, is not below",
    ),
)  # fmt: skip


def _of_people(lower: str, higher: str, plain: str, trait: str, least: str, most: str) -> Voice:
    return _voice(
        f"is {lower} than", f"is as {plain} as", f"is not {higher} than", f"{higher} {least} {most}",
        f"is {higher} than, is not of the same {trait} as, is not {lower} than",
    )  # fmt: skip


OF_PEOPLE = (
    _of_people("shorter", "taller", "tall", "height", "shortest", "tallest"),
    _of_people("younger", "older", "old", "age", "youngest", "oldest"),
    _of_people("lighter", "heavier", "heavy", "weight", "lightest", "heaviest"),
    _of_people("slower", "faster", "fast", "speed", "slowest", "fastest"),
    _of_people("poorer", "richer", "rich", "wealth", "poorest", "richest"),
)

_NUMBERED = tuple(tuple(f"{letter}{i}" for i in range(1, 13)) for letter in "abcnpqstvxyz")

_VOICES = Weighted((0.5, (SYMBOLS,)), (0.35, IN_WORDS), (0.15, OF_PEOPLE))
_NAMES_OF_NUMBERS = Weighted((0.6, LETTERS[:1]), (0.25, LETTERS[1:]), (0.15, _NUMBERED))


def draw_voice(rng: Random) -> tuple[Voice, Sequence[str]]:
    """A voice for a document, and the names of what it speaks about."""
    voices = _VOICES.draw(rng)
    voice = pick(rng, voices)
    return voice, NAMES if voices is OF_PEOPLE else pick(rng, _NAMES_OF_NUMBERS.draw(rng))
