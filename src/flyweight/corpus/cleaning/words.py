"""Texts as hashes of their words, computed on bytes with numpy: no Python string is made for a word.

A word is a run of letters and digits, in lower case (`characters` says what that means beyond ASCII). The
same word has the same hash wherever it stands. Words of up to 8 bytes never collide: their hash is a
one-to-one function of their bytes. Longer ones are hashed 8 bytes at a time; two of them collide with a
probability of about 2^-64.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flyweight.corpus.cleaning.characters import ASCII_WORDS, classify

_WINDOW = 128 * 1024
"""Bytes that are worked on at a time: all arrays of a window stay in a processor's cache."""

_LONGEST_WORD = 1024 * 1024
"""A run without a separator is cut after about this many bytes, so that memory stays bounded."""

_PADDING = bytes(16)
"""Behind every window: reading 8 bytes at a time runs past its end."""

_VECTORISED = 64
"""Longer words, in bytes, are rare and hashed one by one."""

_BORDER = re.compile(rb"[\x00-/:-@\[-`{-\x7f\xe4-\xe9]")
"""A byte before which a word has certainly ended: an ASCII separator, or the first of a Chinese character."""

_CHARACTER = re.compile(rb"[^\x80-\xbf]")

# Odd constants for multiplying modulo 2^64: those of splitmix64 (Steele, Lea and Flood 2014), and the golden
# ratio for sequences of words.
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
SEQUENCE_FACTOR = np.uint64(0x9E3779B97F4A7C15)

_KEEP = np.array([(1 << 8 * count) - 1 for count in range(9)], dtype=np.uint64)
"""By number of bytes, a mask that keeps so many of 8."""

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WordHashes:
    """The words of a batch of documents."""

    hashes: Hashes
    """(words,): of all documents, one after the other."""
    starts: Places
    """(documents + 1,): document d has the words from starts[d] to before starts[d + 1]."""

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.starts) - 1


def hash_words(texts: Sequence[bytes]) -> WordHashes:
    """The hashes of all words of `texts`.

    Batches of about a megabyte are fastest; a longer document is worked on piece by piece.

    Args:
        texts: in UTF-8; bytes that are not UTF-8 give words of some kind, and no error.
    """
    joined = b"\n".join(texts)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) + 1 for text in texts], out=offsets[1:])
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    found: list[Hashes] = []
    words = document = 0
    for begin, end in _windows(joined):
        block, firsts, lengths = _spans(joined[begin:end])
        following = int(np.searchsorted(offsets, end))
        starts[document:following] = words + np.searchsorted(firsts, offsets[document:following] - begin)
        document = following
        found.append(_hash_spans(block, firsts, lengths))
        words += len(firsts)
    starts[document:] = words
    return WordHashes(np.concatenate(found) if found else np.zeros(0, dtype=np.uint64), starts)


def are_numbers(texts: Sequence[bytes]) -> npt.NDArray[np.bool_]:
    """Which words of `texts`, as `hash_words` gives them, have nothing but the digits 0 to 9."""
    joined = b"\n".join(texts)
    found = [np.zeros(0, dtype=np.bool_)]
    for begin, end in _windows(joined):
        block, firsts, _ = _spans(joined[begin:end])
        if len(firsts):
            # From a word to the next one there are its bytes and zeros; all letters are beyond the digits.
            found.append(np.maximum.reduceat(block, firsts) <= ord("9"))
    return np.concatenate(found)


def split_words(text: str, first: int = 0, count: int = sys.maxsize) -> list[str]:
    """The words of a text, in lower case, as `hash_words` sees them.

    Args:
        text: lone surrogates in it are taken for question marks.
        first: the number of the first word that is wanted.
        count: how many are wanted.
    """
    data = text.encode("utf-8", errors="replace")
    words: list[str] = []
    before = 0
    for begin, end in _windows(data):
        block, firsts, lengths = _spans(data[begin:end])
        chosen = slice(max(0, first - before), max(0, first + count - before))
        before += len(firsts)
        for at, length in zip(firsts[chosen].tolist(), lengths[chosen].tolist(), strict=True):
            words.append(block[at : at + length].tobytes().decode("utf-8", errors="replace"))
        if before >= first + count:
            break
    return words


