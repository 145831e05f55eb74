"""One training sequence as the model saw it: its text, whose it is, and where it lies in run and corpus."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus, TokenStream
from flyweight.curriculum.order import Order, Sequence
from flyweight.recipe import Recipe


@dataclass(frozen=True)
class Passage:
    """What a sequence holds of one document."""

    document: int
    """Number of the document in its source's training stream, from 0."""
    skipped: int
    """Tokens of the document before this passage; 0 where the document begins here."""
    begin: int
    """First token of the passage, counted in the sequence."""
    end: int
    """One past its last token."""
    ends_document: bool
    """Whether the document's last token, its end_of_text, is here."""
    text: str
    """The tokens as text, end_of_text included; a character that a border cuts through shows as U+FFFD."""

    @property
    def begins_document(self) -> bool:
        """Whether the document's first token is here."""
        return self.skipped == 0


@dataclass(frozen=True)
class Inspection:
    """Sequence `number` of a run: what it holds, and where it stands in the run and in the corpus."""

    number: int
    sequences: int
    """Of the whole run."""
    source: str
    clock: int
    """Tokens seen before its step: the clock by which the step's weights were read."""
    tokens_before: int
    """Tokens of all sequences before it, those of its own step among them."""
    step: int
    row: int
    """Its row in the step's batch."""
    batch_size: int
    sequence_length: int
    """T: inputs are the first T tokens, targets the last T."""
    share: float
    """The planned share of its source in that step."""
    learning_rate: float
    """The recipe's rate in that step, before the parametrization scales it by role."""
    draw: int
    """Sequences of this source and length before it."""
    epoch: int
    """Of this source at this length, from 0."""
    window: int
    """Which of the epoch's windows it is, from 0."""
    windows: int
    """Windows of an epoch."""
    start: int
    """Position of its first token in the source's stream."""
    source_tokens: int
    """Tokens of the source's stream, which is a ring."""
    source_documents: int
    tokens: tuple[int, ...]
    """The T+1 tokens that training reads."""
    pieces: tuple[str, ...]
    """Each token as text by itself."""
    passages: tuple[Passage, ...]
    """The tokens again, document by document."""
    document_masking: bool
    """Whether documents are kept apart: positions and attention begin anew with each passage."""
    scored: int
    """Targets that count: all T, or with document masking those that do not begin a passage."""


def inspect_sequence(
    recipe: Recipe, corpus: OpenCorpus, number: int, order: Order | None = None
) -> Inspection:
    """Sequence `number`, from 0, of a run of `recipe` on `corpus`.

    Args:
        recipe: of the run.
        corpus: the token shards that the run reads.
        number: from 0 to one below the run's sequences.
        order: of that recipe and corpus, where one is at hand: what it has walked is not walked again.

    Raises:
        UserError: the run has no such sequence; the corpus lacks a source.
    """
    if order is None:
        order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
    total = order.schedule.sequences
    if not 0 <= number < total:
        raise UserError(
            f"sequence {number:,}: this run has {total:,} sequences; expected a number from 0 to {total - 1:,}."
        )
    step = order.schedule.step_of_sequence(number)
    (item,) = order.sequences(number, 1)
    stream = corpus.train[item.source]
    tokens = stream.read(item.start, item.length + 1)
    row = number - step.sequence
    passages = _passages(item, stream, tokens, corpus)
    masking = recipe.training.document_masking
    return Inspection(
        number=number,
        sequences=total,
        source=item.source,
        clock=step.clock,
        tokens_before=step.clock + row * item.length,
        step=step.step,
        row=row,
        batch_size=step.batch_size,
        sequence_length=item.length,
        share=recipe.training.mixture_timelines()[item.source].at(step.clock),
        learning_rate=recipe.training.learning_rate.at(step.middle),
        draw=item.draw,
        epoch=item.epoch,
        window=item.window,
        windows=order.windows(item.source, item.length),
        start=item.start,
        source_tokens=stream.tokens,
        source_documents=stream.documents,
        tokens=tuple(map(int, tokens)),
        pieces=tuple(corpus.tokenizer.decode([int(token)]) for token in tokens),
        passages=passages,
        document_masking=masking,
        scored=item.length - (len(passages) - 1 if masking else 0),
    )


def _passages(
    item: Sequence, stream: TokenStream, tokens: np.ndarray, corpus: OpenCorpus
) -> tuple[Passage, ...]:
    """Cut at the borders that the corpus has on record: text may hold tokens that look like one."""
    result = []
    borders = stream.borders(item.start, len(tokens)).tolist()
    places = [0, *(place for place in borders if place > 0), len(tokens)]
    for begin, end in itertools.pairwise(places):
        position = (item.start + begin) % stream.tokens
        document, first = stream.document_at(position)
        follows = (item.start + end) % stream.tokens
        result.append(
            Passage(
                document=document,
                skipped=position - first,
                begin=begin,
                end=end,
                ends_document=stream.document_at(follows)[1] == follows,
                text=corpus.tokenizer.decode(tokens[begin:end].tolist()),
            )
        )
    return tuple(result)
