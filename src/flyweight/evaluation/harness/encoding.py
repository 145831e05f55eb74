"""From lm-eval's texts to tokens, by its rules, each text encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flyweight.base import UserError
from flyweight.evaluation.likelihood import Request
from flyweight.inference import LanguageModel


@dataclass
class Encoded:
    """Requests as tokens."""

    requests: list[Request] = field(default_factory=list)
    """Context and continuation of each."""
    split_apart: int = 0
    """How many had a continuation that joined its context in one token, so that the two were encoded apart."""


def encode_pairs(model: LanguageModel, pairs: Sequence[tuple[str, str]]) -> Encoded:
    """Tokens of (context, continuation) pairs, as lm-eval's `TemplateLM` makes them.

    Spaces at a context's end go to the continuation; context and continuation are encoded together, and the
    continuation's tokens are those behind as many as the context has alone. Before an empty context stands the
    model's prefix token; where the continuation begins with that very token, it is the context and is not scored.

    A continuation of which nothing is left (all of it is in a token that the context ends with) makes lm-eval
    stop; here the two are encoded apart, and counted.
    """
    moved = [_move_spaces(*pair) for pair in pairs]
    together = _encode_all(model, {context + rest for context, rest in moved if context})
    contexts = _encode_all(model, {context for context, _ in moved if context})
    bare = _encode_bare(model, {rest for context, rest in moved if not context})
    encoded = Encoded()
    for context, rest in moved:
        if not context:
            tokens = bare[rest]
            if not tokens:
                raise UserError("a text has no tokens, neither before nor in what is to be scored.")
            same = bool(tokens) and tokens[0] == model.prefix_token
            encoded.requests.append((tokens[:1], tokens[1:]) if same else ([model.prefix_token], tokens))
            continue
        first = contexts[context]
        behind = together[context + rest][len(first) :]
        if not behind:
            behind = model.tokenizer.encode(rest)
            encoded.split_apart += 1
        if not behind:
            raise UserError(
                f"a choice has no tokens ({rest!r} after {context[-40:]!r}), so that it has no likelihood."
            )
        encoded.requests.append((first, behind))
    return encoded


def encode_texts(model: LanguageModel, texts: Iterable[str]) -> dict[str, list[int]]:
    """The tokens of prompts and of texts whose every token is scored."""
    return _encode_all(model, set(texts))


def _move_spaces(context: str, continuation: str) -> tuple[str, str]:
    bare = context.rstrip()
    return bare, context[len(bare) :] + continuation


def _encode_all(model: LanguageModel, texts: set[str]) -> dict[str, list[int]]:
    """With the special tokens that the tokenizer adds by itself, unless the text begins with the prefix token."""
    prefix = model.tokenizer.decode([model.prefix_token])
    plain = {text for text in texts if text.startswith(prefix)}
    return _encoded(model, texts - plain, special=True) | _encoded(model, plain, special=False)


def _encode_bare(model: LanguageModel, texts: set[str]) -> dict[str, list[int]]:
    return _encoded(model, texts, special=False)


def _encoded(model: LanguageModel, texts: set[str], *, special: bool) -> dict[str, list[int]]:
    ordered = sorted(texts)
    return dict(zip(ordered, model.tokenizer.encode_batch(ordered, special=special), strict=True))
