"""From timelines of batch size and sequence length to segments of constant shape.

All integers. A knot takes effect at the first step whose starting clock is at or past it. Within a
segment step, sequence and clock are linear in each other, so any of them is found from any other
without walking the run.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flyweight.recipe import Training


@dataclass(frozen=True)
class Segment:
    """A stretch of steps with the same batch size (sequences) and sequence length (tokens)."""

    first_step: int
    first_sequence: int
    first_clock: int
    steps: int
    batch_size: int
    sequence_length: int

    @property
    def step_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_size * self.sequence_length

    @property
    def sequences(self) -> int:
        """Sequences in the segment."""
        return self.steps * self.batch_size


@dataclass(frozen=True)
class Step:
    """One step of the run: where it starts, in steps, sequences and tokens, and its shape."""

    step: int
    sequence: int
    clock: int
    batch_size: int
    sequence_length: int

    @property
    def tokens(self) -> int:
        """Tokens of the step."""
        return self.batch_size * self.sequence_length

    @property
    def middle(self) -> float:
        """The clock in the middle of the step, where learning rates are read.

        Read at the start, a warm-up from 0 would make step 0 a step of rate 0; read at the end, a
        decay to 0 would waste the last step. In the middle neither happens.
        """
        return self.clock + self.tokens / 2


def compile_segments(training: Training) -> list[Segment]:
    """The segments of a run: as many whole steps as fit into `training.tokens`."""
    batch, length = training.batch_size, training.sequence_length
    knots = sorted({knot.at for knot in (*batch.knots, *length.knots)})
    segments: list[Segment] = []
    step = sequence = clock = 0
    while True:
        batch_size, sequence_length = int(batch.at(clock)), int(length.at(clock))
        step_tokens = batch_size * sequence_length
        following = bisect.bisect_right(knots, clock)
        until = min(knots[following], training.tokens) if following < len(knots) else training.tokens
        fitting = (training.tokens - clock) // step_tokens
        steps = min(-(-(until - clock) // step_tokens), fitting)
        if steps <= 0:
            return segments
        segments.append(Segment(step, sequence, clock, steps, batch_size, sequence_length))
        step += steps
        sequence += steps * batch_size
        clock += steps * step_tokens


@dataclass(frozen=True)
class Schedule:
    """The steps of a run, and where each of them lies."""

    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, training: Training) -> Schedule:
        """The schedule of a recipe's training section."""
        return cls(tuple(compile_segments(training)))

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.segments[-1].first_step + self.segments[-1].steps

    @property
    def sequences(self) -> int:
        """Sequences of the whole run."""
        return self.segments[-1].first_sequence + self.segments[-1].sequences

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        last = self.segments[-1]
        return last.first_clock + last.steps * last.step_tokens

    @cached_property
    def _first_steps(self) -> list[int]:
        return [segment.first_step for segment in self.segments]

    @cached_property
    def _first_sequences(self) -> list[int]:
        return [segment.first_sequence for segment in self.segments]

    def segment_of_step(self, step: int) -> Segment:
        """The segment in which `step` lies."""
        return self.segments[bisect.bisect_right(self._first_steps, step) - 1]

    def segment_of_sequence(self, sequence: int) -> Segment:
        """The segment in which `sequence` lies."""
        return self.segments[bisect.bisect_right(self._first_sequences, sequence) - 1]

    def step(self, step: int) -> Step:
        """Where step number `step` (from 0) starts; `step == steps` is the end of the run."""
        segment = self.segment_of_step(step)
        into = step - segment.first_step
        return Step(
            step=step,
            sequence=segment.first_sequence + into * segment.batch_size,
            clock=segment.first_clock + into * segment.step_tokens,
            batch_size=segment.batch_size,
            sequence_length=segment.sequence_length,
        )

    def step_of_sequence(self, sequence: int) -> Step:
        """The step in whose batch `sequence` lies."""
        segment = self.segment_of_sequence(sequence)
        return self.step(segment.first_step + (sequence - segment.first_sequence) // segment.batch_size)

    def step_at_clock(self, clock: int) -> Step:
        """The step that starts exactly at `clock`."""
        for segment in self.segments:
            into, rest = divmod(clock - segment.first_clock, segment.step_tokens)
            if 0 <= into <= segment.steps and rest == 0:
                return self.step(segment.first_step + into)
        raise ValueError(f"no step of this run starts at {clock:,} tokens")

    def first_step_from(self, clock: int) -> int:
        """The first step whose starting clock is at or past `clock`; `steps` when there is none."""
        for segment in self.segments:
            into = max(0, -(-(clock - segment.first_clock) // segment.step_tokens))
            if into < segment.steps:
                return segment.first_step + into
        return self.steps

    def step_clocks(self) -> np.ndarray:
        """The starting clock of every step, int64 (steps,)."""
        return np.concatenate(
            [s.first_clock + np.arange(s.steps, dtype=np.int64) * s.step_tokens for s in self.segments]
        )