def sequence_hashes(hashes: Hashes, length: int) -> Hashes:
    """The hash of every run of `length` words: sum over j of hashes[i + j] * F^(length - 1 - j) mod 2^64,
    where F is SEQUENCE_FACTOR.

    Runs that are twice as long are made of two, so that the work grows with the logarithm of the length.

    Args:
        hashes: (words,).
        length: words in a run, at least 1.

    Returns:
        (words - length + 1,), or empty when there are fewer words.
    """
    runs = max(0, len(hashes) - length + 1)
    if not runs:
        return np.zeros(0, dtype=np.uint64)
    total, covered = hashes, 1
    for bit in bin(length)[3:]:
        total = _append(total, covered, total, covered)
        covered *= 2
        if bit == "1":
            total = _append(total, covered, hashes, 1)
            covered += 1
    return total[:runs]


def runs_within(words: WordHashes, length: int) -> tuple[Places, Places]:
    """The first word of every run of `length` words that lies within one document, and the document."""
    counts = np.maximum(np.diff(words.starts) - (length - 1), 0)
    documents = np.repeat(np.arange(words.documents), counts)
    # Where a document's runs begin among all, less where they begin among those that are kept.
    shift = words.starts[:-1] - (np.cumsum(counts) - counts)
    return np.arange(len(documents)) + shift[documents], documents


def mix(values: Hashes) -> Hashes:
    """Scramble 64 bits, one to one, in place."""
    values *= _MIX_1
    values ^= values >> np.uint64(32)
    values *= _MIX_2
    values ^= values >> np.uint64(29)
    return values


def _append(left: Hashes, left_length: int, right: Hashes, right_length: int) -> Hashes:
    """Hashes of runs from those of their left parts and of the right parts that follow."""
    count = min(len(left), len(right) - left_length)
    joined = left[:count] * np.uint64(pow(int(SEQUENCE_FACTOR), right_length, 1 << 64))
    joined += right[left_length : left_length + count]
    return joined


def _windows(text: bytes) -> Iterator[tuple[int, int]]:
    """Cut `text` where no word is cut, into pieces of about _WINDOW bytes."""
    begin = 0
    while len(text) - begin > _WINDOW:
        target = begin + _WINDOW
        border = _BORDER.search(text, target, target + _LONGEST_WORD)
        if border is None:
            border = _CHARACTER.search(text, min(target + _LONGEST_WORD, len(text)))
        end = len(text) if border is None else border.start()
        yield begin, end
        begin = end
    if begin < len(text):
        yield begin, len(text)


def _spans(window: bytes) -> tuple[npt.NDArray[np.uint8], Places, Places]:
    """The window with separators as 0 and capitals as small letters, and its words' places and lengths."""
    block = np.frombuffer(bytearray(window + _PADDING).translate(ASCII_WORDS), dtype=np.uint8)
    cuts = None if window.isascii() else classify(block)
    inside = block != 0
    before = np.empty_like(inside)
    before[0] = False
    before[1:] = inside[:-1]
    if cuts is None:
        borders = np.flatnonzero(inside != before)
        firsts, ends = np.ascontiguousarray(borders[::2]), borders[1::2]
    else:
        firsts = np.flatnonzero(inside & (cuts | ~before))
        ends = np.flatnonzero(before & (cuts | ~inside))
    return block, firsts, ends - firsts


def _hash_spans(block: npt.NDArray[np.uint8], firsts: Places, lengths: Places) -> Hashes:
    """The hash of every word of a block."""
    eights: Hashes = np.ndarray((len(block) - 8,), dtype="<u8", buffer=block.data, strides=(1,))
    hashes = eights[firsts]
    hashes &= _KEEP.take(lengths, mode="clip")
    mix(hashes)
    longer = np.flatnonzero(lengths > 8)
    for done in range(8, _VECTORISED, 8):
        if not longer.size:
            return hashes
        more = eights[firsts[longer] + done]
        more &= _KEEP.take(lengths[longer] - done, mode="clip")
        more += hashes[longer]
        hashes[longer] = mix(more)
        longer = longer[lengths[longer] > done + 8]
    for word in longer.tolist():
        first = firsts[word]
        digest = hashlib.blake2b(block[first : first + lengths[word]].tobytes(), digest_size=8).digest()
        hashes[word] = int.from_bytes(digest, "little")
    return hashes
