"""What others wrote does not steer a terminal, and what is no terminal gets it as it is."""

from __future__ import annotations

import io
import unicodedata

import pytest

from flyweight.base import never_fail, printable, write_out


def test_control_characters_become_pictures():
    assert printable("a\x1b[31mb\tc\nd\r\x07\x9b\x7f") == "a␛[31mb\tc\nd␍␇\ufffd␡"


def test_nothing_is_left_that_steers_and_all_else_stays():
    steering = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for character in map(chr, range(0x11_0000)):
        steers = (
            unicodedata.category(character) in ("Cc", "Cs")
            or unicodedata.bidirectional(character) in steering
        )
        assert (printable(character) != character) == (steers and character not in "\n\t"), ascii(character)


class Stream(io.TextIOWrapper):
    """Standard output, of some encoding, with a terminal behind it or not."""

    def __init__(self, encoding: str, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding, newline="\n")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("encoding", "terminal", "expected"),
    [
        ("utf-8", True, "é␛]0;x␇\ufffdb\n".encode()),
        ("utf-8", False, "é\x1b]0;x\x07\u202eb\n".encode()),
        ("ascii", True, b"??]0;x??b\n"),
        ("ascii", False, b"?\x1b]0;x\x07?b\n"),
    ],
)
def test_written_out(monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool, expected: bytes):
    stream = Stream(encoding, terminal)
    monkeypatch.setattr("sys.stdout", stream)
    never_fail(stream)
    write_out("é\x1b]0;x\x07\u202eb\n")
    assert stream.buffer.getvalue() == expected
