"""A SentencePiece .model file, read without the library: it is a Protocol Buffers message.

The fields are those of sentencepiece_model.proto: ModelProto.pieces (1), trainer_spec (2) and
normalizer_spec (3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces."""

UNIGRAM, BPE = 1, 2
"""Types of models."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class NotASentencePieceModel(ValueError):
    """The bytes are no SentencePiece model."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An entry of the vocabulary; `score` is a log-probability, or in a BPE the order of the merges."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class SentencePieceModel:
    """What a .model file says about how it cuts text."""

    pieces: tuple[Piece, ...]
    type: int
    byte_fallback: bool
    normalizer: str
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    escape_whitespaces: bool
    treat_whitespace_as_suffix: bool


def parse_model(data: bytes) -> SentencePieceModel:
    """Read the bytes of a .model file.

    Raises:
        NotASentencePieceModel: they are something else.
    """
    try:
        return _parse_model(data)
    except (IndexError, KeyError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise NotASentencePieceModel("not a SentencePiece model") from error


def _parse_model(data: bytes) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(dict(_fields(_message(value)))))
        elif number in (2, 3):
            (trainer if number == 2 else normalizer).update(_fields(_message(value)))
    if not pieces:
        raise NotASentencePieceModel("no pieces")
    return SentencePieceModel(
        pieces=tuple(pieces),
        type=int(trainer.get(3, UNIGRAM)),
        byte_fallback=bool(trainer.get(35, 0)),
        normalizer=_message(normalizer.get(1, b"")).decode("utf-8"),
        charsmap=_message(normalizer.get(2, b"")),
        add_dummy_prefix=bool(normalizer.get(3, 1)),
        remove_extra_whitespaces=bool(normalizer.get(4, 1)),
        escape_whitespaces=bool(normalizer.get(5, 1)),
        treat_whitespace_as_suffix=bool(trainer.get(24, 0)),
    )


def _piece(fields: dict[int, int | bytes]) -> Piece:
    score = struct.unpack("<f", _message(fields.get(2, bytes(4))))[0]
    return Piece(_message(fields[1]).decode("utf-8"), score, int(fields.get(3, NORMAL)))


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise NotASentencePieceModel("a number where bytes belong")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: integers as int, everything else as its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise NotASentencePieceModel(f"wire type {kind}")
        if at + size > len(data):
            raise NotASentencePieceModel("ends early")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise NotASentencePieceModel("a number too long")
