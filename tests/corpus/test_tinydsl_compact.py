from __future__ import annotations

import re
from pathlib import Path

import pytest

from flyweight.corpus.tinydsl import normalize
from flyweight.corpus.tinydsl.vocabulary import BUILTINS, KEYWORDS

FIBONACCI = """
# Raw Python
def fibonacci(n):
    '''The n-th one.'''
    if n <= 1:
        return n  # 0 and 1
    return fibonacci(n - 1) + fibonacci(n - 2)
"""


def test_the_example_of_the_gpt_x2_card() -> None:
    assert normalize(FIBONACCI, "compact").split("\n") == [
        "function fibonacci n",
        "begin",
        "if n <= 1",
        "begin",
        "return n",
        "end",
        "return call fibonacci n - 1 + call fibonacci n - 2",
        "end function",
    ]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x = len(str(y))", "x = call length call string y"),
        ("f(a, b, key=1, *c, **d)", "call f a b *c key = 1 **d"),
        ("[x * 2 for x in y if x]", "list comprehension x * 2 for x in y if x"),
        ("sum(x for x in y)", "call sum generator comprehension x for x in y"),
        ("(a + b) * c", "(a + b) * c"),  # these parentheses mean something
        ("f(a).b(c)", "call call f a.b c"),  # these are noise to the card
        ("from a import b, c as d", "from a import b c as d"),
        ("a, b = b, a", "a b = b a"),
        ("for x in y: pass\nelse: z", "for x in y\nbegin\npass\nend\nfor else\nbegin\nz\nend"),
        ("class A(B, metaclass=M): 'doc'", "class A B metaclass = M\nbegin\npass\nend class"),
        ("async def f(*, a: int = 1) -> str: ...", "async function f * a: integer = 1 -> string\n"
         "begin\n...\nend function"),
        ("if a: b\nelif c: d", "if a\nbegin\nb\nend\nelse if c\nbegin\nd\nend"),
        ("del a[0], b", "delete a[0] b"),
        ("length = begin = 1", "length = begin = 1"),  # nothing is escaped: it is not read back
    ],
)  # fmt: skip
def test_what_compact_writes(source: str, text: str) -> None:
    assert normalize(source, "compact") == text


def test_comments_docstrings_and_layout_do_not_matter() -> None:
    plain = "def f(a):\n  return (a)\nclass C:\n  pass\n"
    other = (
        "'module'\n\n# one\ndef f( a, ):\n    'two'\n    'three'\n    return a;\nclass C():\n    'four'\n\f"
    )
    for dialect in ("compact", "exact"):
        assert normalize(plain, dialect) == normalize(other, dialect)


def test_compact_is_exact_without_commas_call_parentheses_and_escapes() -> None:
    source = "x = f(a, g(b)) + h(c, d)\nfor a, b in c: print(a, b)"
    exact = normalize(source, "exact")
    assert exact.replace(", ", " ").replace("(", "").replace(")", "") == normalize(source, "compact")


def test_nothing_in_nothing_out() -> None:
    assert normalize("", "compact") == normalize("# only a comment\n", "exact") == ""


def test_the_documentation_lists_every_word() -> None:
    text = (Path(__file__).parents[2] / "docs" / "tinydsl.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"`(\w+)` → `(\w+)`", text)) == BUILTINS
    assert all(f"`{word}`" in text for word in KEYWORDS)
