"""Generated arithmetic: text for training and problems for evaluation, in ArithMark's three forms.

`v1`: integers from -20 to 20, + - * /, 2 to 6 operands, answers rounded to 4 decimals. `v2`: small
positive integers, parentheses here and there, whole answers. `v3`: word problems of one or two
sentences. Training text has them in many wordings, and worked solutions beside them. Whether an
expression may be trained on is decided item by item (`expressions.is_held_out`), whatever form or
wording it appears in, as an exercise or as a step of one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from flyweight.base import derive_seed
from flyweight.corpus.generated.arithmetic_options import distractors
from flyweight.corpus.generated.arithmetic_problems import FORMS, OPERANDS, Form, Problem, evaluation_problems
from flyweight.corpus.generated.arithmetic_solutions import (
    by_parts,
    by_the_inverse,
    in_steps,
    with_a_gap,
    with_borrowing,
    with_carries,
    with_remainder,
)
from flyweight.corpus.generated.arithmetic_wordings import (
    EQUATION,
    QUESTIONS,
    Wording,
    all_in_words,
    compared,
    continued,
    operators_in_words,
    plain_numbers_compared,
    stated,
    told,
    told_and_solved,
)
from flyweight.corpus.generated.draws import Random, Weighted, between, pick
from flyweight.corpus.generated.expressions import is_held_out

__all__ = [
    "DEFAULT_BYTES",
    "FORMS",
    "KINDS",
    "OPERANDS",
    "Form",
    "Kind",
    "Problem",
    "distractors",
    "draw_exercise",
    "evaluation_problems",
    "held_out_documents",
    "training_documents",
]

DEFAULT_BYTES = 20_000_000
"""Text of an arithmetic source without a limit."""


class Kind(NamedTuple):
    """A kind of document."""

    wordings: tuple[Wording, ...]
    """A document keeps to one of them, or takes one after the other at random."""
    exercises: tuple[int, int]
    """Least and most, so that documents of every kind have about the same size."""
    mixed: bool = False


_FORMS_OF_EQUATIONS: tuple[Form, ...] = ("v1", "v2")

KINDS = Weighted(
    (0.22, Kind((stated("v1", EQUATION),), (30, 70))),
    (0.22, Kind((stated("v2", EQUATION),), (30, 70))),
    (
        0.14,
        Kind(tuple(stated(form, text) for form in _FORMS_OF_EQUATIONS for text in QUESTIONS), (16, 40)),
    ),
    (0.05, Kind((operators_in_words("v1"), operators_in_words("v2"), all_in_words), (16, 40))),
    (0.12, Kind((told,), (8, 16))),
    (0.07, Kind((told_and_solved,), (6, 14))),
    (0.09, Kind((in_steps, by_the_inverse, by_parts), (12, 24))),
    (0.03, Kind((with_carries, with_borrowing), (8, 16))),
    (0.03, Kind((compared, plain_numbers_compared, continued, with_a_gap, with_remainder), (12, 24))),
    (
        0.03,
        Kind(
            (
                stated("v1", EQUATION), stated("v2", EQUATION), told, told_and_solved, in_steps, by_parts,
                by_the_inverse, compared, plain_numbers_compared, continued, with_a_gap, with_remainder,
            ),
            (12, 24),
            mixed=True,
        ),
    ),
)  # fmt: skip
"""All kinds. Evaluation asks for equations and word problems: most of the text is of these."""


def training_documents(seed: int, bytes: int, stream: int = 0) -> Iterator[str]:
    """About `bytes` bytes of documents of many lines each, without any held-out expression.

    Args:
        seed: the run's seed.
        bytes: text ends with the first document that reaches this.
        stream: number of a part; the streams of a seed are independent of each other.
    """
    rng = random.Random(derive_seed(seed, "arithmetic", "training", stream))
    return _documents(rng, bytes, held_out=False)


def held_out_documents(seed: int, bytes: int, stream: int = 0) -> Iterator[str]:
    """The same, of exercises about held-out expressions."""
    rng = random.Random(derive_seed(seed, "arithmetic", "held-out text", stream))
    return _documents(rng, bytes, held_out=True)


def _documents(rng: random.Random, size: int, held_out: bool) -> Iterator[str]:
    written = 0
    while written < size:
        kind = KINDS.draw(rng)
        wording = pick(rng, kind.wordings)
        if held_out and wording is plain_numbers_compared:
            continue  # no expression that could be held out
        texts = [
            draw_exercise(rng, pick(rng, kind.wordings) if kind.mixed else wording, held_out)
            for _ in range(between(rng, *kind.exercises))
        ]
        text = "\n".join(texts) + "\n"
        written += len(text)  # all of it is ASCII
        yield text


def draw_exercise(rng: Random, wording: Wording, held_out: bool) -> str:
    """An exercise on the wanted side of the split; it is drawn again until it is."""
    while True:
        exercise = wording(rng)
        if exercise is None:
            continue
        if held_out:
            if not exercise.shown or is_held_out(exercise.shown[0]):
                return exercise.text
        elif not any(map(is_held_out, exercise.shown)):
            return exercise.text
