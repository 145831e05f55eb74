"""SentencePiece models as tokenizer.json: the same pieces for the same text.

Where several cuts of a text have the same total score, to the precision of 32-bit floats, SentencePiece
takes the one that its rounding favours, and that depends on everything before it in the text; we add in
64 bits, word by word. So the two can differ there and only there: mostly in how a run of spaces is made up
of symbols for 2, 4 and 8 spaces. The character U+2581, which SentencePiece writes for a space, comes back
as a space, as it does there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer

from flyweight.corpus.tokenizers.sentencepiece_model import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    Piece,
    SentencePieceModel,
)

SPACE = "\u2581"

_SYMBOL_STEP = 0.1
"""SentencePiece (0.2.3, unigram_model.cc) scores a user-defined symbol of n bytes 0.1 n - 0.1; older
versions -0.1 whatever its length."""

_UNKNOWN_PENALTY = 10.0
"""An unknown character scores this much below the least piece."""

_NEVER = 1000.0
"""How many times worse than an unknown character a piece scores that text must never become."""


class NotConvertible(ValueError):
    """The reason why a SentencePiece model has no equal tokenizer.json, for people."""


def convert(model: SentencePieceModel) -> Tokenizer:
    """The tokenizer.json with the same ids.

    Raises:
        NotConvertible: the model loses text, or works in a way that tokenizer.json cannot express.
    """
    _check(model)
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(number, piece) for number, piece in _of(model, UNKNOWN, CONTROL)],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(model)},
        "pre_tokenizer": _word_split(model),
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": _decoders(model)},
        "model": _unigram(model) if model.type == UNIGRAM else _bpe(model),
    }
    return Tokenizer.from_str(json.dumps(content))


def _of(model: SentencePieceModel, *types: int) -> Iterable[tuple[int, Piece]]:
    return ((number, piece) for number, piece in enumerate(model.pieces) if piece.type in types)


def _check(model: SentencePieceModel) -> None:
    if model.type not in (UNIGRAM, BPE):
        raise NotConvertible("it is neither a Unigram nor a BPE model")
    if not model.byte_fallback or len(list(_of(model, BYTE))) != 256:
        raise NotConvertible("it has no byte fallback, so characters outside its vocabulary would be lost")
    if model.charsmap:
        raise NotConvertible(f"its normalizer {model.normalizer!r} changes text before cutting it")
    if model.remove_extra_whitespaces:
        raise NotConvertible("it removes repeated spaces")
    if not model.escape_whitespaces or model.treat_whitespace_as_suffix:
        raise NotConvertible("it does not mark a space at the beginning of a word")
    if model.type == BPE and any(True for _ in _of(model, USER_DEFINED)):
        raise NotConvertible("it is a BPE with user-defined symbols")
    # Text must not become these, see _unigram; that works where their characters are pieces themselves.
    singles = {piece.text for _, piece in _of(model, NORMAL, USER_DEFINED) if len(piece.text) == 1}
    if model.type == UNIGRAM:
        hidden = "".join(piece.text for _, piece in enumerate(model.pieces) if _is_hidden(piece))
        if missing := sorted(set(hidden) - singles):
            raise NotConvertible(
                f"the character {missing[0]!r} of its special tokens is not in its vocabulary"
            )


def _is_hidden(piece: Piece) -> bool:
    return piece.type not in (NORMAL, USER_DEFINED)


def _special(number: int, piece: Piece) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": piece.text, **plain, "special": True}


def _normalizers(model: SentencePieceModel) -> list[dict[str, Any]]:
    escape = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    return [{"type": "Prepend", "prepend": SPACE}, escape] if model.add_dummy_prefix else [escape]


def _decoders(model: SentencePieceModel) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if model.add_dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return steps


def _word_split(model: SentencePieceModel) -> dict[str, Any] | None:
    """Cut before each run of spaces, where no piece reaches across such a place: much faster, same ids."""
    across = re.compile(f"[^{SPACE}]{SPACE}")
    if any(across.search(piece.text) for _, piece in _of(model, NORMAL, USER_DEFINED)):
        return None
    pattern = {"Regex": f"{SPACE}*[^{SPACE}]+|{SPACE}+"}
    return {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}


def _unigram(model: SentencePieceModel) -> dict[str, Any]:
    """Pieces with scores. Ours to hide are control, byte and unused pieces: tokenizer.json finds any entry in text."""
    least = min(piece.score for _, piece in _of(model, NORMAL))
    never = _NEVER * (least - _UNKNOWN_PENALTY)

    def score(piece: Piece) -> float:
        if piece.type == USER_DEFINED:
            return _SYMBOL_STEP * len(piece.text.encode("utf-8")) - _SYMBOL_STEP
        return never if _is_hidden(piece) else piece.score

    unknown = next(number for number, _ in _of(model, UNKNOWN))
    vocabulary = [[piece.text, score(piece)] for piece in model.pieces]
    return {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": True}


def _bpe(model: SentencePieceModel) -> dict[str, Any]:
    """Every way to put a piece together is a merge, in the order of the pieces' scores."""
    scores = {piece.text: piece.score for _, piece in _of(model, NORMAL)}
    merges = [
        (-score, place, text[:place], text[place:])
        for text, score in scores.items()
        for place in range(1, len(text))
        if text[:place] in scores and text[place:] in scores
    ]
    merges.sort(key=lambda merge: merge[:2])
    unknown = next(piece.text for _, piece in _of(model, UNKNOWN))
    return {
        "type": "BPE",
        "unk_token": unknown,
        "fuse_unk": True,
        "byte_fallback": True,
        "vocab": {piece.text: number for number, piece in enumerate(model.pieces)},
        "merges": [[left, right] for _, _, left, right in merges],
    }
