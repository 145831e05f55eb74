from __future__ import annotations

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flyweight.corpus.cleaning import words as module
from flyweight.corpus.cleaning.words import (
    SEQUENCE_FACTOR,
    are_numbers,
    hash_words,
    runs_within,
    sequence_hashes,
    split_words,
)

MIXED = st.text(
    st.one_of(
        st.sampled_from(
            list("aZ09 _'\n-éÉßẞİλΛЖж中文字。，、カなー々한국ไทย“”—…\u00a0\u200b\u00ad²½Ａ３😀𝐀𠀀\ufffd")
        ),
        st.characters(codec="utf-8"),
    ),
    max_size=60,
)


def is_own_word(character: str) -> bool:
    name = unicodedata.name(character, "")
    return name.startswith(
        ("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA")
    )


def plain_words(text: str) -> list[str]:
    """The same words, one character at a time, as the room's documentation describes them."""
    words, word = [], ""
    for character in text:
        small = character.lower()
        if len(small) != 1 or len(small.encode()) != len(character.encode()):
            small = character
        if is_own_word(character):
            words += [word, character]
            word = ""
        elif unicodedata.category(character)[0] in "LMN":
            word += small
        else:
            words.append(word)
            word = ""
    return [word for word in [*words, word] if word]


def told_by_name(text: str) -> bool:
    """Leave out what the plain version cannot name: a few marks of East Asia, and all beyond plane 1."""
    odd = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "HANGZHOU", "IDEOGRAPHIC", "VERTICAL", "HALFWIDTH")
    for character in text:
        if ord(character) >= 0x20000 or 0x3105 <= ord(character) <= 0x312F:
            return False
        if unicodedata.name(character, "").startswith(odd) and not (
            is_own_word(character) and unicodedata.category(character)[0] in "LMN"
        ):
            return False
    return True


@settings(deadline=None, max_examples=100)  # the tables of Unicode are made in the first example
@given(MIXED.filter(told_by_name))
@example("The cat's “naïve” ÉTUDE—_x1_ 中文，字 and\u00a0ΛΑΜΒΔΑ²")
def test_words_are_those_of_a_plain_reading(text: str) -> None:
    assert split_words(text) == plain_words(text)


def test_punctuation_of_every_kind_separates() -> None:
    assert split_words("don't don’t “do—not” a\u00a0b，c。d…e😀f") == [
        *("don", "t", "don", "t", "do", "not"),
        *("a", "b", "c", "d", "e", "f"),
    ]
    assert split_words("中文ab字、カナ々𠀀𠀁") == ["中", "文", "ab", "字", "カ", "ナ", "々", "𠀀", "𠀁"]
    assert split_words("ภาษาไทย 한국어 Straße ЖУК") == ["ภาษาไทย", "한국어", "straße", "жук"]


@settings(deadline=None, max_examples=50)
@given(st.lists(MIXED, max_size=6))
def test_a_word_has_the_same_hash_wherever_it_stands(texts: list[str]) -> None:
    words = hash_words([text.encode() for text in texts])
    assert words.documents == len(texts)
    assert words.starts[0] == 0
    assert words.starts[-1] == len(words.hashes)
    for number, text in enumerate(texts):
        own = words.hashes[words.starts[number] : words.starts[number + 1]]
        alone = [hash_words([word.encode()]).hashes for word in split_words(text)]
        assert all(len(of) == 1 for of in alone)
        assert own.tolist() == [int(of[0]) for of in alone]


