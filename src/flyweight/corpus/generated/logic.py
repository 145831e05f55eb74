"""Generated logic in the manner of LogicMark: text for training and problems for evaluation.

Premises are equalities and inequalities among quantities without values; the question is what follows
from them for two quantities that 1 to 5 premises ("hops") connect. Whether an inference may be trained
on is decided chain by chain (`relations.is_held_out`), whatever wording it appears in and whatever
other premises are around it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from flyweight.base import derive_seed
from flyweight.corpus.generated.draws import Weighted, between
from flyweight.corpus.generated.logic_problems import Problem, evaluation_problems
from flyweight.corpus.generated.logic_questions import chosen, compared, judged
from flyweight.corpus.generated.logic_voices import draw_voice
from flyweight.corpus.generated.logic_wordings import Draft, Wording, labelled, ordered, proved, sentence
from flyweight.corpus.generated.premises import HOPS
from flyweight.corpus.generated.relations import is_held_out

__all__ = [
    "DEFAULT_BYTES",
    "HOPS",
    "Problem",
    "evaluation_problems",
    "held_out_documents",
    "training_documents",
]

DEFAULT_BYTES = 20_000_000
"""Text of a logic source without a limit."""

EXERCISES = (8, 24)
"""Exercises of a training document, least and most."""

_HOPS = Weighted((0.3, 1), (0.25, 2), (0.2, 3), (0.15, 4), (0.1, 5))
_MIXED = 0.3  # share of the documents whose exercises have different wordings

# The wording that evaluation uses is the most frequent.
_WORDINGS: Weighted[Wording] = Weighted(
    (0.35, labelled),
    (0.17, sentence),
    (0.15, judged),
    (0.09, compared),
    (0.12, proved),
    (0.07, chosen),
    (0.05, ordered),
)


def training_documents(seed: int, bytes: int, stream: int = 0) -> Iterator[str]:
    """About `bytes` bytes of documents of several exercises each, without any held-out inference.

    Args:
        seed: the run's seed.
        bytes: text ends with the first document that reaches this.
        stream: number of a part; the streams of a seed are independent of each other.
    """
    return _documents(random.Random(derive_seed(seed, "logic", "training", stream)), bytes, held_out=False)


def held_out_documents(seed: int, bytes: int, stream: int = 0) -> Iterator[str]:
    """The same, of exercises whose main inference is held out."""
    return _documents(
        random.Random(derive_seed(seed, "logic", "held-out text", stream)), bytes, held_out=True
    )


def _documents(rng: random.Random, size: int, held_out: bool) -> Iterator[str]:
    written = 0
    while written < size:
        voice, names = draw_voice(rng)
        wording = None if rng.random() < _MIXED else _WORDINGS.draw(rng)
        texts = []
        for _ in range(between(rng, *EXERCISES)):
            draft = Draft(rng, voice, names, _HOPS.draw(rng), held_out)
            texts.append(_exercise(wording or _WORDINGS.draw(rng), draft))
        text = "\n".join(texts) + "\n"
        written += len(text)  # all of it is ASCII
        yield text


def _exercise(wording: Wording, draft: Draft) -> str:
    """An exercise on the wanted side of the split; it is drawn again until it is."""
    while True:
        exercise = wording(draft)
        if exercise is None:  # one premise makes no proof, for example: try another number of them
            draft = draft._replace(hops=_HOPS.draw(draft.rng))
        elif draft.held_out:
            if is_held_out(exercise.chains[0]):
                return exercise.text
        elif not any(is_held_out(chain) for chain in exercise.chains):
            return exercise.text
