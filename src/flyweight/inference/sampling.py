"""From logits to the next token: pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flyweight.base import UserError

_SMALLEST_TEMPERATURE = torch.finfo(torch.float32).tiny
"""Below it nothing but the most likely token can be drawn, and float32 can no longer divide by it."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 1.0
    """Logits are divided by it; 0 takes the most likely token."""
    top_p: float = 1.0
    """Draw from the fewest most likely tokens that have this probability together (arXiv 1904.09751)."""
    top_k: int = 0
    """Draw from this many most likely tokens; 0: no limit."""
    repetition_penalty: float = 1.0
    """Logits of tokens already in the text are divided by it where positive and multiplied where
    negative (CTRL, arXiv 1909.05858, as transformers does it)."""
    no_repeat_ngram_size: int = 0
    """No run of so many tokens comes twice in the text; 0: no limit."""

    def __post_init__(self) -> None:
        for name, fine, expected in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 (no limit) or more"),
            # Beyond, dividing and multiplying leaves the range of float32.
            ("repetition_penalty", 0.01 <= self.repetition_penalty <= 100, "0.01 to 100 (1: none)"),
            ("no_repeat_ngram_size", self.no_repeat_ngram_size >= 0, "0 (no limit) or more"),
        ):
            if not fine:
                raise UserError(f"{name} is {getattr(self, name)}; expected {expected}.")


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """`logits` (V,) with those of the tokens in `seen` (N,) made less likely by `penalty`."""
    if penalty == 1.0:
        return logits
    values = logits[seen]
    return logits.index_put((seen,), torch.where(values > 0, values / penalty, values * penalty))


def without_repeats(logits: Tensor, seen: Tensor, size: int) -> Tensor:
    """`logits` (V,) with those at -inf that would end a run of `size` tokens which stands in `seen` (N,) already.

    Where that would be every token, none is ruled out.
    """
    if not 0 < size <= len(seen):
        return logits
    runs = seen.unfold(0, size, 1)
    begun = (runs[:, :-1] == seen[len(seen) - size + 1 :]).all(dim=1)
    left = logits.index_fill(0, runs[begun, -1], float("-inf"))
    return logits if left.isneginf().all() else left


def next_token_probabilities(logits: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """The distribution (V,) that the next token is drawn from.

    Args:
        logits: (V,) float32.
        seen: (N,) tokens of the text so far, for what is said of repetitions.
        sampling: penalty, repeated runs, then temperature, then top_k, then top_p, each on what the one before left.
    """
    logits = penalise(logits, seen, sampling.repetition_penalty)
    logits = without_repeats(logits, seen, sampling.no_repeat_ngram_size)
    if sampling.temperature < _SMALLEST_TEMPERATURE:
        return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
    # Subtracting the maximum first keeps a tiny temperature from overflowing.
    ordered, tokens = ((logits - logits.max()) / sampling.temperature).sort(descending=True, stable=True)
    if sampling.top_k:
        ordered[sampling.top_k :] = float("-inf")
    # In float32 what a large vocabulary adds up to is off by more than its tail; MPS has nothing finer.
    probabilities = (ordered if ordered.device.type == "mps" else ordered.double()).softmax(0)
    if sampling.top_p < 1:
        kept = probabilities.cumsum(0) - probabilities < sampling.top_p
        kept[0] = True  # nothing is before it, but a tiny top_p is 0 in float32
        probabilities = probabilities.where(kept, torch.zeros_like(probabilities))
    probabilities = (probabilities / probabilities.sum()).to(logits.dtype)
    return torch.zeros_like(logits).index_put((tokens,), probabilities)


def draw(probabilities: Tensor, generator: torch.Generator) -> int:
    """A token drawn from `probabilities` (V,); the draw is made on the CPU, whatever the device."""
    return int(torch.multinomial(probabilities.cpu().double(), 1, generator=generator))
