"""The n-th training sequence as a pure function of recipe, corpus sizes and n."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flyweight.base import UserError, derive_seed
from flyweight.curriculum.journal import Journal
from flyweight.curriculum.mixture import ROW, Mixture
from flyweight.curriculum.permutation import KeyedPermutation
from flyweight.curriculum.segments import Schedule, Step
from flyweight.recipe import Recipe


@dataclass(frozen=True)
class Sequence:
    """Where one training sequence lies: tokens start ... start+length of a source's ring.

    The inputs are `length` tokens from `start`, the targets the same shifted by one, so that
    length + 1 tokens are read. `number` counts what is trained on; `draw` counts the sequences of this
    source at this length, and `window` is the place of this one among the epoch's windows.
    """

    number: int
    source: str
    start: int
    length: int
    draw: int
    epoch: int
    window: int


@dataclass(frozen=True)
class OrderState:
    """What was passed over, and what makes seeking O(1) after a restart: counts that the walk came to."""

    block: int = 0
    """Of mixture.ROW sequences."""
    counts: tuple[int, ...] = ()
    """Sequences by source before that block."""
    segments: tuple[tuple[int, ...], ...] = ()
    """The same before each segment, and each stretch that was passed over, that has begun."""
    skipped: tuple[tuple[int, int, int], ...] = ()
    """The journal: (first, end, sequence length) of each stretch of the order that was passed over."""


class Order:
    """The order of the data of one run.

    Args:
        recipe: decides segments, mixture and seed.
        source_tokens: tokens L of each source's training stream.

    A source of L tokens is a ring with floor(L/T) windows of T inputs and T targets at sequence
    length T, from a phase drawn for each epoch. Draw j lies in epoch j // floor(L/T) and takes the
    window that a permutation keyed by (seed, source, T, epoch) puts at j % floor(L/T): no window
    comes twice within an epoch. Draws are counted by source and T, so changes of batch size or
    mixture do not restart them.

    `journal` says which places of the order were passed over: sequence n of the run stands n + skipped
    places down the order, whose sources and draws are counted place by place.

    Raises:
        UserError: a source is shorter than one sequence.
    """

    def __init__(self, recipe: Recipe, source_tokens: Mapping[str, int]):
        self.schedule = Schedule.of(recipe.training)
        self.mixture = Mixture(recipe.training, self.schedule)
        self._seed = recipe.seed
        self._tokens = dict(source_tokens)
        self.journal = Journal()
        self._counts_at: dict[int, np.ndarray] = {}
        longest = max(segment.sequence_length for segment in self.schedule.segments)
        for source in self.mixture.sources:
            if source not in self._tokens:
                raise UserError(f"the corpus has no source {source!r}, which the recipe's mixture names.")
            if self._tokens[source] < longest:
                raise UserError(
                    f"source {source!r} has {self._tokens[source]:,} tokens, fewer than one sequence of "
                    f"{longest:,}; bring more text or shorten training.sequence_length."
                )

    @lru_cache(maxsize=64)  # noqa: B019 - an Order lives as long as its run
    def _epoch(self, source: str, length: int, epoch: int) -> tuple[KeyedPermutation, int]:
        """The permutation of an epoch's windows, and the phase at which its first window starts."""
        tokens = self._tokens[source]
        phase = derive_seed(self._seed, "phase", source, length, epoch) % tokens
        return KeyedPermutation(tokens // length, self._seed, "order", source, length, epoch), phase

    def _counts(self, place: int) -> np.ndarray:
        """Sequences of each source before a place where a stretch begins: remembered."""
        if place not in self._counts_at:
            self._counts_at[place] = self.mixture.counts_before(place)
        return self._counts_at[place]

    def _draws_before(self, place: int, length: int, journal: Journal) -> np.ndarray:
        """Draws of each source at sequence length `length` before a place: int64 (sources,)."""
        draws = np.zeros(len(self.mixture.sources), np.int64)
        for part in journal.stretches(self.schedule, place):
            if part.sequence_length == length:
                end = self.mixture.counts_before(place) if part.end == place else self._counts(part.end)
                draws = draws + end - self._counts(part.first)
        return draws

    def sequences(self, first: int, count: int, journal: Journal | None = None) -> list[Sequence]:
        """Sequences first ... first+count-1 of the run, which must be of one length.

        `journal` is the order's own when left out. What draws in another thread passes the one that it was told:
        the order's may change meanwhile.
        """
        journal = self.journal if journal is None else journal
        if count == 0:
            return []
        length = self.schedule.segment_of_sequence(first).sequence_length
        assert self.schedule.segment_of_sequence(first + count - 1).sequence_length == length
        result: list[Sequence] = []
        while len(result) < count:
            number = first + len(result)
            place = journal.place(number)
            room = min((part.first - place for part in journal.skipped if part.first > place), default=count)
            result += self._drawn(number, place, min(room, count - len(result)), length, journal)
        return result

    def _drawn(self, number: int, place: int, count: int, length: int, journal: Journal) -> list[Sequence]:
        """The `count` sequences at places from `place` on, the first of which is the run's sequence `number`."""
        draws = self._draws_before(place, length, journal)
        result = []
        for offset, index in enumerate(self.mixture.sources_of(place, count)):
            source, draw = self.mixture.sources[index], int(draws[index])
            draws[index] += 1
            epoch, position = divmod(draw, self.windows(source, length))
            permutation, phase = self._epoch(source, length, epoch)
            window = permutation(position)
            start = (phase + window * length) % self._tokens[source]
            result.append(Sequence(number + offset, source, start, length, draw, epoch, window))
        return result

    def windows(self, source: str, length: int) -> int:
        """Windows of `length` tokens in one epoch of `source`."""
        return self._tokens[source] // length

    def step_sequences(
        self, step: Step, rank: int = 0, world_size: int = 1, journal: Journal | None = None
    ) -> list[Sequence]:
        """The sequences of a step that process `rank` of `world_size` trains on.

        Each rank takes a contiguous part; the parts of all ranks, in order, are the step's sequences
        whatever the world size. Sizes differ by at most one.
        """
        begin = step.batch_size * rank // world_size
        end = step.batch_size * (rank + 1) // world_size
        return self.sequences(step.sequence + begin, end - begin, journal)

    def realised(self, sequence: int) -> dict[str, int]:
        """How many of the run's sequences before `sequence` come from each source; skipped ones do not count."""
        place = self.journal.place(sequence)
        counts = self.mixture.counts_before(place)
        for part in self.journal.skipped:
            if part.first < place:
                counts = counts - self._counts(part.end) + self._counts(part.first)
        return dict(zip(self.mixture.sources, map(int, counts), strict=True))

    def pass_over(self, step: Step) -> tuple[int, int]:
        """Journal that the data of `step` was passed over: the step takes what follows in the order instead.

        Returns the places (first, end) that were passed over.
        """
        first = self.journal.place(step.sequence)
        end = first + step.batch_size
        self.journal = self.journal.passing_over(self.schedule, first, end, step.sequence_length)
        return first, end

    def go_back(self, sequence: int, journal: Journal, reached: int) -> tuple[int, int]:
        """Journal that all which was drawn since the run stood at `sequence` with `journal` was passed over.

        `reached` is the sequence at which it stands now. Returns the places (first, end) passed over.
        """
        first, end = sequence + journal.sequences, reached + self.journal.sequences
        self.journal = self.journal.passing_over(self.schedule, first, end)
        return first, end

    def state(self, sequence: int) -> OrderState:
        """What a checkpoint before `sequence` keeps; see `restore`."""
        place = self.journal.place(sequence)
        block = place // ROW
        begun = self.journal.stretches(self.schedule, place + 1)
        rows = tuple(tuple(int(c) for c in self._counts(part.first)) for part in begun)
        return OrderState(block, self.mixture.row(block), rows, self.journal.rows())

    def restore(self, state: OrderState) -> None:
        """Take over the journal, and what an earlier walk of the same order came to, which only speeds up seeking."""
        self.journal = Journal.of(state.skipped)
        if not state.counts:
            return
        self.mixture.remember_row(state.block, tuple(state.counts))
        stretches = self.journal.stretches(self.schedule, (state.block + 1) * ROW)
        for part, row in zip(stretches, state.segments, strict=False):
            self._counts_at[part.first] = np.array(row)
