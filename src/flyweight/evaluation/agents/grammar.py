"""What counts as an action: strict grammars that give back one canonical form, or nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

SLOT = re.compile(r"\{\w+\}")
FILLING = r"[a-z0-9](?:[a-z0-9' ./-]*[a-z0-9'.])?"
"""What may stand for a thing in a command: words in small letters, numbers, apostrophes, hyphens."""


class Grammar(Protocol):
    """The actions that an environment understands, by their form alone."""

    def parse(self, text: str) -> str | None:
        """The action's canonical form; None where `text` is no action. `parse(parse(x)) == parse(x)`."""
        ...

    def describe(self) -> str:
        """The forms of an action, to be read after "Expected"."""
        ...


def one_line(text: str) -> str | None:
    """`text` without the white space around it; None where it has more than one line, or none."""
    stripped = text.strip()
    return stripped if len(stripped.splitlines()) == 1 else None


class CallGrammar:
    """Actions such as `Search[entity]`: a name, and an argument in brackets, on one line.

    The name's first letter may be large or small, as the ReAct reference takes it (arXiv 2210.03629); all
    else is exact: text before or after the call makes it no action.
    """

    def __init__(self, arguments: dict[str, str], may_be_empty: Sequence[str] = ()) -> None:
        """Take the names with a word for what each one's argument is.

        Args:
            arguments: by name, such as {"Search": "entity"}.
            may_be_empty: names whose argument may be left empty.
        """
        self.arguments = arguments
        self._names = {name.lower(): name for name in arguments}
        self._may_be_empty = frozenset(may_be_empty)
        self._pattern = re.compile(r"(\w+)\[(.*)\]", re.DOTALL)

    def split(self, text: str) -> tuple[str, str] | None:
        """The action's name and its argument; None where `text` is no action."""
        line = one_line(text)
        match = None if line is None else self._pattern.fullmatch(line)
        if match is None:
            return None
        written, argument = match[1], match[2].strip()
        name = self._names.get(written.lower())
        if name is None or written[1:] != name[1:] or not (argument or name in self._may_be_empty):
            return None
        return name, argument

    def parse(self, text: str) -> str | None:
        """See `Grammar`."""
        parts = self.split(text)
        return None if parts is None else f"{parts[0]}[{parts[1]}]"

    def describe(self) -> str:
        """See `Grammar`."""
        return alternatives([f"{name}[{argument}]" for name, argument in self.arguments.items()])


class CommandGrammar:
    """Actions such as `put {thing} in {place}`: words in small letters, with slots for things.

    Letters are made small and runs of white space one space; a slot takes any words, whether such a
    thing exists or not: that is for the environment to say.
    """

    def __init__(self, templates: Sequence[str]) -> None:
        """Take the forms; a slot is a word in braces."""
        assert templates, "a grammar needs a form"
        self.templates = tuple(templates)
        self._patterns = [re.compile(_pattern(template)) for template in templates]

    def split(self, text: str) -> tuple[str, tuple[str, ...]] | None:
        """The first template that fits and what fills its slots; None where `text` is no action."""
        line = one_line(text)
        if line is None:
            return None
        words = " ".join(line.lower().split())
        for template, pattern in zip(self.templates, self._patterns, strict=True):
            match = pattern.fullmatch(words)
            if match is not None:
                return template, match.groups()
        return None

    def parse(self, text: str) -> str | None:
        """See `Grammar`."""
        parts = self.split(text)
        return None if parts is None else fill(*parts)

    def describe(self) -> str:
        """See `Grammar`; slots are dots, and forms that then are the same stand once."""
        return alternatives(list(dict.fromkeys(SLOT.sub("...", template) for template in self.templates)))


def fill(template: str, things: Sequence[str]) -> str:
    """`template` with its slots filled in their order."""
    rest = iter(things)
    return SLOT.sub(lambda _: next(rest), template)


def alternatives(forms: Sequence[str]) -> str:
    """`a, b or c`."""
    return forms[0] if len(forms) == 1 else f"{', '.join(forms[:-1])} or {forms[-1]}"


def _pattern(template: str) -> str:
    literal = [re.escape(part) for part in SLOT.split(template)]
    return f"({FILLING})".join(literal)
