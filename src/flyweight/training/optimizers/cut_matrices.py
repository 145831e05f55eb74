"""Matrices whose rows lie on several ranks, brought together and sent back, each to one rank.

Muon needs whole matrices. Of as many as there are ranks each is put together on one of them, so that every
matrix is computed once, all ranks compute at the same time, and no rank ever holds more than its own share.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from flyweight.training.parallel.tensors import rows_of


def held_rows(count: int, parts: Sequence[int], world_size: int) -> list[tuple[int, ...]]:
    """Of each part of a matrix of `count` rows, cut over ranks: how many of the part's rows each rank holds."""
    owned = [rows_of(count, rank, world_size) for rank in range(world_size)]
    result, begin = [], 0
    for part in parts:
        stop = begin + part
        result.append(tuple(max(0, min(end, stop) - max(first, begin)) for first, end in owned))
        begin = stop
    return result


class Exchange:
    """The way of matrices of one shape to their owners and back: matrix i belongs to rank i % W.

    Args:
        held: of each matrix, its rows on each rank.
        columns: C of all of them.
        group: the ranks.
    """

    def __init__(self, held: Sequence[tuple[int, ...]], columns: int, group: dist.ProcessGroup):
        self._group, self._columns = group, columns
        rank, world_size = dist.get_rank(group), dist.get_world_size(group)
        self._owned_by = [range(owner, len(held), world_size) for owner in range(world_size)]
        self._mine = self._owned_by[rank]
        # Rows that go from here to each owner, and those that come here from each rank, matrix by matrix.
        self._out = [[held[matrix][rank] for matrix in matrices] for matrices in self._owned_by]
        self._in = [[held[matrix][other] for matrix in self._mine] for other in range(world_size)]

    def to_owners(self, pieces: Sequence[Tensor]) -> Tensor:
        """Of each matrix this rank's rows go out; the whole matrices (N, R, C) of this rank come back."""
        sent = torch.cat([pieces[matrix] for matrices in self._owned_by for matrix in matrices])
        parts = self._swap(sent, self._out, self._in)
        if not self._mine:
            return sent.new_empty(0, 0, self._columns)
        return torch.stack([torch.cat(rows) for rows in zip(*parts, strict=True)])

    def from_owners(self, matrices: Tensor) -> list[Tensor]:
        """This rank's whole matrices (N, R, C) go out; of every matrix its own rows come back."""
        split = [matrix.split(rows) for matrix, rows in zip(matrices, self._in_by_matrix(), strict=True)]
        sent = [piece for pieces in zip(*split, strict=True) for piece in pieces]
        parts = self._swap(
            torch.cat(sent) if sent else matrices.new_empty(0, self._columns), self._in, self._out
        )
        result: dict[int, Tensor] = {}
        for numbers, pieces in zip(self._owned_by, parts, strict=True):
            result |= dict(zip(numbers, pieces, strict=True))
        return [result[matrix] for matrix in range(len(result))]

    def _in_by_matrix(self) -> list[tuple[int, ...]]:
        return list(zip(*self._in, strict=True))

    def _swap(self, sent: Tensor, out: list[list[int]], into: list[list[int]]) -> list[tuple[Tensor, ...]]:
        """Send rows to each rank as `out` says; those that come, by rank and matrix, as `into` says."""
        received = sent.new_empty(sum(map(sum, into)), self._columns)
        dist.all_to_all_single(
            received, sent, [sum(rows) for rows in into], [sum(rows) for rows in out], group=self._group
        )
        by_rank = received.split([sum(rows) for rows in into])
        return [part.split(rows) for part, rows in zip(by_rank, into, strict=True)]
