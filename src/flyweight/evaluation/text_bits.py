"""Bits per byte of any text, for any model, document by document."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from flyweight.base import UserError
from flyweight.evaluation.bits import BitsPerByte, stream_nats
from flyweight.evaluation.compressor import compressor_bits_per_byte
from flyweight.evaluation.likelihood import BATCH_TOKENS
from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.texts import Texts, read_texts
from flyweight.inference import LanguageModel
from flyweight.inference.language_model import BROKEN


class DocumentBits(NamedTuple):
    """What one document takes."""

    name: str
    """Its place: file and line."""
    nats: float
    """Negative log-likelihood of its tokens."""
    bytes: int
    """Of its text in UTF-8."""
    tokens: int
    """That were scored."""

    @property
    def bits_per_byte(self) -> float:
        """`nats` / ln 2 / `bytes`."""
        return self.nats / math.log(2) / self.bytes


@dataclass(frozen=True)
class TextBits:
    """Bits per byte of a text."""

    documents: tuple[DocumentBits, ...]
    window: int
    """Tokens of a window: the model's context."""
    files: tuple[str, ...] = ()
    skipped: str = ""
    """What could not be used, in one line."""
    fingerprint: str = ""
    """A hash of the documents' text."""
    compressors: dict[str, float] = field(default_factory=dict)
    """Bits per byte of general compressors on the same text, where they were asked for."""

    @property
    def total(self) -> BitsPerByte:
        """All documents together."""
        nats = math.fsum(one.nats for one in self.documents)
        size = sum(one.bytes for one in self.documents)
        return BitsPerByte(nats / math.log(2) / size, nats, size, sum(one.tokens for one in self.documents))

    @property
    def stderr(self) -> float | None:
        """Standard error of the total over documents, as of a ratio of sums; None with one document."""
        count = len(self.documents)
        if count < 2:
            return None
        sizes = np.array([one.bytes for one in self.documents], np.float64)
        excess = np.array([one.bits_per_byte for one in self.documents]) - self.total.bits_per_byte
        return float(np.sqrt(count / (count - 1) * np.square(excess * sizes).sum()) / sizes.sum())

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON: the total, and every document."""
        return {
            **self.total._asdict(),
            "stderr": self.stderr,
            "window": self.window,
            "files": list(self.files),
            "skipped": self.skipped,
            "fingerprint": self.fingerprint,
            "compressors": self.compressors,
            "documents": [{**one._asdict(), "bits_per_byte": one.bits_per_byte} for one in self.documents],
        }

    def to_result(self) -> TaskResult:
        """As a task's result; the value is the mean over documents that the column `weight` (bytes) weighs."""
        total = self.total
        return TaskResult(
            metrics={"bits_per_byte": Metric(total.bits_per_byte, self.stderr, len(self.documents))},
            items={
                "id": [one.name for one in self.documents],
                "weight": [one.bytes for one in self.documents],
                "tokens": [one.tokens for one in self.documents],
                "bits_per_byte": [one.bits_per_byte for one in self.documents],
            },
            data={"source": ", ".join(self.files), "fingerprint": self.fingerprint},
            details={
                "bytes": total.bytes,
                "tokens": total.tokens,
                "nats_per_token": total.loss,
                "bytes_per_token": total.bytes / total.tokens,
                "window": self.window,
                "compressors": self.compressors,
                "skipped": self.skipped,
            },
        )


def text_bits(
    model: LanguageModel,
    paths: Sequence[str | Path],
    *,
    text_field: str = "text",
    max_bytes: int | None = None,
    compressors: bool = False,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[float], None] | None = None,
) -> TextBits:
    """Bits per byte of the documents in files and folders, by the rule of `bits.bits_per_byte`.

    Args:
        model: predicts.
        paths, text_field, max_bytes: what `read_texts` reads.
        compressors: measure general compressors on the same text too.
        batch_tokens: positions in a forward pass; it does not change the result.
        progress: called with the share of the tokens that is done.

    Raises:
        UserError: no text there.
    """
    texts = read_texts(paths, text_field=text_field, max_bytes=max_bytes)
    return measure_texts(model, texts, compressors=compressors, batch_tokens=batch_tokens, progress=progress)


def measure_texts(
    model: LanguageModel,
    texts: Texts,
    *,
    compressors: bool = False,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[float], None] | None = None,
) -> TextBits:
    """The same of texts that were read; arguments as there.

    Raises:
        UserError: what the model computes is no number.
    """
    end = model.tokenizer.end_of_text
    encoded = model.tokenizer.encode_batch([document.text for document in texts.documents])
    stream = np.array([end, *(token for tokens in encoded for token in (*tokens, end))], np.int64)
    nats = stream_nats(model, torch.from_numpy(stream), batch_tokens, progress)
    if not np.isfinite(nats).all():
        raise UserError(BROKEN.format(model.name))
    scored = stream[1:] != end
    starts = np.cumsum([0, *(len(tokens) + 1 for tokens in encoded[:-1])])
    by_document = np.add.reduceat(nats, starts), np.add.reduceat(scored, starts)
    raw = [document.text.encode() for document in texts.documents]
    measured = tuple(
        DocumentBits(document.name, float(loss), len(data), int(tokens))
        for document, data, loss, tokens in zip(texts.documents, raw, *by_document, strict=True)
    )
    digest = hashlib.sha256()
    for data in raw:
        digest.update(len(data).to_bytes(8, "little") + data)
    yardsticks = (
        compressor_bits_per_byte([document.text for document in texts.documents]) if compressors else {}
    )
    return TextBits(
        measured, model.max_length, texts.files, texts.skipped, digest.hexdigest()[:32], yardsticks
    )
