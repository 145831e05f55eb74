"""Bits per byte: how well a model compresses held-out text, whatever its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from flyweight.base import UserError
from flyweight.corpus import HeldOut
from flyweight.evaluation.likelihood import BATCH_TOKENS
from flyweight.inference import LanguageModel


class BitsPerByte(NamedTuple):
    """A measurement of `bits_per_byte`."""

    bits_per_byte: float
    """`nats` / ln 2 / `bytes`."""
    nats: float
    """Negative log-likelihood of all scored tokens together."""
    bytes: int
    """UTF-8 bytes of the text."""
    tokens: int
    """Tokens scored: those of the text, without the end_of_text after each document."""

    @property
    def loss(self) -> float:
        """Nats per scored token."""
        return self.nats / self.tokens


def documents_within(held_out: HeldOut, max_tokens: int | None) -> int:
    """How many whole documents from the first on have at most `max_tokens` tokens; at least one."""
    if max_tokens is None:
        return len(held_out.document_tokens)
    total = np.cumsum(held_out.document_tokens, dtype=np.int64)
    return max(1, int(np.searchsorted(total, max_tokens, side="right")))


def bits_per_byte(
    model: LanguageModel,
    held_out: HeldOut,
    max_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> BitsPerByte:
    """Bits that `model` needs per byte of held-out text.

    The stream is end_of_text, then the documents with an end_of_text after each. It is cut into
    windows of `model.max_length` inputs without overlap (the last one shorter), and every token is
    predicted once, from what stands before it in its window. An end_of_text is context, never
    scored: it stands for no bytes.

    Args:
        model: predicts.
        held_out: documents of one source.
        max_tokens: whole documents up to this many tokens, at least one; None takes all.
        batch_tokens: positions in a forward pass; it does not change the result.

    Raises:
        UserError: no text in `held_out`.
    """
    documents = documents_within(held_out, max_tokens)
    size = int(np.sum(held_out.document_bytes[:documents], dtype=np.int64))
    if size == 0:
        raise UserError("the held-out split has no text, so bits per byte cannot be measured on it.")
    length = int(np.sum(held_out.document_tokens[:documents], dtype=np.int64))
    end_of_text = model.tokenizer.end_of_text
    text = np.asarray(held_out.tokens[:length]).astype(np.int64)
    stream = torch.from_numpy(np.concatenate([[end_of_text], text]))
    nats = float(stream_nats(model, stream, batch_tokens).sum())
    tokens = int((text != end_of_text).sum())
    return BitsPerByte(nats / math.log(2) / size, nats, size, tokens)


def stream_nats(
    model: LanguageModel,
    stream: torch.Tensor,
    batch_tokens: int,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """-ln p (T,) float64 of each token of `stream` (T + 1,) after the first, from its window; 0 for end_of_text."""
    end, length = model.tokenizer.end_of_text, len(stream) - 1
    nats = np.zeros(length)
    for start, stop, width in _windows(length, model.max_length, batch_tokens):
        inputs, targets = (stream[start + by : stop + by].view(-1, width) for by in (0, 1))
        scored = targets != end
        if scored.any():
            rows, positions = (place.to(model.device) for place in scored.nonzero(as_tuple=True))
            log_probs = model.target_log_probs(
                inputs.to(model.device), rows, positions, targets[scored].to(model.device)
            )
            nats[start:stop][scored.view(-1).numpy()] = -log_probs.cpu().double().numpy()
        if progress is not None:
            progress(stop / length)
    return nats


def _windows(length: int, width: int, batch_tokens: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, width) of batches of whole windows, and of the rest as a shorter window."""
    whole = length // width * width
    step = max(1, batch_tokens // width) * width
    for start in range(0, whole, step):
        yield start, min(start + step, whole), width
    if whole < length:
        yield whole, length, length - whole
