from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flyweight.corpus.tokenizers import train, train_bpe, training
from flyweight.corpus.tokenizers.word_limit import limit_words
from flyweight.recipe import Tokenizer

BITS = 22


@given(texts=st.lists(st.text(max_size=60), max_size=6))
def test_below_the_limit_nothing_changes(texts: list[str]) -> None:
    assert list(limit_words(texts, 10_000, BITS)) == texts


def test_above_the_limit_known_words_stay_and_new_ones_go() -> None:
    texts = ["alpha beta, gamma", "beta newword alpha(gamma)", "alpha beta", "late, beta"]
    # alpha, beta, gamma, a space, a comma: five.
    limited = list(limit_words(texts, 5, BITS))
    assert limited == [texts[0], "beta \n alpha\ngamma\n", texts[2], "\n, beta"]


def test_the_number_of_distinct_words_is_bounded() -> None:
    texts = [" ".join(f"w{10 * n + k}" for k in range(10)) for n in range(5000)]
    kept = {word for text in limit_words(texts, 1000, BITS) for word in text.split()}
    assert 1000 <= len(kept) <= 1000 + 10 + 5000 * 10 * 1000 / 2**BITS * 3


def test_only_large_samples_are_limited(monkeypatch) -> None:
    called = []
    monkeypatch.setattr(training, "limit_words", lambda texts, most: called.append(most) or texts)
    texts = [f"the quick brown fox {n}" for n in range(50)]
    small, large = (Tokenizer(vocab_size=270, sample=size) for size in (500_000_000, 500_000_001))
    assert train(small, texts).fingerprint == train_bpe(texts, 270, "qwen2", small.end_of_text).fingerprint
    assert called == []
    train(large, texts)
    assert called == [1_000_000]
