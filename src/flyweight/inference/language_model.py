"""What evaluation and generation ask of a model, and our own decoder as such a model.

Shapes: B (batch), T (sequence), S (all positions so far), D (hidden), V (vocabulary), N (places that are read
out), M (targets that are scored).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from flyweight.corpus import TextTokenizer
from flyweight.inference.caches import TokenCache
from flyweight.inference.chat_format import ChatFormat
from flyweight.inference.precision import Precision, autocast
from flyweight.model import Decoder, KVCache, Placement, padded_left

BROKEN = (
    "{}: what the model computes is not a number (NaN): its weights are damaged, or its training diverged; take an "
    "earlier checkpoint."
)
"""Said of a model by its name."""

READOUT_ELEMENTS = 2**24
"""Logits held at once while scoring (64 MiB in float32); places beyond are taken in turns."""


class Scored(NamedTuple):
    """What a model thinks of targets."""

    log_probs: Tensor
    """(M,) float32: the log-probability of each."""
    likeliest: Tensor
    """(M,) bool: whether it is the token that greedy decoding would take there."""


class LanguageModel(ABC):
    """A causal language model with its tokenizer.

    A subclass has to give `logits_at`; what else is here follows from it, slowly, and is what faster
    overrides are tested against.
    """

    takes_trees = False
    """Whether `logits_at` and `score` take rows that are trees (`Placement`)."""
    longest_row: int | None = None
    """Tokens that a row of several requests may have, at most; None where only positions count."""

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

    @property
    def chat(self) -> ChatFormat | None:
        """How the model was taught conversations, if it was."""
        return None

    @abstractmethod
    def logits_at(
        self, tokens: Tensor, rows: Tensor, positions: Tensor, placement: Placement | None = None
    ) -> Tensor:
        """Logits (N, V) in float32 after the tokens at `rows` (N,) and `positions` (N,) of `tokens` (B, T).

        Rows may be padded on the right with any token: causality keeps padding from changing anything
        before it. With a placement (only where `takes_trees`) a row's tokens stand and see as it says.
        """

    def score(
        self,
        tokens: Tensor,
        rows: Tensor,
        positions: Tensor,
        owners: Tensor,
        targets: Tensor,
        placement: Placement | None = None,
    ) -> Scored:
        """What the model thinks of `targets` (M,) as the tokens after the places at `rows`, `positions` (N,).

        `owners` (M,), which never falls, says for each target after which of the N places it comes: a place
        that several targets follow is read out once.
        """
        return score_logits(self.logits_at(tokens, rows, positions, placement), owners, targets)

    def target_log_probs(self, tokens: Tensor, rows: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """Log-probability (N,), float32, of `targets` (N,) as the tokens after `rows`, `positions`."""
        owners = torch.arange(len(targets), device=targets.device)
        return self.score(tokens, rows, positions, owners, targets).log_probs

    @property
    def fingerprint(self) -> str:
        """Tells models apart whatever they are called: a hash of the weights, where there are any."""
        return self.name

    def new_cache(self, batch_size: int, length: int) -> Any:
        """A cache for `next_logits` over at most `length` tokens of each of `batch_size` rows."""
        return TokenCache(torch.empty(batch_size, 0, dtype=torch.int64, device=self.device))

    def next_logits(self, tokens: Tensor, cache: Any, valid: Tensor | None = None) -> Tensor:
        """Logits (B, V) in float32 after `tokens` (B, T), which continue what `cache` has seen.

        The cache takes the tokens in. `valid` (B, S) bool is needed where rows are padded on the left: False for
        the padding.
        """
        cache.tokens = torch.cat([cache.tokens, tokens], dim=1)
        rows = torch.arange(len(tokens), device=self.device)
        total = cache.tokens.shape[1]
        if valid is None:
            return self.logits_at(cache.tokens, rows, torch.full_like(rows, total - 1))
        # Padding goes to the right, where it is harmless to every model.
        lengths = valid.sum(dim=1)
        places = (torch.arange(total, device=self.device) + (total - lengths)[:, None]) % total
        return self.logits_at(cache.tokens.gather(1, places), rows, lengths - 1)

    def joins(self, cache: Any) -> bool:
        """Whether `cache`, once it has seen some tokens, can be cut and joined (`caches.Cache`)."""
        return True


def score_logits(logits: Tensor, owners: Tensor, targets: Tensor) -> Scored:
    """The log-softmax in float32 of `logits` (N, V), and its largest, at `targets` (M,) after `owners` (M,)."""
    logits = logits.float()
    log_probs = logits[owners, targets] - logits.logsumexp(dim=1)[owners]
    return Scored(log_probs, logits.argmax(dim=1)[owners] == targets)


def score_in_parts(
    states: Tensor, readout: Callable[[Tensor], Tensor], owners: Tensor, targets: Tensor, at_once: int
) -> Scored:
    """`score_logits` of `readout(states)`, with the logits of at most `at_once` of the N states at a time."""
    starts = torch.arange(0, len(states) + at_once, at_once, device=owners.device)
    borders = torch.searchsorted(owners, starts).tolist()
    parts = []
    for number, part in enumerate(states.split(at_once)):
        mine = slice(borders[number], borders[number + 1])
        parts.append(score_logits(readout(part), owners[mine] - number * at_once, targets[mine]))
    return Scored(*(torch.cat(column) for column in zip(*parts, strict=True)))


def weights_fingerprint(module: nn.Module, about: str) -> str:
    """A hash of all parameters, by their names and bytes, and of what else decides the logits."""
    digest = hashlib.blake2b(about.encode(), digest_size=16)
    for name, parameter in sorted(module.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class DecoderModel(LanguageModel):
    """Our decoder as a language model.

    Uses `no_grad`, not `inference_mode`: training validates with the very modules that it trains,
    and a tensor that they keep must stay fit for a backward pass.
    """

    takes_trees = True

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: TextTokenizer,
        precision: Precision = "float32",
        *,
        max_length: int | None = None,
        name: str = "decoder",
        chat: ChatFormat | None = None,
    ) -> None:
        """Wrap `decoder`; `max_length` defaults to the configuration's max_position_embeddings."""
        device = next(decoder.parameters()).device
        length = max_length or decoder.config.max_position_embeddings
        super().__init__(name, tokenizer, length, device, precision=precision)
        self.decoder = decoder
        self._chat = chat

    @property
    def chat(self) -> ChatFormat | None:
        """See `LanguageModel`."""
        return self._chat

    @property
    def fingerprint(self) -> str:
        """See `LanguageModel`."""
        about = f"{self.decoder.config.model_dump_json()} {self.decoder.multipliers}"
        return weights_fingerprint(self.decoder, about)

    @torch.no_grad()
    def logits_at(
        self, tokens: Tensor, rows: Tensor, positions: Tensor, placement: Placement | None = None
    ) -> Tensor:
        """See `LanguageModel`; the readout runs at the asked places only."""
        with autocast(self.device, self.precision):
            hidden = self.decoder(tokens, placement=placement)[rows, positions]
            return self.decoder.logits(hidden).float()

    @torch.no_grad()
    def score(
        self,
        tokens: Tensor,
        rows: Tensor,
        positions: Tensor,
        owners: Tensor,
        targets: Tensor,
        placement: Placement | None = None,
    ) -> Scored:
        """See `LanguageModel`; never holds more than READOUT_ELEMENTS logits."""
        at_once = max(1, READOUT_ELEMENTS // self.decoder.config.vocab_size)
        with autocast(self.device, self.precision):
            hidden = self.decoder(tokens, placement=placement)[rows, positions]
            return score_in_parts(hidden, self.decoder.logits, owners, targets, at_once)

    def new_cache(self, batch_size: int, length: int) -> KVCache:
        """See `LanguageModel`; preallocated keys and values."""
        dtype = torch.bfloat16 if self.precision == "bfloat16" else next(self.decoder.parameters()).dtype
        return KVCache(self.decoder.config, batch_size, length, self.device, dtype)

    @torch.no_grad()
    def next_logits(self, tokens: Tensor, cache: KVCache, valid: Tensor | None = None) -> Tensor:
        """See `LanguageModel`."""
        placement = None if valid is None else padded_left(valid, tokens.shape[1])
        with autocast(self.device, self.precision):
            return self.decoder.logits(self.decoder(tokens, cache, placement=placement)[:, -1]).float()
