"""The n-th training sequence as a pure function of recipe, corpus sizes and n."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flyweight.base import UserError, derive_seed
from flyweight.curriculum.mixture import ROW, Mixture
from flyweight.curriculum.permutation import KeyedPermutation
from flyweight.curriculum.segments import Schedule, Step
from flyweight.recipe import Recipe


@dataclass(frozen=True)
class Sequence:
    """Where one training sequence lies: tokens start ... start+length of a source's ring.

    The inputs are `length` tokens from `start`, the targets the same shifted by one, so that
    length + 1 tokens are read. `draw` counts the sequences of this source at this length, and `window`
    is the place of this one among the epoch's windows.
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
    """What makes seeking to one sequence O(1) after a restart: counts that the walk came to."""

    block: int = 0
    """Of mixture.ROW sequences."""
    counts: tuple[int, ...] = ()
    """Sequences by source before that block."""
    segments: tuple[tuple[int, ...], ...] = ()
    """The same before each segment that has begun."""


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

    Raises:
        UserError: a source is shorter than one sequence.
    """

    def __init__(self, recipe: Recipe, source_tokens: Mapping[str, int]):
        self.schedule = Schedule.of(recipe.training)
        self.mixture = Mixture(recipe.training, self.schedule)
        self._seed = recipe.seed
        self._tokens = dict(source_tokens)
        self._segment_counts: dict[int, np.ndarray] = {}
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

    def _counts_at_segment(self, index: int) -> np.ndarray:
        if index not in self._segment_counts:
            first = self.schedule.segments[index].first_sequence
            self._segment_counts[index] = self.mixture.counts_before(first)
        return self._segment_counts[index]

    def _draws_before(self, sequence: int) -> np.ndarray:
        """Draws of each source at the sequence length of `sequence`, before it: int64 (sources,)."""
        segments = self.schedule.segments
        here = segments.index(self.schedule.segment_of_sequence(sequence))
        draws = self.mixture.counts_before(sequence) - self._counts_at_segment(here)
        for earlier in range(here):
            if segments[earlier].sequence_length == segments[here].sequence_length:
                draws = draws + self._counts_at_segment(earlier + 1) - self._counts_at_segment(earlier)
        return draws

    def sequences(self, first: int, count: int) -> list[Sequence]:
        """Sequences first ... first+count-1, which must lie in one segment."""
        if count == 0:
            return []
        length = self.schedule.segment_of_sequence(first).sequence_length
        assert self.schedule.segment_of_sequence(first + count - 1).sequence_length == length
        draws = self._draws_before(first)
        result = []
        for offset, index in enumerate(self.mixture.sources_of(first, count)):
            source, draw = self.mixture.sources[index], int(draws[index])
            draws[index] += 1
            epoch, position = divmod(draw, self.windows(source, length))
            permutation, phase = self._epoch(source, length, epoch)
            window = permutation(position)
            start = (phase + window * length) % self._tokens[source]
            result.append(Sequence(first + offset, source, start, length, draw, epoch, window))
        return result

    def windows(self, source: str, length: int) -> int:
        """Windows of `length` tokens in one epoch of `source`."""
        return self._tokens[source] // length

    def step_sequences(self, step: Step, rank: int = 0, world_size: int = 1) -> list[Sequence]:
        """The sequences of a step that process `rank` of `world_size` trains on.

        Each rank takes a contiguous part; the parts of all ranks, in order, are the step's sequences
        whatever the world size. Sizes differ by at most one.
        """
        begin = step.batch_size * rank // world_size
        end = step.batch_size * (rank + 1) // world_size
        return self.sequences(step.sequence + begin, end - begin)

    def realised(self, sequence: int) -> dict[str, int]:
        """How many of the sequences before `sequence` come from each source."""
        counts = self.mixture.counts_before(sequence)
        return dict(zip(self.mixture.sources, map(int, counts), strict=True))

    def state(self, sequence: int) -> OrderState:
        """What a checkpoint before `sequence` keeps; see `restore`."""
        block = sequence // ROW
        begun = [i for i, s in enumerate(self.schedule.segments) if s.first_sequence <= sequence]
        segments = tuple(tuple(int(c) for c in self._counts_at_segment(i)) for i in begun)
        return OrderState(block, self.mixture.row(block), segments)

    def restore(self, state: OrderState) -> None:
        """Take over what an earlier walk of the same order came to. Speeds up seeking, changes nothing."""
        if state.counts:
            self.mixture.remember_row(state.block, tuple(state.counts))
            self._segment_counts.update((i, np.array(row)) for i, row in enumerate(state.segments))
