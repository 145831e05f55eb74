"""An answer while it is written: token by token, each with what it was chosen from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from flyweight.base import derive_seed
from flyweight.chat.prompt import Prompt
from flyweight.chat.settings import Settings
from flyweight.chat.token_labels import TokenLabel, TokenLabels
from flyweight.inference import LanguageModel, PrefixCache, Step, TextStream, generate_steps

ALTERNATIVES = 10
"""The likeliest tokens that are told of each step."""
_SMALLEST = 1e-45
"""Float32's smallest positive number: a token that was drawn was not impossible."""


@dataclass(frozen=True)
class Candidate:
    """A token that a step could have taken."""

    token: int
    label: TokenLabel
    probability: float
    """The model's own."""
    sampled: float
    """What the sampling settings made of it."""


@dataclass(frozen=True)
class Token:
    """One step of an answer."""

    piece: str
    """What it adds to the answer's text: nothing while a character is not whole, or where it ends the answer."""
    chosen: Candidate
    rank: int
    """1 for the model's likeliest token."""
    ends: bool
    alternatives: tuple[Candidate, ...]
    """The likeliest tokens by the model's own probability, falling."""


@dataclass(frozen=True)
class Ending:
    """How an answer ended, and what it came to."""

    reason: Literal["model", "length", "context", "stopped"]
    """The model ended it; max_new_tokens; the context is full; somebody stopped it."""
    piece: str
    """Text that was held back: bytes that never became a character."""
    tokens: int
    """The one that ended it included."""
    bits: float
    """The surprise of all of them: minus the sum of log2 of the model's own probabilities."""
    seconds: float

    @property
    def bits_per_token(self) -> float:
        """The mean surprise; 0 where nothing was written."""
        return self.bits / self.tokens if self.tokens else 0.0


def answer_seed(seed: int, attempt: int) -> int:
    """Another for each attempt at the same answer; the first is the user's own, as in `generate`."""
    return seed if attempt == 0 else derive_seed(seed, "attempt", attempt)


def write_answer(
    model: LanguageModel,
    labels: TokenLabels,
    prompt: Prompt,
    settings: Settings,
    *,
    attempt: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    cache: PrefixCache | None = None,
) -> Iterator[Token | Ending]:
    """What `model` writes after `prompt`, its last item an `Ending`.

    Args:
        model: what writes.
        labels: of its tokenizer.
        prompt: from `chat_prompt` or `text_prompt`.
        settings: how.
        attempt: at the same answer; each is another one.
        stopped: asked before each token; the answer ends where it says so.
        cache: of the model, so that what it has read before is not read again.

    Raises:
        UserError: the model computes NaN.
    """
    stream, bits, count, start = TextStream(model.tokenizer, prompt.continued), 0.0, 0, time.monotonic()
    reason: Literal["model", "length", "context", "stopped"]
    reason = "length" if prompt.new_tokens == settings.max_new_tokens else "context"
    stops = set() if prompt.end_of_turn is None else {prompt.end_of_turn}
    steps = generate_steps(
        model,
        prompt.tokens,
        prompt.new_tokens,
        settings.sampling,
        answer_seed(settings.seed, attempt),
        stops,
        cache,
    )
    while True:
        if stopped():
            reason = "stopped"
            break
        step = next(steps, None)
        if step is None:
            break
        token = _token(step, labels, "" if step.ends else stream.push(step.token))
        count += 1
        bits -= math.log2(max(token.chosen.probability, _SMALLEST))
        yield token
        if step.ends:
            reason = "model"
            break
    yield Ending(reason, stream.rest(), count, bits, time.monotonic() - start)


def _token(step: Step, labels: TokenLabels, piece: str) -> Token:
    own = float(step.model[step.token])
    likeliest = step.model.topk(min(ALTERNATIVES, len(step.model)))
    alternatives = tuple(
        Candidate(token, labels.of(token), probability, sampled)
        for token, probability, sampled in zip(
            likeliest.indices.tolist(),
            likeliest.values.tolist(),
            step.drawn_from[likeliest.indices].tolist(),
            strict=True,
        )
    )
    chosen = Candidate(step.token, labels.of(step.token), own, float(step.drawn_from[step.token]))
    return Token(piece, chosen, 1 + int((step.model > own).sum()), step.ends, alternatives)
