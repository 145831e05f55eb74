"""From sequences to tensors of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from flyweight.curriculum.order import Sequence
from flyweight.model.documents import Documents, find_documents


class Stream(Protocol):
    """A source's training tokens as a ring."""

    def read(self, start: int, length: int) -> np.ndarray:
        """`length` tokens from `start`, positions taken modulo the stream's length."""
        ...


class BorderedStream(Stream, Protocol):
    """One that also knows where its documents begin."""

    def borders(self, start: int, length: int) -> np.ndarray:
        """The places, from 0 and rising, of documents' first tokens among `length` tokens from `start`."""
        ...


class Batch(NamedTuple):
    """Sequences to train on, on the CPU."""

    tokens: Tensor
    """(B, T+1) int64: inputs are [:, :-1], targets [:, 1:]."""
    begins: Tensor | None = None
    """With document masking, (B, T+1) int32: the place in the sequence at which each token's document begins, 0
    where it began before."""

    @property
    def scored(self) -> int:
        """How many targets count: all, or those that are of the same document as the token before them.

        So a document's first token is no target, unless the sequence begins within its document; the end_of_text that
        ends a document is one.
        """
        targets = self.tokens[:, 1:].numel()
        if self.begins is None:
            return targets
        places = torch.arange(self.begins.shape[1], dtype=torch.int32)
        return targets - int((self.begins == places)[:, 1:].sum())

    def split(self, sequences: int) -> list[Batch]:
        """Batches of at most `sequences` of these sequences, in order."""
        tokens = self.tokens.split(sequences)
        if self.begins is None:
            return [Batch(part) for part in tokens]
        return [Batch(*parts) for parts in zip(tokens, self.begins.split(sequences), strict=True)]

    def pinned(self) -> Batch:
        """The same with its tokens in page-locked memory, from which a GPU is filled without waiting."""
        return self._replace(tokens=self.tokens.pin_memory())  # `begins` itself goes to no device

    def documents(self, device: torch.device) -> Documents | None:
        """Where the documents are, on `device`; None where they are not kept apart."""
        if self.begins is None:
            return None
        found = find_documents(self.begins)
        if device.type == "cuda":  # from other memory a copy waits until the GPU has done what came before it
            found = Documents(*(tensor.pin_memory() for tensor in found))
        return found.to(device)


def read_batch(
    sequences: ListOf[Sequence], streams: Mapping[str, BorderedStream], *, documents: bool = False
) -> Batch:
    """The tokens of sequences of one length, and, where asked for, their documents' borders."""
    rows = [streams[item.source].read(item.start, item.length + 1) for item in sequences]
    tokens = torch.from_numpy(np.stack(rows).astype(np.int64, copy=False))
    if not documents:
        return Batch(tokens)
    places = [streams[item.source].borders(item.start, item.length + 1) for item in sequences]
    return Batch(tokens, begins_of(places, tokens.shape[1]))


def trial_batch(tokens: Tensor, documents: bool) -> Batch:
    """Tokens (B, T+1) in place of sequences that are read; with documents, as if each held two of equal length."""
    length = tokens.shape[1]
    return Batch(tokens, begins_of([np.array([length // 2])] * len(tokens), length) if documents else None)


def begins_of(borders: ListOf[np.ndarray], length: int) -> Tensor:
    """(B, length) int32: where each token's document begins, 0 for the first.

    Args:
        borders: for every sequence, the places at which documents begin.
        length: of the sequences.
    """
    begins = np.zeros((len(borders), length), np.int32)
    for row, places in zip(begins, borders, strict=True):
        row[places] = places
    return torch.from_numpy(np.maximum.accumulate(begins, axis=1))
