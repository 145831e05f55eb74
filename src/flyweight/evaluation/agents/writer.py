"""What the loop asks of a model: text after a prompt."""

from __future__ import annotations

from typing import Protocol

from flyweight.inference import LanguageModel
from flyweight.inference.batched import Prompt, write_batched


class Writer(Protocol):
    """Continues prompts."""

    @property
    def max_length(self) -> int:
        """Tokens that a prompt and what follows it may have together."""
        ...

    def tokens(self, text: str) -> int:
        """Tokens that `text` has as a prompt, with what is put before it."""
        ...

    def write(self, prompts: list[str], stop: list[str], max_new_tokens: int) -> list[str]:
        """A text for each prompt, in order, the most likely one token by token.

        A text ends before the first stop string in it, at the model's own end of text, or after
        `max_new_tokens`. Prompts fit: `tokens(prompt) + max_new_tokens <= max_length`.
        """
        ...


class ModelWriter:
    """A language model as a writer, many prompts at a time."""

    def __init__(self, model: LanguageModel) -> None:
        """Wrap `model`."""
        self.model = model

    @property
    def max_length(self) -> int:
        """See `Writer`."""
        return self.model.max_length

    def tokens(self, text: str) -> int:
        """See `Writer`; the prefix token counts."""
        return 1 + len(self.model.tokenizer.encode(text))

    def write(self, prompts: list[str], stop: list[str], max_new_tokens: int) -> list[str]:
        """See `Writer`."""
        for prompt in prompts:
            assert self.tokens(prompt) + max_new_tokens <= self.max_length, (
                "prompts that do not fit come here"
            )
        end = self.model.prefix_token
        wanted = [
            Prompt([end, *self.model.tokenizer.encode(prompt)], max_new_tokens, tuple(stop))
            for prompt in prompts
        ]
        return [until(one.text, stop) for one in write_batched(self.model, wanted)]


def until(text: str, stop: list[str]) -> str:
    """What stands before the first stop string."""
    ends = [place for place in (text.find(word) for word in stop) if place >= 0]
    return text[: min(ends, default=len(text))]