@settings(deadline=None, max_examples=50)
@given(st.lists(MIXED, max_size=8), st.integers(1, 40))
def test_windows_change_nothing(texts: list[str], window: int) -> None:
    data = [text.encode() for text in texts]
    whole = hash_words(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        cut = hash_words(data)
        pieces = [split_words(text) for text in texts]
    assert cut.hashes.tolist() == whole.hashes.tolist()
    assert cut.starts.tolist() == whole.starts.tolist()
    assert pieces == [split_words(text) for text in texts]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_bytes_that_are_no_text_are_no_error(texts: list[bytes], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", window)
        patch.setattr(module, "_LONGEST_WORD", 2 * window)
        words = hash_words(texts)
    assert words.documents == len(texts)
    assert (np.diff(words.starts) >= 0).all()
    assert words.starts[-1] == len(words.hashes)


def test_a_run_without_end_is_cut_and_text_behind_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WINDOW", 100)
    monkeypatch.setattr(module, "_LONGEST_WORD", 1000)
    text = "é" * 5000 + " and then"
    assert split_words(text)[-2:] == ["and", "then"]
    assert "".join(split_words(text)[:-2]) == "é" * 5000
    assert hash_words([text.encode()]).hashes[-1] == hash_words([b"then"]).hashes[0]


def vocabulary() -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    short = [a + b + c for a in ["", *letters] for b in ["", *letters] for c in letters]
    numbers = [str(number) for number in range(1000, 100_000)]
    padded = [f"{number:012d}" for number in range(20_000)]
    runs = ["a" * length for length in range(1, 300)] + ["ab" * length for length in range(2, 150)]
    near_borders = [
        "x" * place + end + "x" * (length - place)
        for length in (7, 8, 9, 15, 16, 17, 63, 64, 65, 72, 73)
        for place in range(length)
        for end in "abé中"[:3]
    ]
    rng = random.Random(1)
    long_words = ["".join(rng.choices(letters, k=rng.randint(9, 80))) for _ in range(20_000)]
    return sorted({*short, *numbers, *padded, *runs, *near_borders, *long_words})


def test_different_words_have_different_hashes_that_look_random() -> None:
    words = vocabulary()
    hashes = hash_words([" ".join(words).encode()]).hashes
    assert len(hashes) == len(words)
    assert len(np.unique(hashes)) == len(words)
    # Each half alone is a 32-bit hash: pairs that agree in it are as many as by chance, Poisson.
    expected = len(words) ** 2 / 2**33
    for half in (hashes >> np.uint64(32), hashes & np.uint64(0xFFFFFFFF)):
        collisions = len(words) - len(np.unique(half))
        assert collisions < expected + 6 * expected**0.5 + 3
    bits = np.unpackbits(hashes.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 6 * 0.5 / len(words) ** 0.5


def test_order_zeros_and_nul_matter() -> None:
    hashes = hash_words(
        [b"ab ba 0 00 000 0000000000 00000000000 a\0b a\0 abcdefgh abcdefgha abcdefghab"]
    ).hashes
    # "a\0b" is the words a and b, so a occurs twice: once before b, once alone.
    assert len(hashes) == 13
    assert len(np.unique(hashes)) == 12
    ab, ba = hash_words([b"ab"]).hashes[0], hash_words([b"ba"]).hashes[0]
    assert ab != ba


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 20))
def test_hashes_of_sequences(values: list[int], length: int) -> None:
    expected = [
        sum(
            value * pow(int(SEQUENCE_FACTOR), length - 1 - place, 2**64)
            for place, value in enumerate(values[first : first + length])
        )
        % 2**64
        for first in range(len(values) - length + 1)
    ]
    assert sequence_hashes(np.array(values, dtype=np.uint64), length).tolist() == expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 5))
def test_runs_within_documents(lengths: list[int], length: int) -> None:
    words = hash_words([b"w " * count for count in lengths])
    first, documents = runs_within(words, length)
    expected = [
        (int(words.starts[document]) + place, document)
        for document, count in enumerate(lengths)
        for place in range(count - length + 1)
    ]
    assert list(zip(first.tolist(), documents.tolist(), strict=True)) == expected


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("a1 0b.é٣", max_size=20), max_size=5))
def test_numbers(texts: list[str]) -> None:
    expected = [set(word) <= set("0123456789") for text in texts for word in split_words(text)]
    assert are_numbers([text.encode() for text in texts]).tolist() == expected
