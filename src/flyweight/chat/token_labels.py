"""What a single token looks like: its text, or its bytes where they are no whole characters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from flyweight.corpus import TextTokenizer

_FALLBACK_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How SentencePiece models write a byte that is no character of their vocabulary."""


def byte_alphabet() -> dict[str, int]:
    """The character that byte-level tokenizers write for each byte, the way back.

    Bytes that are visible in Latin-1 stand for themselves; the others get the characters from U+0100 on, in order
    (GPT-2's vocabulary, and every byte-level one since).
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    return {chr(byte): byte for byte in visible} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }


_ALPHABET = byte_alphabet()


@dataclass(frozen=True)
class TokenLabel:
    """How a token is shown."""

    text: str
    """Its text; bytes as `E2 82` where it holds parts of characters."""
    kind: str
    """`text`, `bytes` or `special`."""


class TokenLabels:
    """Labels of a tokenizer's tokens."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = {tokenizer.backend.token_to_id(token) for token in tokenizer.special_tokens}
        # What decoders do to the first token of a text (such as taking its space) must not be done to a label.
        self._anchor = tokenizer.encode("a")[-1:]
        self._before = len(tokenizer.decode(self._anchor))
        self.of = lru_cache(maxsize=65536)(self._of)
        """The label of a token id."""

    def _of(self, token: int) -> TokenLabel:
        written = self._tokenizer.backend.id_to_token(token)
        if written is None:  # a gap in the vocabulary
            return TokenLabel(f"#{token}", "special")
        if token in self._special:
            return TokenLabel(written, "special")
        text = self._tokenizer.decode([*self._anchor, token])[self._before :]
        if "\ufffd" in text and (data := _bytes(written)) is not None:
            return TokenLabel(data.hex(" ").upper(), "bytes")
        return TokenLabel(text, "text")


def _bytes(written: str) -> bytes | None:
    """The bytes of a token from how the vocabulary writes it; None where it writes characters."""
    fallback = _FALLBACK_BYTE.fullmatch(written)
    if fallback:
        return bytes([int(fallback[1], 16)])
    if not all(character in _ALPHABET for character in written):
        return None
    return bytes(_ALPHABET[character] for character in written)
