"""Which characters make words, told by their bytes in UTF-8.

* Letters, marks and numbers of every script make words, in lower case where that takes as many bytes.
* Everything else separates words: white space, punctuation (`_` and apostrophes, straight and curly, too),
  symbols, emoji, control characters.
* Chinese characters and kana are words of their own, since nothing separates words there. Other scripts
  without spaces, such as Thai, keep runs of letters as words.

Composed and decomposed forms of a letter (`é` and `e` + accent) are different words: nothing is normalised.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np
import numpy.typing as npt

CHARACTERS_VERSION = f"1, Unicode {unicodedata.unidata_version}"
"""Changes when the same text could give other words."""

_SEPARATES, _IN_WORD, _OWN_WORD = 0, 1, 2

_TABLED = 0x20000
"""Code points from here on are taken for Chinese characters: hardly anything else is there."""

_OWN_WORD_RANGES = (
    (0x3005, 0x3007),  # ideographic iteration mark, number zero
    (0x3021, 0x3029),  # Suzhou numerals
    (0x3041, 0x30FF),  # hiragana, katakana
    (0x3105, 0x312F),  # bopomofo
    (0x31F0, 0x31FF),  # small katakana
    (0x3400, 0x4DBF),  # extension A
    (0x4E00, 0x9FFF),  # unified ideographs
    (0xF900, 0xFAFF),  # compatibility ideographs
    (0xFF66, 0xFF9F),  # half-width katakana
)


def _ascii_table() -> bytes:
    """For `bytes.translate`: letters in lower case, digits, 0 for all else; bytes from 0x80 on stay."""
    table = bytearray(256)
    table[0x80:] = range(0x80, 0x100)
    for byte in range(0x80):
        if chr(byte).isalnum():
            table[byte] = ord(chr(byte).lower())
    return bytes(table)


ASCII_WORDS = _ascii_table()
"""Bytes to bytes: what is 0 afterwards separates words."""


@functools.cache
def _tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """The class and the lower-case form of every code point below _TABLED; the last entry is all others'."""
    classes = np.zeros(_TABLED + 1, dtype=np.uint8)
    lower = np.arange(_TABLED + 1, dtype=np.uint32)
    for point in range(0x80, _TABLED):
        if 0xD800 <= point < 0xE000:
            continue
        character = chr(point)
        if unicodedata.category(character)[0] not in "LMN":
            continue
        classes[point] = _IN_WORD
        small = character.lower()
        if len(small) == 1 and len(small.encode("utf-8")) == len(character.encode("utf-8")):
            lower[point] = ord(small)
    for first, last in _OWN_WORD_RANGES:
        own = classes[first : last + 1]
        own[own == _IN_WORD] = _OWN_WORD
    classes[_TABLED] = _OWN_WORD
    return classes, lower


def classify(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_] | None:
    """Give the characters beyond ASCII in `block` their class and lower case, in place.

    Args:
        block: bytes of UTF-8 after ASCII_WORDS, at least 4 zeros at its end; separators become 0.

    Returns:
        Where a word begins although the byte before belongs to one: before and after words of a single
        character. None when there are no such words.
    """
    leads = np.flatnonzero(block >= 0xC2)
    if not leads.size:
        return None
    classes, lower = _tables()
    cuts: npt.NDArray[np.bool_] | None = None
    lead_bytes = block[leads]
    for width, first, end in ((2, 0xC2, 0xE0), (3, 0xE0, 0xF0), (4, 0xF0, 0x100)):
        at = leads[(lead_bytes >= first) & (lead_bytes < end)]
        if not at.size:
            continue
        points = (block[at] & (0xFF >> (width + 1))).astype(np.uint32)
        for place in range(1, width):
            points = points << 6 | (block[at + place] & 0x3F)
        np.minimum(points, _TABLED, out=points)
        kinds = classes[points]
        separators = at[kinds == _SEPARATES]
        for place in range(width):
            block[separators + place] = 0
        small = lower[points]
        capitals = np.flatnonzero(small != points)
        if capitals.size:
            _write(block, at[capitals], small[capitals], width)
        own = at[kinds == _OWN_WORD]
        if own.size:
            cuts = np.zeros(len(block), dtype=np.bool_) if cuts is None else cuts
            cuts[own] = True
            cuts[own + width] = True
    return cuts


def _write(
    block: npt.NDArray[np.uint8], at: npt.NDArray[np.intp], points: npt.NDArray[np.uint32], width: int
) -> None:
    """Write code points of `width` bytes in UTF-8 over others of the same width."""
    for place in range(width - 1, 0, -1):
        block[at + place] = 0x80 | (points & 0x3F)
        points = points >> np.uint32(6)
    mark = (0xFF << (8 - width)) & 0xFF
    block[at] = mark | points
