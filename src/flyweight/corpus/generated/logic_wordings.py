"""Exercises of logic as text: what a wording is made with, and those that state a conclusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from flyweight.corpus.generated.draws import Random, Weighted, different, pick
from flyweight.corpus.generated.logic_problems import turn_half, write_premises
from flyweight.corpus.generated.logic_voices import Voice
from flyweight.corpus.generated.premises import CONCLUSIONS, Pair, Premises, add_others, draw_chain
from flyweight.corpus.generated.relations import Statement, canonical, is_held_out

OTHERS = Weighted((0.5, 0), (0.3, 1), (0.2, 2))
"""Premises of an exercise beside those that its answer needs."""

TIDY = 0.5
"""Share of the exercises whose premises stand in the order in which they hang together."""


class Exercise(NamedTuple):
    """A text and the inferences that it shows."""

    text: str
    chains: Sequence[Sequence[str]]
    """The chain of premises behind each inference or question, the main one first."""


class Draft(NamedTuple):
    """What an exercise is made with."""

    rng: Random
    voice: Voice
    names: Sequence[str]
    """The quantities that may occur; more than any exercise needs."""
    hops: int
    """Premises between the two quantities that the exercise is about."""
    held_out: bool
    """The side of the split on which their chain is."""

    def premises(self, others: int) -> Premises:
        """A chain of `hops` premises on the wanted side of the split, and `others` around it."""
        while True:
            names = different(self.rng, self.names, self.hops + others + 1)
            premises = draw_chain(self.rng, names, self.hops, CONCLUSIONS.draw(self.rng))
            if is_held_out(premises.chain(0, self.hops)) == self.held_out:
                break
        add_others(self.rng, premises, others)
        return premises

    def write(self, premises: Premises) -> list[Statement]:
        """The premises in order of appearance."""
        return write_premises(self.rng, premises, tidy=self.rng.random() < TIDY)

    def say(self, statement: Statement) -> str:
        """The statement in words, from either side."""
        return self.voice.say(turn_half(self.rng, statement))

    def say_all(self, premises: Premises) -> list[str]:
        """The premises in words."""
        return [self.voice.say(statement) for statement in self.write(premises)]


Wording = Callable[[Draft], "Exercise | None"]
"""Makes an exercise; None when the draft does not suit the wording."""


def settled(premises: Premises, pair: Pair) -> Statement:
    """What follows for two quantities of which something does."""
    known = premises.known(*pair)
    assert known is not None
    return known


def join(parts: Sequence[str]) -> str:
    """A list in prose: "x", "x and y", "x, y and z"."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]


def labelled(draft: Draft) -> Exercise:
    """Premises and conclusion under these labels, as in evaluation."""
    premises = draft.premises(OTHERS.draw(draft.rng))
    listed = ", ".join(draft.say_all(premises))
    conclusion = draft.say(settled(premises, (0, draft.hops)))
    return Exercise(f"Premises: {listed}. Conclusion: {conclusion}.", [premises.chain(0, draft.hops)])


_SENTENCES = (
    "{premises}, so {conclusion}.",
    "If {premises}, then {conclusion}.",
    "Given that {premises}, it follows that {conclusion}.",
    "From {premises} it follows that {conclusion}.",
    "{conclusion}, because {premises}.",
    "We know that {premises}. Therefore {conclusion}.",
)


def sentence(draft: Draft) -> Exercise:
    """Premises and conclusion in one or two sentences."""
    premises = draft.premises(OTHERS.draw(draft.rng))
    written = draft.write(premises)
    conclusion = turn_half(draft.rng, settled(premises, (0, draft.hops)))
    if conclusion in written:  # "a < b, so a < b" is true, and no sentence that anyone writes
        conclusion = conclusion.turned
    text = pick(draft.rng, _SENTENCES).format(
        premises=join([draft.voice.say(statement) for statement in written]),
        conclusion=draft.voice.say(conclusion),
    )
    return Exercise(text, [premises.chain(0, draft.hops)])


_CLOSINGS = ("So {}.", "Therefore {}.", "Hence {}.", "Conclusion: {}.")


def proved(draft: Draft) -> Exercise | None:
    """A conclusion that is reached premise by premise."""
    if draft.hops < 2:
        return None
    premises = draft.premises(OTHERS.draw(draft.rng))
    given = join(draft.say_all(premises))
    chains: list[Sequence[str]] = [premises.chain(0, draft.hops)]
    reached, steps = premises.links[0], []
    for end in range(2, draft.hops + 1):
        chains += [[canonical(reached), canonical(premises.links[end - 1])], premises.chain(0, end)]
        because = f"Since {draft.say(reached)} and {draft.say(premises.links[end - 1])}"
        reached = settled(premises, (0, end))
        steps.append(f"{because}, {draft.voice.say(reached)}.")
    if draft.hops > 2:
        steps.append(pick(draft.rng, _CLOSINGS).format(draft.say(reached)))
    return Exercise(f"We know that {given}. {' '.join(steps)}", chains)


def ordered(draft: Draft) -> Exercise | None:
    """All of some quantities in their order."""
    if draft.hops < 2:
        return None
    premises = Premises(different(draft.rng, draft.names, draft.hops + 1))
    for i in range(draft.hops):
        premises.attach(i, "<")
    row = list(premises.names)
    ends = (draft.voice.least, draft.voice.most)
    if draft.rng.random() < 0.5:
        row, ends = row[::-1], ends[::-1]
    given = join(draft.say_all(premises))
    text = f"We know that {given}. From the {ends[0]} to the {ends[1]}: {', '.join(row)}."
    return Exercise(
        text, [premises.chain(0, draft.hops), *(premises.chain(*pair) for pair in premises.pairs())]
    )
