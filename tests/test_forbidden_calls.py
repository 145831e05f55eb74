"""No line of Flyweight unpickles, evaluates, unpacks an archive or runs a shell: read from its syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "flyweight"
FILES = sorted(SOURCE.rglob("*.py"))

MODULES = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "zipfile",
    "tarfile",
    "runpy",
    "code",
}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "shutil.unpack_archive",
}
SANDBOX = "evaluation/sandbox/inside.py"
"""Runs what a model wrote, in a process that is confined before it begins."""
ALLOWED = {(SANDBOX, "exec"), (SANDBOX, "compile")}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the name of what is called, as it is written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SOURCE).as_posix())
def test_nothing_that_runs_what_it_reads(file: Path) -> None:
    place, tree = file.relative_to(SOURCE).as_posix(), ast.parse(file.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {
        node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level
    }
    assert not {name.partition(".")[0] for name in imported} & MODULES
    for name, call in calls(tree):
        if name in CALLS:
            assert (place, name) in ALLOWED, f"line {call.lineno}: {name}"
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert options.get("shell") != "True", f"line {call.lineno}: a shell"
        assert options.get("allow_pickle", "False") == "False", f"line {call.lineno}: pickles in numpy"
        assert options.get("weights_only", "True") == "True", f"line {call.lineno}: pickles in torch"
        if name.rpartition(".")[2] == "from_pretrained" and place != "release/load_back.py":
            # Either said, or in the options that carry what the user said; load_back reads what was just written.
            assert None in options, f"line {call.lineno}: whether code is trusted is not said"
        if name == "YAML":
            assert options.get("typ", "'rt'") in ("'safe'", "'rt'"), (
                f"line {call.lineno}: YAML that makes objects"
            )


def test_the_check_sees_what_it_should() -> None:
    found = {name for name, _ in calls(ast.parse("eval('1')\ntorch.load(x)\nself.model.eval()"))}
    assert found == {"eval", "torch.load", "self.model.eval"}
