from __future__ import annotations

import ast
import gc
import io
import pickle
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tinydsl_programs import PROGRAMS

from flyweight.base import UserError
from flyweight.corpus.tinydsl import NotNormalisable, NotTinyDSL, denormalize, normalize, normalize_file

EXACT = "\n".join(normalize(source, "exact") for source in PROGRAMS.values()).split("\n")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print 'hello'", "Python 2"),
        ("try: pass\nexcept A, e: pass", "Python 2"),
        ("x = 0777", "Python 2"),
        ("def f(:", "syntax error"),
        ("if a:\n\tb\n        c", "syntax error"),
        ("x = '", "syntax error"),
        ("x = \0", "null byte"),
        ("x = '\ud800'", "lone surrogate"),
        ("x = " + "1" * 5000, "syntax error"),
        ("(" * 500 + ")" * 500, "nested too deep"),
        ("".join(" " * i + "if a:\n" for i in range(200)), "nested too deep"),
        ("x = " + "-" * 3000 + "1", "nested too deep"),
    ],
)
@pytest.mark.parametrize("dialect", ["compact", "exact"])
def test_each_reason(source: str, reason: str, dialect: str) -> None:
    with pytest.raises(NotNormalisable) as caught:
        normalize(source, dialect)  # type: ignore[arg-type]
    assert caught.value.reason == reason
    assert pickle.loads(pickle.dumps(caught.value)).reason == reason


@given(st.text())
def test_any_text_is_normalised_or_refused(source: str) -> None:
    try:
        normalize(source, "compact")
    except NotNormalisable:
        return


def test_warnings_are_silent_and_the_collector_is_left_as_it_was() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert normalize("x = '\\d'; 1 is 1", "exact") == 'x = "\\\\d"\n1 is 1'
    assert gc.isenabled()
    gc.disable()
    try:
        normalize("x", "exact")
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = (1", 1, "expected ')'"),
        ("x = 1\ny = call", 2, "expected an expression"),
        ("if a\nbegin\nx", 3, "the end of the text"),
        ("if a\nx", 2, "expected 'begin'"),
        ("if a\nbegin\nend", 2, "empty suite"),
        ("function f\nbegin\npass\nend", 4, "'end function'"),
        ("function f\nbegin\npass\nend class", 4, "'end function'"),
        ("end", 1, "expected an expression, found 'end'"),
        ("x = 1 2", 1, "expected the end of the line"),
        ("x\n\ny", 2, "expected an expression"),
        ("x = $", 1, "'$'"),
        ('x = "abc', 1, "'\"'"),
        ('x = f"{a', 1, "'}'"),
        ('x = f"a}"', 1, "f-string"),
        ('x = f"{a!z}"', 1, "'}'"),
        ('x = f"\\x1"', 1, "escape"),
        ("pass\n1 = 2", 2, "Python does not allow this"),
        ("pass\nfor def in x\nbegin\npass\nend", 2, "expected an expression, found 'def'"),
        ("decorator a\nx = 1", 1, "must follow"),
        ("match a\nbegin\nx\nend", 3, "expected 'case'"),
        ("async x", 1, "'function', 'for' or 'with'"),
        ("list comprehension x", 1, "expected 'for'"),
        ("def f(x): return x", 1, "expected an expression, found 'def'"),
        ("else", 1, "found 'else'"),
    ],
)
def test_malformed_text_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(NotTinyDSL) as caught:
        denormalize(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"line {line}: ")
    assert pickle.loads(pickle.dumps(caught.value)).line == line


@given(st.data())
def test_damaged_text_is_python_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(EXACT) - 1))
    text = "\n".join(EXACT[start : start + data.draw(st.integers(1, 6))])
    position = data.draw(st.integers(0, len(text)))
    wrong = data.draw(st.sampled_from(WRONG))
    text = text[:position] + wrong + text[position + data.draw(st.integers(0, 4)) :]
    line = 0
    try:
        ast.parse(denormalize(text))
    except NotTinyDSL as error:
        line = error.line
    assert 0 <= line <= text.count("\n") + 1


WRONG = [
    "",
    "(",
    ")",
    "[",
    "{",
    "}",
    '"',
    "'",
    "\\",
    "\n",
    " ",
    "call ",
    " = ",
    ", ",
    "*",
    ":",
    "end",
    "1",
    "\0",
    "!",
]


def test_a_file_becomes_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.py"
    file.write_bytes("# coding: latin-1\nx = 'é'".encode("latin-1"))
    assert normalize_file(file, "exact") == 'x = "é"\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfx = len(y)")))
    assert normalize_file(None, "compact") == "x = call length y\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"print 1", "Python 2: line 1"), (b"x = '\xff'", "not in its encoding"), (b"# coding: nothing\n", "encoding")],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_sentence(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(data)
    with pytest.raises(UserError, match=message):
        normalize_file(tmp_path / "a.py", "compact")
    with pytest.raises(UserError, match="cannot be read"):
        normalize_file(tmp_path / "none.py", "compact")
