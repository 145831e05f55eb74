"""Where the tokens of a batch stand and what each of them sees, when that is not simply one after another.

Two things need it: continuations that share what stands before them, computed once in a row that is a tree, and
prompts of different lengths that are continued together, padded on the left.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Placement(NamedTuple):
    """Positions and view of T new tokens in each of B rows, of S tokens together with those in a cache."""

    positions: Tensor
    """(B, T) int64: how many tokens stand before each."""
    mask: Tensor
    """(B, 1, T, S) bool: True where a token (third) sees a token (fourth), itself among them."""

    def to(self, device: torch.device) -> Placement:
        """The same on `device`."""
        return Placement(self.positions.to(device), self.mask.to(device))


def padded_left(valid: Tensor, length: int) -> Placement:
    """The placement of the last `length` tokens of rows whose first tokens may be padding.

    Args:
        valid: (B, S) bool, False where a token is padding.
        length: how many tokens of each row are new.
    """
    total = valid.shape[1]
    positions = (valid.cumsum(dim=1) - 1).clamp_min(0)[:, total - length :]
    places = torch.arange(total, device=valid.device)
    queries = places[total - length :, None]
    # A padding token sees itself: a row that sees nothing would be a division of 0 by 0.
    mask = (places <= queries) & (valid[:, None, :] | (places == queries))
    return Placement(positions, mask[:, None])
