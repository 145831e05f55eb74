"""What can be said to the program instead of to the model: lines that begin with a slash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from flyweight.base import UserError
from flyweight.chat.conversation import Conversation, save_conversation
from flyweight.chat.playground import Playground
from flyweight.chat.settings import SETTINGS, Settings, named


class Next(Enum):
    """What follows a command."""

    MESSAGE = "the user says something"
    ANSWER = "the model answers"
    END = "the program ends"


@dataclass
class Talk:
    """A playground with the conversation that goes on in it."""

    playground: Playground
    conversation: Conversation
    settings: Settings
    saved: set[Path] = field(default_factory=set)
    """Files that this conversation was saved in, and may be again."""

    def command(self, line: str, say: Callable[[str], None]) -> Next:
        """Carry out `line`, which begins with a slash; `say` takes lines for the user.

        Raises:
            UserError: no such command, or not like this.
        """
        name, _, rest = line[1:].partition(" ")
        known = {
            "help": self._help,
            "new": self._new,
            "undo": self._undo,
            "retry": self._retry,
            "set": self._set,
            "system": self._system,
            "save": self._save,
            "quit": self._quit,
        }
        if name not in known:
            raise UserError(
                f"there is no command /{name[:40]}; /help lists them, and // begins a message with a slash."
            )
        return known[name](rest.strip(), say)

    def _help(self, rest: str, say: Callable[[str], None]) -> Next:
        for line in _HELP:
            say(line)
        return Next.MESSAGE

    def _new(self, rest: str, say: Callable[[str], None]) -> Next:
        self.conversation.clear()
        say("a new conversation" if self.playground.chat else "a new text")
        return Next.MESSAGE

    def _undo(self, rest: str, say: Callable[[str], None]) -> Next:
        taken = self.conversation.undo()
        say("there is nothing to take back" if taken is None else f"taken back: {_short(taken)}")
        return Next.MESSAGE

    def _retry(self, rest: str, say: Callable[[str], None]) -> Next:
        if self.conversation.retry():
            return Next.ANSWER
        say("nothing was said yet")
        return Next.MESSAGE

    def _set(self, rest: str, say: Callable[[str], None]) -> Next:
        words = rest.replace("=", " ").split()
        if not words:
            for setting in SETTINGS:
                say(f"{setting.name} {getattr(self.settings, setting.name)}   {setting.meaning}")
            return Next.MESSAGE
        if len(words) != 2:
            raise UserError("/set takes a name and a value, such as /set temperature 0.5.")
        value = named(words[0]).parsed(words[1])
        self.settings = self.settings.changed({words[0]: value})
        say(f"{words[0]} is {value} from the next answer on")
        return Next.MESSAGE

    def _system(self, rest: str, say: Callable[[str], None]) -> Next:
        if self.playground.chat is None:
            raise UserError("a text that is continued has no system message.")
        self.conversation.system = rest
        say("the system message holds from the next answer on" if rest else "no system message")
        return Next.MESSAGE

    def _save(self, rest: str, say: Callable[[str], None]) -> Next:
        if not rest:
            raise UserError("/save takes the name of a file, such as /save talk.json.")
        file = Path(rest).expanduser()
        save_conversation(
            file,
            self.playground.model.name,
            self.settings,
            self.conversation.shown,
            replace=file.resolve() in self.saved,
        )
        self.saved.add(file.resolve())
        say(f"saved: {file}")
        return Next.MESSAGE

    def _quit(self, rest: str, say: Callable[[str], None]) -> Next:
        return Next.END


_HELP = (
    "/new                    begin anew",
    "/undo                   take back your last message and its answer",
    "/retry                  another answer to your last message",
    "/set                    show the settings; /set temperature 0.5 changes one",
    "/system TEXT            another system message; without a text: none",
    "/save FILE              write the conversation as JSON",
    "/quit                   leave, as Ctrl-D does",
    "//...                   a message that begins with a slash",
    "Ctrl-C stops an answer; twice, it leaves.",
)


def _short(text: str, length: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."
