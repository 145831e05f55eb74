"""What evaluation and generation ask of a model, and our own decoder as such a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from flyweight.corpus import TextTokenizer
from flyweight.inference.precision import Precision, autocast
from flyweight.model import Decoder, KVCache

READOUT_ELEMENTS = 2**24
"""Logits held at once while scoring (64 MiB in float32); rows beyond are taken in turns."""


class LanguageModel(ABC):
    """A causal language model with its tokenizer.

    A subclass has to give `logits_at`; what else is here follows from it, slowly, and is what faster
    overrides are tested against.
    """

    def __init__(
        self,
        name: str,
        tokenizer: TextTokenizer,
        max_length: int,
        device: torch.device,
        *,
        precision: Precision = "float32",
        prefix_token: int | None = None,
        stop_tokens: frozenset[int] | None = None,
    ) -> None:
        self.name = name
        """How results name this model."""
        self.tokenizer = tokenizer
        """Text to tokens and back."""
        self.max_length = max_length
        """The longest input, in tokens."""
        self.device = device
        """Where inputs have to be."""
        self.precision: Precision = precision
        """In which matrix products run."""
        self.prefix_token = tokenizer.end_of_text if prefix_token is None else prefix_token
        """What stands before the first token of a text: end_of_text, or a foreign model's BOS."""
        self.stop_tokens = frozenset({tokenizer.end_of_text}) if stop_tokens is None else stop_tokens
        """Tokens that end generated text."""

    @abstractmethod
    def logits_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Logits (N, V) in float32 after the tokens at `rows` (N,) and `positions` (N,) of `tokens` (B, T).

        Rows may be padded on the right with any token: causality keeps padding from changing anything
        before it.
        """

    def target_log_probs(self, tokens: Tensor, rows: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """Log-probability (N,), float32, of `targets` (N,) as the tokens after `rows`, `positions`."""
        return log_prob_of(self.logits_at(tokens, rows, positions), targets)

    def new_cache(self, batch_size: int, length: int) -> Any:
        """A cache for `next_logits` over at most `length` tokens of each of `batch_size` rows."""
        return [torch.empty(batch_size, 0, dtype=torch.int64, device=self.device)]

    def next_logits(self, tokens: Tensor, cache: Any) -> Tensor:
        """Logits (B, V) in float32 after `tokens` (B, T), which continue what `cache` has seen.

        The cache takes the tokens in.
        """
        cache[0] = torch.cat([cache[0], tokens], dim=1)
        rows = torch.arange(len(tokens), device=self.device)
        return self.logits_at(cache[0], rows, torch.full_like(rows, cache[0].shape[1] - 1))


def log_prob_of(logits: Tensor, targets: Tensor) -> Tensor:
    """The log-softmax of `logits` (N, V) at `targets` (N,), in float32."""
    logits = logits.float()
    return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)


class DecoderModel(LanguageModel):
    """Our decoder as a language model.

    Uses `no_grad`, not `inference_mode`: training validates with the very modules that it trains,
    and a tensor that they keep must stay fit for a backward pass.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: TextTokenizer,
        precision: Precision = "float32",
        *,
        max_length: int | None = None,
        name: str = "decoder",
    ) -> None:
        """Wrap `decoder`; `max_length` defaults to the configuration's max_position_embeddings."""
        device = next(decoder.parameters()).device
        length = max_length or decoder.config.max_position_embeddings
        super().__init__(name, tokenizer, length, device, precision=precision)
        self.decoder = decoder

    @torch.no_grad()
    def logits_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """See `LanguageModel`; the readout runs at the asked places only."""
        with autocast(self.device, self.precision):
            return self.decoder.logits(self.decoder(tokens)[rows, positions]).float()

    @torch.no_grad()
    def target_log_probs(self, tokens: Tensor, rows: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """See `LanguageModel`; never holds more than READOUT_ELEMENTS logits."""
        at_once = max(1, READOUT_ELEMENTS // self.decoder.config.vocab_size)
        with autocast(self.device, self.precision):
            hidden = self.decoder(tokens)[rows, positions]
            parts = [
                log_prob_of(self.decoder.logits(part), wanted)
                for part, wanted in zip(hidden.split(at_once), targets.split(at_once), strict=True)
            ]
        return torch.cat(parts)

    def new_cache(self, batch_size: int, length: int) -> KVCache:
        """See `LanguageModel`; preallocated keys and values."""
        dtype = torch.bfloat16 if self.precision == "bfloat16" else next(self.decoder.parameters()).dtype
        return KVCache(self.decoder.config, batch_size, length, self.device, dtype)

    @torch.no_grad()
    def next_logits(self, tokens: Tensor, cache: KVCache) -> Tensor:
        """See `LanguageModel`."""
        with autocast(self.device, self.precision):
            return self.decoder.logits(self.decoder(tokens, cache)[:, -1]).float()
