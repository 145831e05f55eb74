"""Bits per byte: how well a model compresses held-out text, whatever its tokenizer."""

from __future__ import annotations

import math
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
    inputs, targets = stream[:-1], stream[1:]
    whole = length // model.max_length * model.max_length
    batches = list(
        zip(
            inputs[:whole].view(-1, model.max_length).split(max(1, batch_tokens // model.max_length)),
            targets[:whole].view(-1, model.max_length).split(max(1, batch_tokens // model.max_length)),
            strict=True,
        )
    )
    if whole < length:
        batches.append((inputs[None, whole:], targets[None, whole:]))
    nats, tokens = 0.0, 0
    for window, wanted in batches:
        scored = wanted != end_of_text
        if not scored.any():
            continue
        rows, positions = (place.to(model.device) for place in scored.nonzero(as_tuple=True))
        log_probs = model.target_log_probs(
            window.to(model.device), rows, positions, wanted[scored].to(model.device)
        )
        nats -= log_probs.cpu().double().sum().item()
        tokens += len(rows)
    return BitsPerByte(nats / math.log(2) / size, nats, size, tokens)
