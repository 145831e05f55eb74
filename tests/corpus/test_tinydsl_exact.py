from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from tinydsl_programs import PROGRAMS, tree

from flyweight.corpus.tinydsl import NotNormalisable, denormalize, normalize

CORPORA = Path(__file__).parents[3] / "shared" / "data" / "corpora"
LIBRARY = Path(sysconfig.get_path("stdlib"))

NOT_IN_SOURCE = {
    # Abstract, or made by other entry points of the parser than that of a module.
    "AST", "mod", "stmt", "expr", "expr_context", "boolop", "operator", "unaryop", "cmpop", "excepthandler",
    "pattern", "type_ignore", "type_param", "slice", "Interactive", "Expression", "FunctionType", "TypeIgnore",
    # Kept by `ast` for old programs; no parser makes them.
    "Num", "Str", "Bytes", "NameConstant", "Ellipsis", "Index", "ExtSlice", "Suite", "AugLoad", "AugStore", "Param",
}  # fmt: skip


def assert_comes_back(source: str, name: str = "") -> None:
    text = normalize(source, "exact")
    assert "\n\n" not in text, name
    text.encode()
    back = denormalize(text)
    assert tree(back) == tree(source.removeprefix("\ufeff")), name
    assert normalize(back, "exact") == text, name


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_line_comes_back(name: str) -> None:
    assert_comes_back(PROGRAMS[name])


def test_every_node_type_of_this_interpreter_comes_back() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated names of `ast`
        known = {
            value.__name__
            for value in vars(ast).values()
            if isinstance(value, type) and issubclass(value, ast.AST)
        }
        seen = {type(node).__name__ for source in PROGRAMS.values() for node in ast.walk(ast.parse(source))}
    assert known - NOT_IN_SOURCE == seen


@pytest.mark.parametrize(
    "source",
    [
        "0x" + "f" * 5000,  # more digits than Python writes in decimal
        "1" * 4300,
        "\ufeffx = 1",
        "x = 1\r\ny = '''a\r\nb'''\r\n",
        "x = '\f\v\u3000\xa0'\n\fy = 2",
        "def f():\n" + "".join(" " * i + "if a:\n" for i in range(1, 99)) + " " * 99 + "pass",
        "if a: pass\n" + "elif a: pass\n" * 200,
        "x = " + " + ".join(["'a'"] * 300),
    ],
    ids=["hex", "digits", "mark", "line ends", "spaces", "deep", "elif", "chain"],
)
def test_odd_sources_come_back(source: str) -> None:
    assert_comes_back(source)


def test_what_comes_back_runs() -> None:
    source = '''
class Stack:
    """Numbers."""
    def __init__(self, *items, limit=10):
        self.items, self.limit = list(items), limit
    def __len__(self):
        return len(self.items)
    def show(self):
        return f"{len(self)} of {self.limit!r:>4}: {', '.join(str(i) for i in sorted(self.items, key=lambda i: -i))}"
string = Stack(3, 1, 2).show()
'''
    space: dict[str, object] = {}
    exec(denormalize(normalize(source, "exact")), space)
    assert space["string"] == "3 of   10: 3, 2, 1"


def library_files() -> list[Path]:
    return sorted(file for file in LIBRARY.rglob("*.py") if "site-packages" not in file.parts)


def read_source(file: Path) -> str:
    """The text of a file, by force if its encoding is wrong: the parser shall see it all the same."""
    data = file.read_bytes()
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError):
        return data.decode("latin-1")


def test_sixty_modules_of_the_standard_library_come_back() -> None:
    files = [file for file in library_files() if file.parent == LIBRARY and file.stat().st_size < 16_000]
    assert len(files) >= 60
    for file in files[:: len(files) // 60][:60]:
        source = read_source(file)
        assert_comes_back(source, str(file))
        normalize(source, "compact")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_whole_standard_library_comes_back() -> None:
    outcomes: Counter[str] = Counter()
    for file in library_files():
        source = read_source(file)
        try:
            normalize(source, "compact")
        except NotNormalisable as error:
            outcomes[error.reason] += 1
        else:
            assert_comes_back(source, str(file))
            outcomes["came back"] += 1
    print(dict(outcomes))
    # The files that do not parse are there on purpose, as test data.
    assert outcomes["came back"] > 500
    assert outcomes.total() - outcomes["came back"] < 0.02 * outcomes.total()


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(3600)
def test_real_code_comes_back() -> None:
    file = CORPORA / "python_code.jsonl.zst"
    if not file.is_file():
        pytest.skip("../shared/data/corpora/python_code.jsonl.zst is not beside this checkout")
    count = 0
    with file.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            record = json.loads(line)
            normalize(record["text"], "compact")
            assert_comes_back(record["text"], record["path"])
            count += 1
    assert count == 2079


DEEP = """
import sys
from flyweight.corpus.tinydsl import NotNormalisable, NotTinyDSL, normalize, denormalize
n = 20_000
sources = [
    "-" * n + "1", "not " * n + "1", "(" * n + "1" + ")" * n, "+".join("1" * n), "a" + ".a" * n, "a" + "()" * n,
    "lambda: " * n + "1", "1 if 1 else " * n + "1", "1**" * n + "1", "[" * n + "]" * n, "a" + "[0]" * n,
    "f'{" * n, "{1:" * n, "x=" + "(yield " * n, "(-" * n + "1" + ")" * n, "await " * n + "a",
    "if a: pass\\n" + "elif a: pass\\n" * n, "".join(" " * i + "if a:\\n" for i in range(999)),
    "match a:\\n case " + "[" * n + "]" * n + ": pass", "match a:\\n case " + "A(" * n + ")" * n + ": pass",
]
for source in sources:
    try:
        normalize(source, "exact")
        print("normalised")
    except NotNormalisable as error:
        print(error.reason)
for text in ["x = " + "call f " * n, "(" * n, "x = " + "not " * n, "f\\"{" * n, "if a\\nbegin\\n" * n]:
    try:
        denormalize(text)
        print("denormalised")
    except NotTinyDSL as error:
        print(error.message)
"""


def test_no_depth_crashes_the_interpreter() -> None:
    result = subprocess.run(
        [sys.executable, "-c", DEEP], capture_output=True, text=True, timeout=250, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes = result.stdout.splitlines()
    assert len(outcomes) == 25
    assert set(outcomes[:20]) <= {"nested too deep", "syntax error", "normalised"}
    assert outcomes[:20].count("nested too deep") >= 17
    assert "denormalised" not in outcomes[20:]
