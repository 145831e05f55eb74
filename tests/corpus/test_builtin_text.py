from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading import builtin

PROSE = "This function explains at length what it does, for whom it was written and why. " * 4


def make_package(root: Path, files: dict[str, str]) -> dict[str, Path]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {"pack": root}


def english(folders: dict[str, Path]) -> tuple[list[Document], ReadLog]:
    log = ReadLog()
    return list(builtin.english(log, folders)), log


def test_prose_and_code_of_a_file_share_a_key(tmp_path: Path) -> None:
    code = (
        f'"""{PROSE}"""\n\nclass A:\n    def f(self):\n        """{PROSE}\n\n        Indented.\n        """\n'
    )
    folders = make_package(tmp_path, {"sub/mod.py": code, "b.py": "x = 1\n"})
    docstrings, _ = english(folders)
    modules = list(builtin.python(ReadLog(), folders))
    assert {document.key for document in docstrings} == {"pack/sub/mod.py"}
    assert {document.key for document in modules} == {"pack/sub/mod.py", "pack/b.py"}
    assert docstrings[1].text.endswith("Indented.")
    assert "\n    " not in docstrings[1].text
    assert [document.text for document in modules if document.key == "pack/sub/mod.py"] == [code]


def test_nothing_is_imported_and_bad_files_are_counted(tmp_path: Path) -> None:
    folders = make_package(
        tmp_path,
        {
            "trap.py": f'"""{PROSE}"""\nraise SystemExit("imported")\n',
            "old.py": "print 'python 2'\n",
            "tests/test_a.py": f'"""{PROSE} test"""\n',
            "_vendor/copy.py": f'"""{PROSE} vendored"""\n',
            ".hidden/a.py": f'"""{PROSE} hidden"""\n',
            "made.py": f'# This file was automatically generated.\n"""{PROSE} made"""\n',
            "notes.txt": PROSE,
        },
    )
    (tmp_path / "latin.py").write_bytes(b'"""caf\xe9"""\n')
    before = set(sys.modules)
    documents, log = english(folders)
    assert [document.key for document in documents] == ["pack/trap.py"]
    assert set(sys.modules) == before
    assert {reason: bad.count for reason, bad in log.bad.items()} == {
        "invalid UTF-8": 1,
        "not Python that this version parses": 1,
    }
    assert log.bad["invalid UTF-8"].first == [str(tmp_path / "latin.py")]
    assert log.fraction == 1.0


def test_only_new_prose_is_kept(tmp_path: Path) -> None:
    session = "Adds.\n" + ">>> add(1, 2)\n3\n" * 30
    table = "0x00 0x01 0x02 0x03 | 12 34 56 78 90\n" * 20
    texts = [PROSE, PROSE, "Short.", session, table, PROSE + "Not the same."]
    functions = "".join(f'def f{n}():\n    """{text}"""\n' for n, text in enumerate(texts))
    documents, _ = english(make_package(tmp_path, {"a.py": functions, "b.py": f'"""{PROSE}"""\n'}))
    assert sorted(document.text for document in documents) == [PROSE.strip(), PROSE + "Not the same."]


def test_the_order_mixes_packages_and_is_always_the_same(tmp_path: Path) -> None:
    folders = {}
    for package in ("one", "two"):
        make_package(tmp_path / package, {f"m{n}.py": f"x = '{package} {n}'\n" for n in range(40)})
        folders[package] = tmp_path / package
    keys = [key for key, _ in builtin.module_files(folders)]
    assert keys == [key for key, _ in builtin.module_files(dict(reversed(folders.items())))]
    assert 10 < sum(key.startswith("one/") for key in keys[:40]) < 30


def test_the_topics_of_help_are_prose_and_never_code() -> None:
    folders = {builtin.STANDARD_LIBRARY: builtin.package_folders()[builtin.STANDARD_LIBRARY] / "pydoc_data"}
    shifted = {"stdlib/pydoc_data": folders[builtin.STANDARD_LIBRARY]}
    documents = list(builtin.english(ReadLog(), shifted))
    assert {document.key for document in documents} == {builtin.TOPICS}
    assert len(documents) > 50
    assert any("for" in document.text and "suite" in document.text for document in documents)
    assert builtin.TOPICS not in {document.key for document in builtin.python(ReadLog(), shifted)}


def test_this_machine_has_the_standard_library_and_torch_but_not_this_package() -> None:
    folders = builtin.package_folders()
    assert {"stdlib", "torch", "numpy", "networkx", "sympy"} <= set(folders)
    assert "flyweight" not in folders
    versions = builtin.versions()
    assert set(versions) <= set(folders)
    assert versions["stdlib"].startswith("3.")
    keys = [key for key, _ in builtin.module_files({"json": folders["stdlib"] / "json"})]
    assert "json/decoder.py" in keys


@pytest.mark.parametrize("name", ["tests", "site-packages"])
def test_the_standard_library_is_read_without_other_packages(name: str) -> None:
    stdlib = {"stdlib": builtin.package_folders()["stdlib"]}
    assert not any(f"/{name}/" in key for key, _ in builtin.module_files(stdlib))
