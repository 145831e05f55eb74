"""The tokens of one line of the exact dialect, one at a time.

A line is scanned as it is parsed, since what is text and what are tokens inside an f-string is known
only then.
"""

from __future__ import annotations

import re
from typing import Literal, NoReturn

from flyweight.corpus.tinydsl.errors import NotTinyDSL
from flyweight.corpus.tinydsl.vocabulary import KEYWORDS, PYTHON_KEYWORDS, disguise, unescape

Kind = Literal["name", "number", "string", "formatted", "mark", "end"]

# A name is whatever is not ASCII punctuation: Python itself judges its letters.
_TOKEN = re.compile(
    r"""[ ]*(?:
    (?P<number>0x[0-9a-f]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?j?)
  | (?P<formatted>f")
  | (?P<string>b?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))
  | (?P<name>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)
  | (?P<mark>\*\*=|//=|<<=|>>=|\.\.\.|:=|->|==|!=|<=|>=|\+=|-=|\*=|/=|%=|@=|&=|\|=|\^=|\*\*|//|<<|>>
      |[-+*/%@&|^~<>()\[\]{},:.=!])
  | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


class Scanner:
    """A line with a current token: its `kind`, `text`, and place from `start` to `stop`."""

    def __init__(self) -> None:
        self.line = ""
        self.number = 0
        self.kind: Kind = "end"
        self.text = ""
        self.start = self.stop = self.previous_stop = 0

    def open(self, line: str, number: int) -> None:
        """Begin a line; its first token becomes the current one."""
        self.line, self.number = line, number
        self.jump(0)

    def jump(self, position: int) -> None:
        """Make the token at `position` the current one."""
        self.stop = position
        self.advance()

    def advance(self) -> str:
        """Go to the next token; returns the text of the one that was left."""
        left = self.text
        self.previous_stop = self.stop
        found = _TOKEN.match(self.line, self.stop)
        if found is None:
            self.start = self.stop
            self.fail(f"{self.line[self.stop :].lstrip()[:1]!r} begins nothing that is known here")
        assert found.lastgroup is not None
        self.kind = found.lastgroup  # type: ignore[assignment]
        self.text = found[self.kind]
        self.start, self.stop = found.span(self.kind)
        return left

    @property
    def glued(self) -> bool:
        """No space stands before the current token."""
        return self.start == self.previous_stop

    def is_word(self, word: str) -> bool:
        """The current token is this word of the grammar."""
        return self.text == word and self.kind == "name"

    def is_mark(self, mark: str) -> bool:
        """The current token is this punctuation."""
        return self.text == mark and self.kind == "mark"

    def take_word(self, word: str) -> bool:
        """Go past this word if it stands here."""
        if self.text == word and self.kind == "name":
            self.advance()
            return True
        return False

    def take_mark(self, mark: str) -> bool:
        """Go past this punctuation if it stands here."""
        if self.text == mark and self.kind == "mark":
            self.advance()
            return True
        return False

    def expect_word(self, word: str) -> None:
        """Go past this word, which must stand here."""
        if not self.take_word(word):
            self.fail_expecting(repr(word))

    def expect_mark(self, mark: str) -> None:
        """Go past this punctuation, which must stand here."""
        if not self.take_mark(mark):
            self.fail_expecting(repr(mark))

    def expect_end(self) -> None:
        """The line must be at its end."""
        if self.kind != "end":
            self.fail_expecting("the end of the line")

    def expect_name(self) -> str:
        """Go past a name; returns the Python name."""
        if not self.is_name:
            self.fail_expecting("a name")
        return unescape(self.advance())

    @property
    def is_name(self) -> bool:
        """The current token is a name, not a word of the grammar."""
        text = self.text
        return self.kind == "name" and text not in PYTHON_KEYWORDS and text not in KEYWORDS

    def expect_attribute(self) -> str:
        """Go past what follows a dot, where every word is a name as it stands."""
        if self.kind != "name" or not self.glued:
            self.fail_expecting("a name")
        text = self.advance()
        return disguise(text) if text in PYTHON_KEYWORDS else text

    def fail_expecting(self, what: str) -> NoReturn:
        """Raise: something else stands here."""
        found = repr(self.text) if self.kind != "end" else "the end of the line"
        self.fail(f"expected {what}, found {found}")

    def fail(self, message: str) -> NoReturn:
        """Raise, naming the line and the place in it."""
        raise NotTinyDSL(self.number, f"{message} (at character {self.start + 1})")
