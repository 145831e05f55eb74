"""Which source each sequence comes from: Tijdeman's rule over weights that change with time.

With weights w_i(n) that add up to 1 at every n, and planned counts S_i(n) = w_i(0) + ... + w_i(n-1),
choose a source for every n so that the realised count x_i(n) stays within one of S_i(n). R. Tijdeman
(The chairman assignment problem, Discrete Mathematics 32, 1980) showed that this works for any
number m of sources and any weights: with e = 1/(2m-2), sequence number k of source i may be placed
once S_i has reached k + e, must be placed before S_i passes k + 1 - e, and among those that may be
placed the one with the earliest deadline goes first. The deviation then never exceeds 1 - e. (The
greedy rule, always the source that lags most, breaks the bound from about six sources.)

Everything is exact: weights are integers over UNIT, read at the starting clock of each step.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flyweight.curriculum.segments import Schedule
from flyweight.recipe import Training

UNIT = 1 << 30
"""Weights are fixed point with this denominator: exact sums up to 2^33 sequences in an int64."""

ROW = 4096
"""Sequences between two remembered rows of counts."""

_NEVER = 1 << 62


def fixed_point_weights(weights: np.ndarray) -> np.ndarray:
    """Weights (steps, sources) that add up to about 1, as integers that add up to UNIT exactly.

    Largest remainders get the units that rounding down leaves over, the first source first among
    equals. A weight of 0 stays 0.
    """
    scaled = weights * UNIT
    units = np.floor(scaled).astype(np.int64)
    missing = UNIT - units.sum(axis=1)
    remainder = np.where(weights > 0, scaled - units, -1.0)
    order = np.argsort(-remainder, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(weights.shape[1])[None, :].repeat(len(weights), 0), axis=1)
    return units + (rank < missing[:, None])


@dataclass
class _Walk:
    """Where the assignment stands: the next sequence and how many each source has had."""

    sequence: int
    counts: list[int]


class Mixture:
    """The source of every sequence of a run, and the counts before it.

    Memory: three int64 a step and source, and one row of counts every ROW sequences of what was
    walked so far.
    """

    def __init__(self, training: Training, schedule: Schedule):
        timelines = training.mixture_timelines()
        self.sources: tuple[str, ...] = tuple(timelines)
        self.schedule = schedule
        clocks = schedule.step_clocks()
        weights = np.stack([timeline.values(clocks) for timeline in timelines.values()], axis=1)
        self._weights = fixed_point_weights(weights)
        batch_sizes = np.concatenate(
            [np.full(s.steps, s.batch_size, dtype=np.int64) for s in schedule.segments]
        )
        self._first = np.concatenate([[0], np.cumsum(batch_sizes)])
        self._planned = np.concatenate(
            [np.zeros((1, len(self.sources)), np.int64), np.cumsum(self._weights * batch_sizes[:, None], 0)]
        )
        self._columns = [np.ascontiguousarray(self._planned[:, i]) for i in range(len(self.sources))]
        m = len(self.sources)
        self._slack = UNIT // (2 * m - 2) if m > 1 else 0
        self._rows: dict[int, tuple[int, ...]] = {0: (0,) * m}
        self._blocks: dict[int, np.ndarray] = {}
        self._walking = threading.RLock()  # batches are drawn ahead in a thread, beside what asks for counts

    def planned(self, sequence: int) -> np.ndarray:
        """S_i(sequence), in units of 1/UNIT sequences: int64 (sources,)."""
        step = int(np.searchsorted(self._first, sequence, side="right")) - 1
        step = min(step, len(self._weights) - 1)
        return self._planned[step] + self._weights[step] * (sequence - self._first[step])

    def _first_reaching(self, source: int, amount: int) -> int:
        """The smallest n with S_source(n) >= amount; beyond the run the last weights go on for ever."""
        column = self._columns[source]
        step = int(np.searchsorted(column, amount, side="left")) - 1
        if step < 0:
            return 0
        step = min(step, len(self._weights) - 1)
        weight = int(self._weights[step, source])
        if weight == 0:
            return _NEVER
        return int(self._first[step]) - (-(amount - int(column[step])) // weight)

    def _window(self, source: int, count: int) -> tuple[int, int]:
        """The sequences [release, deadline] among which sequence number `count` of `source` must lie."""
        if len(self.sources) == 1:
            return count, count
        release = self._first_reaching(source, count * UNIT + self._slack) - 1
        deadline = self._first_reaching(source, (count + 1) * UNIT - self._slack + 1) - 1
        return release, deadline

    def _assign(self, walk: _Walk, until: int) -> Iterator[int]:
        """Yield the source of each sequence from where `walk` stands up to `until`, moving it along."""
        waiting: list[tuple[int, int, int]] = []  # (release, deadline, source)
        ready: list[tuple[int, int]] = []  # (deadline, source)
        for source, count in enumerate(walk.counts):
            release, deadline = self._window(source, count)
            heapq.heappush(waiting, (release, deadline, source))
        for sequence in range(walk.sequence, until):
            while waiting and waiting[0][0] <= sequence:
                _, deadline, source = heapq.heappop(waiting)
                heapq.heappush(ready, (deadline, source))
            # Some source is always released: the counts add up to n, the plan to n + 1, so one lags
            # by at least 1/m, which is not less than e for m >= 2.
            deadline, source = heapq.heappop(ready)
            assert deadline >= sequence, "Tijdeman's bound is broken"
            walk.counts[source] += 1
            walk.sequence = sequence + 1
            release, deadline = self._window(source, walk.counts[source])
            heapq.heappush(waiting, (release, deadline, source))
            yield source

    def _block(self, block: int) -> np.ndarray:
        """Sources of the ROW sequences of a block, int16, walking on from the nearest row before."""
        with self._walking:
            if block not in self._blocks:
                self._walk_to(block)
            return self._blocks[block]

    def _walk_to(self, block: int) -> None:
        start = max(row for row in self._rows if row <= block)
        walk = _Walk(start * ROW, list(self._rows[start]))
        assigned = np.empty(0, np.int16)
        for current in range(start, block + 1):
            assigned = np.fromiter(self._assign(walk, (current + 1) * ROW), np.int16, ROW)
            self._rows[current + 1] = tuple(walk.counts)
        self._blocks = {key: self._blocks[key] for key in list(self._blocks)[-7:]}
        self._blocks[block] = assigned

    def sources_of(self, first: int, count: int) -> np.ndarray:
        """The source index of sequences first ... first+count-1."""
        blocks = range(first // ROW, (first + count - 1) // ROW + 1)
        joined = np.concatenate([self._block(block) for block in blocks])
        start = first - blocks[0] * ROW
        return joined[start : start + count]

    def counts_before(self, sequence: int) -> np.ndarray:
        """x_i(sequence): how many of the sequences before this one come from each source, int64."""
        block, into = divmod(sequence, ROW)
        assigned = self._block(block) if into else np.empty(0, np.int16)
        return np.array(self.row(block)) + np.bincount(assigned[:into], minlength=len(self.sources))

    def row(self, block: int) -> tuple[int, ...]:
        """The counts before sequence block * ROW, to be kept in a checkpoint."""
        if block not in self._rows:
            self._block(block - 1)
        return self._rows[block]

    def remember_row(self, block: int, counts: tuple[int, ...]) -> None:
        """Take over a row that an earlier walk of the same mixture came to, so that seeking is O(1)."""
        planned = self.planned(block * ROW)
        if sum(counts) != block * ROW or np.abs(np.array(counts) * UNIT - planned).max() > UNIT:
            raise ValueError(f"counts {counts} at block {block} do not belong to this mixture")
        with self._walking:
            self._rows[block] = tuple(counts)


def planned_tokens_by_source(training: Training) -> dict[str, float]:
    """Tokens that the plan takes from each source over the whole run."""
    schedule = Schedule.of(training)
    clocks = schedule.step_clocks()
    step_tokens = np.concatenate([np.full(s.steps, s.step_tokens, np.float64) for s in schedule.segments])
    return {
        name: float((timeline.values(clocks) * step_tokens).sum())
        for name, timeline in training.mixture_timelines().items()
    }
