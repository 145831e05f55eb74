"""General compressors on the same text: a yardstick for bits per byte."""

from __future__ import annotations

import lzma

import numpy as np
import zstandard

from flyweight.base import UserError
from flyweight.corpus import HeldOut, TextTokenizer
from flyweight.evaluation.bits import documents_within


def held_out_text(held_out: HeldOut, tokenizer: TextTokenizer, max_tokens: int | None = None) -> list[str]:
    """The documents that `bits_per_byte` measures under the same `max_tokens`, as text."""
    documents = documents_within(held_out, max_tokens)
    ends = np.cumsum(held_out.document_tokens[:documents], dtype=np.int64)
    starts = ends - held_out.document_tokens[:documents]
    # The last token of a document is its end_of_text.
    return [
        tokenizer.decode(np.asarray(held_out.tokens[start : end - 1]).tolist())
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def compressor_bits_per_byte(documents: list[str]) -> dict[str, float]:
    """Bits per byte of `zstd -19` and of `lzma` (preset 9) on the documents, one after another in one stream.

    Compressors improve: the library of `zstandard` (1.5.7 and later) packs regular text up to a fifth
    tighter than the zstd 1.5.4 that many systems have.

    They start knowing nothing and learn from the text itself as it goes by; a model comes with what
    it learned in training. So they are a yardstick, not a rival on equal terms.

    Raises:
        UserError: no text in `documents`.
    """
    text = "".join(documents).encode()
    if not text:
        raise UserError("there is no text to compress in the held-out split.")
    compressed = {
        "zstd-19": zstandard.ZstdCompressor(level=19).compress(text),
        "lzma": lzma.compress(text, preset=9),
    }
    return {name: 8 * len(data) / len(text) for name, data in compressed.items()}
