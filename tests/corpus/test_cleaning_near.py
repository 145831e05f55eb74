from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.corpus.cleaning import near
from flyweight.corpus.cleaning.near import (
    BANDS,
    NO_KEY,
    ROWS,
    SHINGLE,
    band_keys,
    estimated_resemblance,
    signatures,
)
from flyweight.corpus.cleaning.words import WordHashes, hash_words, sequence_hashes


def keys_of(texts: list[str]) -> np.ndarray:
    return band_keys(hash_words([text.encode() for text in texts]))


def prose(rng: random.Random, words: int) -> list[str]:
    return [f"{rng.choice('bcdfgklmnprst')}{rng.randrange(3000)}" for _ in range(words)]


def share_a_key(first: np.ndarray, second: np.ndarray) -> bool:
    return bool((first == second).any())


def test_copies_with_one_word_in_200_changed_are_found_and_others_never() -> None:
    rng = random.Random(3)
    originals = [prose(rng, rng.randint(180, 900)) for _ in range(150)]
    copies = []
    for words in originals:
        copy = list(words)
        for place in range(rng.randrange(100), len(copy), 200):
            copy[place] = "changed"
        copies.append(copy)
    found = keys_of([" ".join(words) for words in originals + copies])
    hit = [share_a_key(found[number], found[number + 150]) for number in range(150)]
    assert sum(hit) == 150  # a resemblance of about 0.95: one in 10^7 escapes
    rows = {tuple(keys) for keys in found.tolist()}
    assert len(rows) >= 150
    for band in range(BANDS):
        owners: dict[int, set[int]] = {}
        for number, key in enumerate(found[:, band].tolist()):
            owners.setdefault(key, set()).add(number % 150)
        assert all(len(group) == 1 for group in owners.values())


def synthetic(
    rng: np.random.Generator, pairs: int, size: int, resemblance: float
) -> tuple[np.ndarray, float]:
    """Keys of pairs of documents whose sets of shingles have a known Jaccard similarity."""
    common = round(2 * size * resemblance / (1 + resemblance))
    documents = []
    for _ in range(pairs):
        shingles = rng.integers(0, 2**64, size=2 * size - common, dtype=np.uint64)
        documents += [shingles[:size], shingles[size - common :]]
    words = WordHashes(np.concatenate(documents), np.arange(0, 2 * pairs * size + 1, size))
    return words, common / (2 * size - common)


@pytest.mark.parametrize("size", [30, 400])
def test_the_share_found_follows_the_curve_of_the_paper(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """P(at least one key in common) = 1 - (1 - s^8)^14, and the estimated resemblance is s."""
    monkeypatch.setattr(near, "SHINGLE", 1)  # every word hash is a shingle: the sets are those that we make
    rng = np.random.default_rng(5)
    pairs = 800
    for wanted in (0.3, 0.6, 0.7, 0.8, 0.9):
        words, exact = synthetic(rng, pairs, size, wanted)
        keys = band_keys(words).reshape(pairs, 2, BANDS)
        share = (keys[:, 0] == keys[:, 1]).any(axis=1).mean()
        expected = 1 - (1 - exact**ROWS) ** BANDS
        assert abs(share - expected) < 4.5 * (expected * (1 - expected) / pairs) ** 0.5 + 1 / pairs
        rows = signatures(words).reshape(-1, pairs, 2)
        estimates = estimated_resemblance(rows[:, :, 0], rows[:, :, 1])
        error = (exact * (1 - exact) / (BANDS * ROWS)) ** 0.5
        assert abs(estimates.mean() - exact) < 4.5 * error / pairs**0.5
        # As scattered as independent orders would make them; dependent ones would scatter them more.
        assert 0.88 < estimates.std() / error < 1.12


def test_estimates_agree_with_the_exact_jaccard_similarity_of_texts() -> None:
    rng = random.Random(11)
    for changes in (1, 5, 20, 60):
        words = prose(rng, 1200)
        other = list(words)
        for place in rng.sample(range(len(other)), changes):
            other[place] = "other"
        sets = [
            {tuple(of[at : at + SHINGLE]) for at in range(len(of) - SHINGLE + 1)} for of in (words, other)
        ]
        exact = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        rows = signatures(hash_words([" ".join(of).encode() for of in (words, other)]))
        estimate = float(estimated_resemblance(rows[:, :1], rows[:, 1:])[0])
        assert abs(estimate - exact) < 4.5 * (exact * (1 - exact) / 112) ** 0.5


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.integers(0, 5), max_size=30), max_size=8), st.integers(1, 9))
def test_signatures_are_the_minima_over_all_shingles(documents: list[list[int]], block: int) -> None:
    """The same as one shingle at a time, however documents fall into blocks."""
    texts = [" ".join(f"w{word}" for word in words).encode() for words in documents]
    words = hash_words(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near, "_BLOCK", block)
        found = signatures(words)
        keys = band_keys(words)
    for number in range(len(texts)):
        own = words.hashes[words.starts[number] : words.starts[number + 1]]
        if not len(own):
            assert (found[:, number] == 0xFFFFFFFF).all()
            assert (keys[number] == NO_KEY).all()
            continue
        runs = sequence_hashes(own, min(SHINGLE, len(own)))
        expected = [
            min(int(run >> 32) * int(by) % 2**32 for run in runs.tolist()) for by in near._MULTIPLIERS
        ]
        assert found[:, number].tolist() == expected
        assert (keys[number] != NO_KEY).all()
        assert keys[number].tolist() == band_keys(hash_words([texts[number]]))[0].tolist()


def test_short_documents_meet_only_their_equals() -> None:
    found = keys_of(
        ["Hello, world!", "hello world", "world hello", "hello", "hello world again and", "", "...", "  "]
    )
    assert (found[0] == found[1]).all()
    assert not any(share_a_key(found[0], found[other]) for other in range(2, 8))
    assert (found[5:] == NO_KEY).all()
    assert (found[:5] != NO_KEY).all()


def test_keys_of_different_bands_and_documents_never_agree() -> None:
    rng = random.Random(2)
    found = keys_of([" ".join(prose(rng, 40)) for _ in range(2000)])
    assert len(np.unique(found)) == found.size


def test_keys_are_the_same_on_every_machine() -> None:
    """Shards that were made elsewhere are compared by these keys; a change of them needs a new version."""
    found = keys_of(["The quick brown fox jumps over the lazy dog, again and again."])
    assert found[0, :3].tolist() == [9533292047937692960, 17295984627453664674, 13347035953340871798]
