"""What a model has read is kept for the next text that begins the same, such as a conversation's next turn."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from flyweight.inference.language_model import LanguageModel


class PrefixCache:
    """One row of a model's cache, with the tokens that it holds; for one text at a time."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._cache: Any = None
        self._tokens: list[int] = []

    def begin(self, tokens: Sequence[int], room: int) -> int:
        """Get ready for a text that begins with `tokens`; returns how many of them need not be read again.

        The last one always has to be: it is what the first logits come from.

        Args:
            tokens: at least one.
            room: tokens that the text has at most.
        """
        pairs = zip(self._tokens, tokens[:-1], strict=False)
        known = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        if known and self._model.joins(self._cache):
            self._cache = self._cache.beginning(known, room)
            self._tokens = self._tokens[:known]
            return known
        self._cache = self._model.new_cache(1, room)
        self._tokens = []
        return 0

    def read(self, tokens: Sequence[int]) -> Tensor:
        """Logits (V,) in float32 after `tokens`, which go on from what was read."""
        before = self._tokens
        self._tokens = []  # a step that breaks off leaves a cache that holds nothing for sure
        new = torch.tensor([tokens], dtype=torch.int64, device=self._model.device)
        logits = self._model.next_logits(new, self._cache)[0]
        self._tokens = [*before, *tokens]
        return logits
