"""Talking to a model in the terminal; where standard input is no terminal, each of its lines is a message."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from flyweight.base import UserError, never_fail, printable, write_out
from flyweight.chat.answer import Ending
from flyweight.chat.commands import Next, Talk
from flyweight.chat.conversation import Conversation
from flyweight.chat.keyboard import (
    interruptible,
    is_interactive,
    piped_messages,
    prepare_editing,
    read_message,
)
from flyweight.chat.playground import Playground

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C has ended, as shells have it."""


class Terminal:
    """A conversation on standard input and output; whatever is not an answer goes to standard error."""

    def __init__(self, playground: Playground) -> None:
        self.talk = Talk(playground, Conversation(playground.system), playground.settings)
        self._notices = Console(stderr=True, highlight=False)
        self._interactive = is_interactive()
        for stream in (sys.stdin, sys.stdout):
            never_fail(stream)

    def run(self) -> int:
        """Talk until the user leaves; the exit code."""
        try:
            return self._converse() if self._interactive else self._answer_lines()
        except BrokenPipeError:  # who reads the answers has seen enough
            sys.stdout = None  # type: ignore[assignment]  # what it still holds cannot be written at the end either
            return 0

    def _converse(self) -> int:
        prepare_editing()
        self._introduce()
        again = False
        while True:
            try:
                line = read_message("> ")
            except EOFError:
                self._say("")
                return 0
            except KeyboardInterrupt:
                if again:
                    self._say("")
                    return 0
                again = True
                self._say("\nCtrl-C again leaves, as /quit does")
                continue
            try:
                follows = self._enter(line)
                again = self._answer() if follows is Next.ANSWER else False
            except UserError as error:
                again = False
                self._say(str(error), "red")
            except KeyboardInterrupt:
                self._say("")
                return 0
            else:
                if follows is Next.END:
                    return 0

    def _answer_lines(self) -> int:
        if self.talk.playground.chat is None:
            self._introduce()
        try:
            for line in piped_messages():
                self.talk.conversation.ask(_sound(line))
                if self._answer():
                    return INTERRUPTED
        except KeyboardInterrupt:
            return INTERRUPTED
        return 0

    def _enter(self, line: str) -> Next:
        """Take what the user entered; says what follows."""
        conversation = self.talk.conversation
        if line.startswith("/") and not line.startswith("//"):
            return self.talk.command(line, self._say)
        if line.strip():
            conversation.ask(_sound(line[1:] if line.startswith("//") else line))
            return Next.ANSWER
        if self.talk.playground.chat is None:
            if conversation.messages:
                conversation.go_on()
            else:
                conversation.ask("")
            return Next.ANSWER
        return Next.MESSAGE

    def _answer(self) -> bool:
        """Let the model write, and remember it; whether Ctrl-C stopped it."""
        playground, conversation, settings = self.talk.playground, self.talk.conversation, self.talk.settings
        written: list[str] = []
        ending: Ending | None = None
        try:
            prompt = playground.prompt(conversation.shown, settings)
            if prompt.left_out:
                self._say(prompt.left_out)
            with interruptible() as stopped:
                for item in playground.write(prompt, settings, conversation.attempt, stopped):
                    written.append(item.piece)
                    write_out(item.piece)
                    ending = item if isinstance(item, Ending) else None
        finally:
            write_out("\n")
            self._remember("".join(written), ending)
        assert ending is not None
        if self._interactive:
            self._say(_summary(ending, settings.max_new_tokens))
        return ending.reason == "stopped"

    def _remember(self, text: str, ending: Ending | None) -> None:
        conversation = self.talk.conversation
        if text or (ending is not None and ending.reason != "stopped"):
            conversation.answered(text)
        elif conversation.unanswered():
            self._say("the earlier answer stays")

    def _say(self, text: str, style: str = "dim") -> None:
        self._notices.print(Text(printable(text), style=style), soft_wrap=True)

    def _introduce(self) -> None:
        playground = self.talk.playground
        model = playground.model
        self._say(f"{model.name}, a context of {model.max_length:,} tokens, on {model.device}", "bold")
        if playground.chat is None:
            why = "This is a base model: it knows no conversations." if playground.base else "--raw:"
            self._say(f"{why} It goes on with the text that you enter; each one begins anew.")
        if self._interactive:
            goes_on = (
                "" if playground.chat else "An empty line goes on where it stopped, or begins with nothing. "
            )
            self._say(f"{goes_on}/help lists commands, Ctrl-C stops an answer, /quit leaves.")


def _summary(ending: Ending, limit: int) -> str:
    reasons = {
        "model": "",
        "length": f", cut at max_new_tokens {limit:,}",
        "context": ", cut: the context is full",
        "stopped": ", stopped",
    }
    speed = f", {ending.tokens / ending.seconds:.1f} tokens/s" if ending.seconds else ""
    return (
        f"[{ending.tokens:,} tokens, {ending.bits_per_token:.2f} bits a token{speed}{reasons[ending.reason]}]"
    )


def _sound(text: str) -> str:
    """`text` without halves of characters, which some terminals' encodings leave."""
    return text.encode("utf-8", "replace").decode("utf-8")
