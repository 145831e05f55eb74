"""What was said so far: a conversation, or texts and how the model went on with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flyweight.base import UserError, write_json
from flyweight.chat.settings import Settings
from flyweight.inference import Message


class Conversation:
    """Messages of user and assistant in turns. With a base model: a text, and what continues it."""

    def __init__(self, system: str = "") -> None:
        self.system = system
        """The system message; empty: none."""
        self.messages: list[Message] = []
        self.attempt = 0
        """At the answer that comes next."""
        self._earlier: Message | None = None
        """The answer that `retry` took back, until another stands in its place."""

    @property
    def shown(self) -> list[Message]:
        """The messages as a chat template takes them, the system message first."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.messages]

    def ask(self, text: str) -> None:
        """The user says something."""
        self.messages.append({"role": "user", "content": text})
        self.attempt = 0

    def go_on(self) -> None:
        """A text is continued where it stopped."""
        self.attempt = 0

    def answered(self, text: str) -> None:
        """The model has said something."""
        self.messages.append({"role": "assistant", "content": text})
        self._earlier = None

    def unanswered(self) -> bool:
        """The model has said nothing; whether an earlier answer stands again.

        A question without any answer is taken back: the next one would stand beside it.
        """
        earlier, self._earlier = self._earlier, None
        if earlier is not None:
            self.messages.append(earlier)
        elif self.messages and self.messages[-1]["role"] == "user":
            self.undo()
        return earlier is not None

    def undo(self) -> str | None:
        """Take back the user's last message with all that followed; returns it, None where there is none."""
        for place in range(len(self.messages) - 1, -1, -1):
            if self.messages[place]["role"] == "user":
                text = self.messages[place]["content"]
                del self.messages[place:]
                self.attempt = 0
                return text
        return None

    def retry(self) -> bool:
        """Take back the model's last answer, for another one; whether anything was said."""
        if not self.messages:
            return False
        if self.messages[-1]["role"] == "assistant":
            self._earlier = self.messages.pop()
        self.attempt += 1
        return True

    def clear(self) -> None:
        """Begin anew, with the same system message."""
        self.messages.clear()
        self.attempt = 0


def text_so_far(messages: Sequence[Message]) -> str:
    """The last text that the user began, with what the model wrote after it."""
    begun = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=0)
    return "".join(message["content"] for message in messages[begun:])


def save_conversation(
    file: Path, model: str, settings: Settings, messages: Sequence[Message], *, replace: bool = False
) -> None:
    """Write a conversation with what it was made by, as JSON; its `messages` can be trained on.

    Args:
        file: where.
        model: its name.
        settings: how answers were written.
        messages: the system message included.
        replace: write over a file that is there.

    Raises:
        UserError: there is a file already, or it cannot be written.
    """
    if file.exists() and not replace:
        raise UserError(f"{file}: this is there already; name a new file.")
    value: dict[str, Any] = {"model": model, "settings": settings.to_dict(), "messages": list(messages)}
    write_json(file, value)
