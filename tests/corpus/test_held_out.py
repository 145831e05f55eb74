from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.documents import Document
from flyweight.corpus.held_out import SplitSurvey, is_held_out, share_threshold, split_hash


def threshold_of(documents: list[Document], share: float, seed: int = 0) -> int:
    found = SplitSurvey(seed, share)
    for document in documents:
        found.add(document)
    return found.threshold("books", "")


def numbered(count: int) -> list[Document]:
    return [Document(f"text {n}", f"key {n}") for n in range(count)]


def test_the_share_is_realised_and_another_seed_holds_out_others() -> None:
    documents = numbered(20_000)
    sides = [
        {document.key for document in documents if is_held_out(document, seed, share_threshold(0.05))}
        for seed in (1, 2)
    ]
    assert len(sides[0]) == pytest.approx(1000, abs=120)
    assert len(sides[0] & sides[1]) == pytest.approx(50, abs=40)


@given(
    keys=st.lists(st.integers(0, 30), min_size=10, max_size=80),
    share=st.floats(0.0001, 0.5),
    seed=st.integers(0, 100),
)
def test_the_split_never_parts_a_key_and_keeps_both_sides(keys: list[int], share: float, seed: int) -> None:
    documents = [Document(str(n), str(key)) for n, key in enumerate(keys)]
    try:
        threshold = threshold_of(documents, share, seed)
    except UserError:
        # Only when no choice of whole keys of smallest hash leaves both sides filled.
        order = sorted(set(keys), key=lambda key: split_hash(seed, str(key)))
        first = [keys.count(key) for key in order[:2]]
        above_share = sum(split_hash(seed, str(key)) >= share_threshold(share) for key in keys)
        assert above_share == 0 or len(keys) - (first[0] if first[0] >= 2 else sum(first)) < 1
        return
    held_out = {document.key for document in documents if is_held_out(document, seed, threshold)}
    count = sum(document.key in held_out for document in documents)
    assert 2 <= count < len(documents)
    at_share = [key for key in keys if split_hash(seed, str(key)) < share_threshold(share)]
    if len(at_share) >= 2:
        assert threshold == share_threshold(share)


def test_memory_does_not_grow_with_the_source() -> None:
    found = SplitSurvey(0, 1e-9)
    for document in numbered(5000):
        found.add(document)
    assert len(found._smallest) == 2
    threshold = found.threshold("books", "")
    assert sum(is_held_out(document, 0, threshold) for document in numbered(5000)) == 2


@pytest.mark.parametrize("documents", [numbered(9), [Document("same", "same")] * 50, []])
def test_too_little_text_says_what_was_found_and_needed(documents: list[Document]) -> None:
    with pytest.raises(UserError, match=rf"source 'books': too little text .* found {len(documents)} usable"):
        threshold_of(documents, 0.01)


def test_a_side_that_the_source_chose_is_kept() -> None:
    assert is_held_out(Document("x", "x", held_out=True), 0, 0)
    assert not is_held_out(Document("x", "x", held_out=False), 0, 1 << 64)
