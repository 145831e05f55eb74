"""What a run read from each source, from the log lines of its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flyweight.plots import Shares

WINDOWS = 60
"""Stretches of a run whose realised mixture is drawn."""


@dataclass(frozen=True, eq=False)
class Realised:
    """Tokens read by source up to each of some clocks, counted from the first of them."""

    clocks: np.ndarray
    """(n,) int64, rising; the first is where the count begins."""
    tokens: Mapping[str, np.ndarray]
    """(n,) float64 by source; all sources together are the clocks less the first."""

    @property
    def begin(self) -> int:
        """The clock where the count begins."""
        return int(self.clocks[0])

    @property
    def end(self) -> int:
        """The clock of the newest log line."""
        return int(self.clocks[-1])

    @property
    def by_source(self) -> dict[str, float]:
        """Tokens read from each source between `begin` and `end`."""
        return {name: float(tokens[-1]) for name, tokens in self.tokens.items()}

    def shares(self, windows: int = WINDOWS) -> Shares:
        """The share of each source in up to `windows` stretches, each flat from its start to its end."""
        count = len(self.clocks)
        picked = np.unique(np.linspace(0, count - 1, min(windows + 1, count)).round().astype(int))
        clocks = self.clocks[picked].astype(np.float64)
        sizes = np.diff(clocks)
        edges = np.stack([clocks[:-1], clocks[1:]], axis=1).reshape(-1)
        return Shares(
            edges,
            {name: (np.diff(tokens[picked]) / sizes).repeat(2) for name, tokens in self.tokens.items()},
        )


def realised_tokens(steps: Sequence[Mapping[str, Any]], began: int = 0) -> Realised | None:
    """Count the tokens that a run read from each source; None where its record does not tell.

    Log lines count sequences by source. Between two of them the tokens of a source are its part of the
    sequences, of the tokens that the clock went on by: exact as long as the sequence length stays, and
    where it changes between two lines, exact in sum.

    Args:
        steps: the events of kind `step`, oldest first.
        began: the clock at which the run began. Where that is another run's checkpoint, the sequences
            before it were that run's, and the count begins at the first log line.
    """
    known = [step for step in steps if step.get("realised")]
    names = list(known[-1]["realised"]) if known else []
    clocks = np.array([step["clock"] for step in known], np.int64)
    counts = np.array([[step["realised"].get(name, 0) for name in names] for step in known], np.float64)
    if known and not began:
        clocks = np.concatenate([[0], clocks])
        counts = np.concatenate([np.zeros((1, len(names))), counts])
    if len(clocks) < 2:
        return None
    drawn = np.diff(counts, axis=0)
    passed = np.diff(clocks)
    sequences = drawn.sum(axis=1)
    if not (passed > 0).all() or not (sequences > 0).all():
        return None
    tokens = np.concatenate(
        [np.zeros((1, len(names))), np.cumsum(drawn / sequences[:, None] * passed[:, None], axis=0)]
    )
    return Realised(clocks, {name: tokens[:, index] for index, name in enumerate(names)})
