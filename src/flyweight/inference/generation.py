"""Text from a model, token by token."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flyweight.base import UserError, derive_seed
from flyweight.corpus import TextTokenizer
from flyweight.inference.language_model import BROKEN, LanguageModel
from flyweight.inference.prefix_cache import PrefixCache
from flyweight.inference.sampling import Sampling, draw, next_token_probabilities


def generate(
    model: LanguageModel,
    prompt: str,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    seed: int = 0,
) -> str:
    """The text that `model` writes after `prompt`, without the prompt.

    See `generate_stream`, whose pieces it joins.
    """
    sampling = Sampling(temperature, top_p, top_k, repetition_penalty, no_repeat_ngram_size)
    return "".join(_continuation(model, prompt, max_new_tokens, sampling, seed))


def generate_stream(
    model: LanguageModel,
    prompt: str,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    repetition_penalty: float = 1.0,
    no_repeat_ngram_size: int = 0,
    seed: int = 0,
) -> Iterator[str]:
    """What `generate` returns, in pieces as they come; no piece ends within a character.

    The prompt stands after the model's prefix token (end_of_text), as every document of the training
    data does. Generation ends at end_of_text, after `max_new_tokens`, or when the context of
    `model.max_length` tokens is full, whichever comes first. A prompt that leaves less room than
    `max_new_tokens` loses its first tokens; its last `max_length // 2` tokens are always kept.

    Args:
        model: what writes.
        prompt: may be empty.
        max_new_tokens: at most this many tokens are generated.
        temperature: 0 takes the most likely token each time.
        top_p: see `Sampling`, as for the next three.
        top_k: 0 sets no limit.
        repetition_penalty: 1 sets none.
        no_repeat_ngram_size: 0 sets no limit.
        seed: the same seed, model and settings give the same text.

    Raises:
        UserError: a setting that is out of its range.
    """
    sampling = Sampling(temperature, top_p, top_k, repetition_penalty, no_repeat_ngram_size)
    return _continuation(model, prompt, max_new_tokens, sampling, seed)


def _continuation(
    model: LanguageModel, prompt: str, max_new_tokens: int, sampling: Sampling, seed: int
) -> Iterator[str]:
    tokens = generate_tokens(model, prompt, max_new_tokens, sampling, seed)
    return stream_text(model.tokenizer, tokens, after=model.tokenizer.encode(prompt)[-1:])


def generate_tokens(
    model: LanguageModel, prompt: str, max_new_tokens: int, sampling: Sampling, seed: int
) -> Iterator[int]:
    """The tokens of `generate_stream`, without the one that ends the text."""
    context = [model.prefix_token, *model.tokenizer.encode(prompt)]
    steps = generate_steps(model, context, max_new_tokens, sampling, seed)
    return (step.token for step in steps if not step.ends)


@dataclass(frozen=True)
class Step:
    """One token, and what it was chosen from."""

    token: int
    ends: bool
    """Whether the token ends the text and is no part of it."""
    model: Tensor
    """(V,) the model's own probabilities."""
    drawn_from: Tensor
    """(V,) what the sampling settings made of them."""


def generate_steps(
    model: LanguageModel,
    context: Sequence[int],
    max_new_tokens: int,
    sampling: Sampling,
    seed: int,
    stop_tokens: Collection[int] = (),
    cache: PrefixCache | None = None,
) -> Iterator[Step]:
    """What `generate_stream` does, token by token, with the one that ends the text.

    Args:
        model: what writes.
        context: tokens of the prompt, at least one; where they leave too little room, the first ones go.
        max_new_tokens: at most this many.
        sampling: how a token is chosen.
        seed: the same seed, model and settings give the same tokens.
        stop_tokens: end the text, beside the model's own.
        cache: of this model; what it holds of the prompt's beginning is not read again.

    Raises:
        UserError: a setting that is out of its range; while tokens are asked for, a model that computes NaN.
    """
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens is {max_new_tokens}; expected 1 or more.")
    kept = fit_prompt(list(context), max_new_tokens, model.max_length)
    stops = model.stop_tokens | set(stop_tokens)
    return _walk(model, kept, max_new_tokens, sampling, seed, stops, cache or PrefixCache(model))


def fit_prompt(tokens: list[int], max_new_tokens: int, max_length: int) -> list[int]:
    """The last tokens of a prompt, so that new ones fit; at least `max_length // 2` of them are kept."""
    room = max(max_length - max_new_tokens, max_length // 2, 1)
    return tokens[-room:]


def _walk(
    model: LanguageModel,
    context: list[int],
    max_new_tokens: int,
    sampling: Sampling,
    seed: int,
    stops: Collection[int],
    cache: PrefixCache,
) -> Iterator[Step]:
    generator = torch.Generator().manual_seed(derive_seed(seed, "generation"))
    end = min(len(context) + max_new_tokens, model.max_length)
    new = context[cache.begin(context, end) :]
    # A vocabulary may be padded past the tokenizer's entries; those rows stand for no text.
    entries = model.tokenizer.vocab_size
    seen = torch.tensor([context], dtype=torch.int64, device=model.device)
    first = int(context[0] == model.prefix_token)
    while seen.shape[1] < end:
        logits = cache.read(new)[:entries]
        if logits.isnan().any():
            raise UserError(BROKEN.format(model.name))
        # The prefix token stands for no text of the prompt, so it is not a repetition to be punished:
        # it is often the very token that ends a text.
        probabilities = next_token_probabilities(logits, seen[0, first:], sampling)
        token = draw(probabilities, generator)
        yield Step(token, token in stops, logits.softmax(0), probabilities)
        if token in stops:
            return
        new = [token]
        seen = torch.cat([seen, torch.tensor([new], dtype=torch.int64, device=model.device)], dim=1)


class TextStream:
    """Tokens become text as they come; bytes that may still become a character are held back.

    Each piece is what a token adds to the text decoded from the token before the last piece on, so
    that tokenizers which treat the first token of a text differently come out right as well.
    """

    def __init__(self, tokenizer: TextTokenizer, after: Sequence[int] = ()) -> None:
        """Begin a text; `after`, the last token of what it goes on from, keeps its first space from being lost."""
        self._tokenizer = tokenizer
        self._taken = list(after)
        # taken[:shown] is out; decoding begins at `start`, one piece earlier
        self._start, self._shown = 0, len(after)

    def push(self, token: int) -> str:
        """What `token` adds to the text; empty while a character is not whole."""
        self._taken.append(token)
        # U+FFFD at the end is a character whose last bytes are still to come, or a broken one:
        # then it shows with the next piece.
        if self._tokenizer.decode(self._taken[self._start :]).endswith("\ufffd"):
            return ""
        piece = self.rest()
        self._start, self._shown = self._shown, len(self._taken)
        return piece

    def rest(self) -> str:
        """What is held back, as it is."""
        known = self._tokenizer.decode(self._taken[self._start : self._shown])
        return self._tokenizer.decode(self._taken[self._start :])[len(known) :]


def stream_text(tokenizer: TextTokenizer, tokens: Iterator[int], after: Sequence[int] = ()) -> Iterator[str]:
    """The text of `tokens` in the pieces of a `TextStream`, none of them empty."""
    stream = TextStream(tokenizer, after)
    for token in tokens:
        if piece := stream.push(token):
            yield piece
    if rest := stream.rest():
        yield rest
