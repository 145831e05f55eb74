"""Requests packed into rows so that what they share is computed once.

The choices of a question share the question, the questions of a few-shot task share its examples, the two sentences
of a minimal pair share their beginning. Sorted by their tokens such requests stand next to each other, and a row
holds a run of them as a tree: each token stands at the position that it has in its request and sees only what stands
before it there. A row in which nothing branches is an ordinary sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PAIRS_A_TOKEN = 512
"""A row pays attention for every pair of its tokens, shared or not. Computing a token once instead of twice saves as
much as about this many pairs cost in a model of a few hundred hidden units; in a larger one it saves more."""

LONGEST_ROW = 2_048
"""Tokens of a row that holds several requests: its mask has the square of that."""


class Line(NamedTuple):
    """The tokens of one request, as they enter the model."""

    tokens: NDArray[np.int32]
    """Context and continuation but for the last token, which is a target only."""
    targets: NDArray[np.int32]
    """The scored tokens: those that follow the last of `tokens`, as many as there are targets."""


class Branch(NamedTuple):
    """What a request adds to a row."""

    start: int
    """Place in the row of its first new token."""
    end: int
    """Place after its last one."""
    path: NDArray[np.int64]
    """Places in the row of all tokens of the request, old and new."""


@dataclass
class Row:
    """Requests that share tokens, as a tree."""

    requests: list[int] = field(default_factory=list)
    """Which requests."""
    branches: list[Branch] = field(default_factory=list)
    """What each adds."""
    tokens: list[NDArray[np.int32]] = field(default_factory=list)
    """The new tokens of each branch."""
    length: int = 0
    """Tokens of the row."""
    is_line: bool = True
    """Whether no token has two successors."""

    def add(self, request: int, tokens: NDArray[np.int32], shared: int) -> None:
        """Put in a request whose first `shared` tokens are those of the request put in before."""
        start, end = self.length, self.length + len(tokens) - shared
        old = self.branches[-1].path[:shared] if self.branches else np.empty(0, np.int64)
        # It stays one if the request is there already, or goes on where the row ends.
        self.is_line = self.is_line and (end == start or shared == self.length)
        self.branches.append(Branch(start, end, np.concatenate([old, np.arange(start, end)])))
        self.tokens.append(tokens[shared:])
        self.requests.append(request)
        self.length = end


def pack(lines: Sequence[Line], *, trees: bool = True, longest: int = LONGEST_ROW) -> list[Row]:
    """All `lines` in rows, the longest row first.

    Args:
        lines: the requests.
        trees: allow rows that branch; without, a row holds requests that continue each other (such as the four
            letters after one question).
        longest: tokens of a row with more than one request.
    """
    keys = [line.tokens.astype(">u4").tobytes() for line in lines]
    rows: list[Row] = []
    previous: NDArray[np.int32] = np.empty(0, np.int32)
    for request in sorted(range(len(lines)), key=keys.__getitem__):
        tokens = lines[request].tokens
        shared = common_prefix(previous, tokens) if rows else 0
        if not (rows and _joins(rows[-1], tokens, shared, len(previous), trees, longest)):
            rows.append(Row())
            shared = 0
        rows[-1].add(request, tokens, shared)
        previous = tokens
    return sorted(rows, key=lambda row: -row.length)


def _joins(row: Row, tokens: NDArray[np.int32], shared: int, before: int, trees: bool, longest: int) -> bool:
    new = len(tokens) - shared
    if row.is_line and shared == before == row.length:  # it continues the line, or is equal to it
        return new == 0 or row.length + new <= longest
    if not trees:
        return False
    return row.length + new <= longest and row.length * new <= shared * PAIRS_A_TOKEN


def common_prefix(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """How many first tokens are the same in both."""
    size = min(len(one), len(other))
    differs = one[:size] != other[:size]
    return int(differs.argmax()) if differs.any() else size


class Batch(NamedTuple):
    """Rows side by side, padded on the right, and what is scored in them.

    Shapes: B (rows), T (tokens of the longest), N (places that are read out), M (targets).
    """

    tokens: NDArray[np.int64]
    """(B, T)."""
    positions: NDArray[np.int64] | None
    """(B, T): how many tokens stand before each, 0 for padding; None where all rows are lines."""
    mask: NDArray[np.bool_] | None
    """(B, 1, T, T): which tokens each one sees; None where all rows are lines."""
    rows: NDArray[np.int64]
    """(N,): rows of the places."""
    places: NDArray[np.int64]
    """(N,): the places in their rows."""
    owners: NDArray[np.int64]
    """(M,): after which of the N places each target comes; never falls."""
    targets: NDArray[np.int64]
    """(M,)."""
    requests: NDArray[np.int64]
    """(M,): to which request each target belongs."""


def make_batch(rows: Sequence[Row], lines: Sequence[Line]) -> Batch:
    """The arrays of some rows."""
    width = max(row.length for row in rows)
    tokens = np.zeros((len(rows), width), np.int64)
    lined = all(row.is_line for row in rows)
    positions = None if lined else np.tile(np.arange(width), (len(rows), 1))
    mask = None if lined else np.tile(np.tri(width, dtype=np.bool_), (len(rows), 1, 1, 1))
    nodes, targets, requests = [], [], []
    for number, row in enumerate(rows):
        tokens[number, : row.length] = np.concatenate(row.tokens)
        if positions is not None and mask is not None:
            # A row of several requests may be longer than the model: its own places would be no positions there.
            positions[number, row.length :] = 0
            if not row.is_line:
                _place(row, positions[number], mask[number, 0])
        for request, branch in zip(row.requests, row.branches, strict=True):
            wanted = lines[request].targets
            nodes.append(number * width + branch.path[len(branch.path) - len(wanted) :])
            targets.append(wanted)
            requests.append(np.full(len(wanted), request))
    node = np.concatenate(nodes)
    order = np.argsort(node, kind="stable")
    places, owners = np.unique(node[order], return_inverse=True)
    return Batch(
        tokens, positions, mask, places // width, places % width, owners,
        np.concatenate(targets)[order].astype(np.int64), np.concatenate(requests)[order],
    )  # fmt: skip


def _place(row: Row, positions: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
    """Write where the tokens of a tree stand and what they see; padding keeps seeing what is before it."""
    mask[: row.length] = False
    for branch in row.branches:
        new = branch.end - branch.start
        inside = slice(branch.start, branch.end)
        before = branch.path[: len(branch.path) - new]
        mask[inside, before] = True
        mask[inside, inside] = np.tri(new, dtype=np.bool_)
        positions[inside] = np.arange(len(before), len(branch.path))
