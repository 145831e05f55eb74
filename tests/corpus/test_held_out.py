from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.held_out import share_threshold, split_hash, split_threshold

LARGEST = (1 << 64) - 1


def hashes_of(keys, seed: int = 0) -> np.ndarray:
    return np.array([split_hash(seed, str(key)) for key in keys], np.uint64)


def threshold_of(hashes: np.ndarray, share: float, pieces: int = 1) -> int:
    return split_threshold(np.array_split(hashes, pieces), share, "books", "")


def test_the_share_is_realised_and_another_seed_holds_out_others() -> None:
    sides = []
    for seed in (1, 2):
        hashes = hashes_of(range(20_000), seed)
        sides.append(set(np.flatnonzero(hashes < threshold_of(hashes, 0.05)).tolist()))
    assert len(sides[0]) == pytest.approx(1000, abs=120)
    assert len(sides[0] & sides[1]) == pytest.approx(50, abs=40)


@given(
    keys=st.lists(st.integers(0, 30), min_size=10, max_size=80),
    share=st.floats(0.0001, 0.5),
    seed=st.integers(0, 100),
    pieces=st.integers(1, 5),
)
def test_the_split_never_parts_a_key_and_keeps_both_sides(
    keys: list[int], share: float, seed: int, pieces: int
) -> None:
    hashes = hashes_of(keys, seed)
    try:
        threshold = threshold_of(hashes, share, pieces)
    except UserError:
        # Only when no choice of whole keys of smallest hash leaves both sides filled.
        order = sorted(set(keys), key=lambda key: split_hash(seed, str(key)))
        first = [keys.count(key) for key in order[:2]]
        above_share = int((hashes >= share_threshold(share)).sum())
        assert above_share == 0 or len(keys) - (first[0] if first[0] >= 2 else sum(first)) < 1
        return
    assert 2 <= (hashes < threshold).sum() < len(keys)
    if (hashes < share_threshold(share)).sum() >= 2:
        assert threshold == share_threshold(share)
    assert threshold == threshold_of(hashes, share)


def test_a_tiny_share_still_holds_out_two_documents() -> None:
    hashes = hashes_of(range(5000))
    assert (hashes < threshold_of(hashes, 1e-9, pieces=7)).sum() == 2


@pytest.mark.parametrize("keys", [range(9), ["same"] * 50, []])
def test_too_little_text_says_what_was_found_and_needed(keys) -> None:
    with pytest.raises(UserError, match=rf"source 'books': too little text .* found {len(keys)} usable"):
        threshold_of(hashes_of(keys), 0.01)


def test_a_side_that_the_source_chose_is_kept() -> None:
    hashes = np.array([0] * 3 + [LARGEST] * 20, np.uint64)
    assert (hashes < threshold_of(hashes, 0.5)).tolist() == [True] * 3 + [False] * 20
