"""A model that is talked to, one answer at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flyweight.base import UserError
from flyweight.chat.answer import Ending, Token, write_answer
from flyweight.chat.conversation import text_so_far
from flyweight.chat.prompt import Prompt, chat_prompt, text_prompt
from flyweight.chat.settings import SETTINGS, Settings
from flyweight.chat.token_labels import TokenLabels
from flyweight.inference import LanguageModel, Message, PrefixCache

_LOOKS = 0.2
"""Seconds between two looks whether somebody who waits for the model still wants it."""


class Playground:
    """A model with how it is talked to: in conversations, or by texts that it goes on with."""

    def __init__(
        self,
        model: LanguageModel,
        settings: Settings | None = None,
        *,
        raw: bool = False,
        system: str = "",
    ) -> None:
        """Wrap `model`; with `raw`, one that knows conversations goes on with texts as well.

        Raises:
            UserError: a system message for a model that takes none.
        """
        self.model = model
        self.settings = settings or Settings()
        self.chat = None if raw else model.chat
        self.system = system
        self.base = model.chat is None
        """Whether the model knows no conversations."""
        self._labels = TokenLabels(model.tokenizer)
        self._cache = PrefixCache(model)
        self._lock = threading.Lock()
        if system and self.chat is None:
            why = "has no chat template" if self.base else "is asked to go on with texts (--raw)"
            raise UserError(f"--system: {model.name} {why}, so there is no place for a system message.")
        if system and self.chat is not None:
            example = [{"role": "system", "content": system}, {"role": "user", "content": "A question."}]
            # Some templates refuse system messages: said now, not at the first answer.
            self.chat.tokens(example)

    def prompt(self, messages: Sequence[Message], settings: Settings) -> Prompt:
        """What the model is shown of `messages`.

        Raises:
            UserError: see `chat_prompt`.
        """
        if self.chat is None:
            return text_prompt(self.model, text_so_far(messages), settings.max_new_tokens)
        return chat_prompt(self.chat, messages, settings.max_new_tokens, self.model.max_length)

    def write(
        self, prompt: Prompt, settings: Settings, attempt: int, stopped: Callable[[], bool]
    ) -> Iterator[Token | Ending]:
        """See `write_answer`."""
        return write_answer(
            self.model, self._labels, prompt, settings, attempt=attempt, stopped=stopped, cache=self._cache
        )

    @contextmanager
    def turn(self, stopped: Callable[[], bool], waiting: Callable[[], None]) -> Iterator[bool]:
        """The model for oneself, once everybody before has finished; False where `stopped` says so before that.

        `waiting` is called once where somebody else is at it.
        """
        mine = self._lock.acquire(blocking=False)
        try:
            if not mine:
                waiting()
            while not mine and not stopped():
                mine = self._lock.acquire(timeout=_LOOKS)
            yield mine
        finally:
            if mine:
                self._lock.release()

    def about(self) -> dict[str, Any]:
        """What a page has to know of it."""
        defaults = self.settings.to_dict()
        return {
            "name": self.model.name,
            "max_length": self.model.max_length,
            "device": str(self.model.device),
            "chat": self.chat is not None,
            "base": self.base,
            "system": self.system,
            "settings": [
                {
                    "name": setting.name,
                    "value": defaults[setting.name],
                    "minimum": setting.minimum,
                    "maximum": setting.maximum,
                    "step": setting.step,
                    "whole": setting.whole,
                    "above": setting.above,
                    "meaning": setting.meaning,
                    "range": setting.range,
                }
                for setting in SETTINGS
            ],
        }
