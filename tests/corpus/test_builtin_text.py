from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading import builtin, builtin_parts
from flyweight.corpus.reading.source import SourceReader, open_source
from flyweight.corpus.tinydsl import denormalize
from flyweight.recipe import Recipe

PROSE = "This function explains at length what it does, for whom it was written and why. " * 4


def make_package(root: Path, files: dict[str, str]) -> dict[str, Path]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {"pack": root}


Texts = list[tuple[str, str]]


def english(folders: dict[str, Path]) -> tuple[Texts, ReadLog]:
    log = ReadLog()
    return list(builtin.english(log, builtin.module_files(folders))), log


def python(folders: dict[str, Path], check: bool = True) -> Texts:
    return list(builtin.python(ReadLog(), builtin.module_files(folders), check))


def test_prose_and_code_of_a_file_share_a_key(tmp_path: Path) -> None:
    code = (
        f'"""{PROSE}"""\n\nclass A:\n    def f(self):\n        """{PROSE}\n\n        Indented.\n        """\n'
    )
    folders = make_package(tmp_path, {"sub/mod.py": code, "b.py": "x = 1\n"})
    docstrings, _ = english(folders)
    modules = dict(python(folders))
    assert {key for key, _ in docstrings} == {"pack/sub/mod.py"}
    assert set(modules) == {"pack/sub/mod.py", "pack/b.py"}
    assert docstrings[1][1].endswith("Indented.")
    assert "\n    " not in docstrings[1][1]
    assert modules["pack/sub/mod.py"] == code


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
    assert [key for key, _ in documents] == ["pack/trap.py"]
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
    assert sorted(text for _, text in documents) == [PROSE.strip(), PROSE + "Not the same."]


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
    documents, _ = english(shifted)
    assert {key for key, _ in documents} == {builtin.TOPICS}
    assert len(documents) > 50
    assert any("for" in text and "suite" in text for _, text in documents)
    assert builtin.TOPICS not in dict(python(shifted))


def test_this_machine_has_the_standard_library_and_torch_but_not_this_package() -> None:
    folders = builtin.package_folders()
    assert {"stdlib", "torch", "numpy", "networkx", "sympy"} <= set(folders)
    assert "flyweight" not in folders
    versions = builtin.versions()
    assert set(versions) <= set(folders)
    assert versions["stdlib"].startswith("3.")
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert versions["PIL"] == importlib.metadata.version("pillow")
    keys = [key for key, _ in builtin.module_files({"json": folders["stdlib"] / "json"})]
    assert "json/decoder.py" in keys


@pytest.mark.parametrize("name", ["tests", "site-packages"])
def test_the_standard_library_is_read_without_other_packages(name: str) -> None:
    stdlib = {"stdlib": builtin.package_folders()["stdlib"]}
    assert not any(f"/{name}/" in key for key, _ in builtin.module_files(stdlib))


@pytest.fixture
def opened(make_recipe: Callable[..., Recipe]) -> Callable[..., SourceReader]:
    def make(builtin: str, seed: int = 0, **settings: Any) -> SourceReader:
        recipe = make_recipe({"x": {"kind": "builtin", "builtin": builtin, **settings}}, seed=seed)
        return open_source("x", recipe.sources["x"], recipe)

    return make


def documents(reader: SourceReader) -> list[Document]:
    return [
        document for part in reader.parts for document in reader.documents(part, ReadLog(), Path("unused"))
    ]


def test_the_modules_fall_into_parts_and_none_is_lost(
    tmp_path: Path, opened: Callable[..., SourceReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make_package(tmp_path, {f"m{n}.py": f'"""{PROSE} {n}"""\nx = {n}\n' for n in range(40)})
    monkeypatch.setattr(builtin, "package_folders", lambda: folders)
    whole = {kind: documents(opened(kind)) for kind in ("english", "python")}
    assert len(opened("python").parts) == 1
    monkeypatch.setattr(builtin_parts, "MODULES_BYTES", 2000)
    for kind, expected in whole.items():
        reader = opened(kind)
        assert len(reader.parts) >= 5
        assert sum(part.size for part in reader.parts) == sum(p.stat().st_size for p in tmp_path.iterdir())
        assert documents(reader) == expected
        assert reader.is_modules
        assert [part.number for part in reader.parts] == list(range(len(reader.parts)))
        assert len({part.stamp for part in reader.parts}) == len(reader.parts)


def test_code_as_tinydsl_keeps_the_key_of_its_module_and_counts_what_cannot_be_parsed(
    tmp_path: Path, opened: Callable[..., SourceReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = make_package(tmp_path, {"a.py": "import os  # noise\n", "old.py": "print 'python 2'\n"})
    monkeypatch.setattr(builtin, "package_folders", lambda: folders)
    reader, log = opened("python", tinydsl="exact"), ReadLog()
    (document,) = reader.documents(reader.parts[0], log, tmp_path)
    assert document.key == "pack/a.py"
    assert "noise" not in document.text
    assert denormalize(document.text).strip() == "import os"
    assert {reason: bad.first for reason, bad in log.bad.items()} == {"TinyDSL: Python 2": ["pack/old.py"]}


@pytest.mark.parametrize("kind", ["arithmetic", "logic"])
def test_generated_parts_are_different_keep_to_the_limit_and_begin_with_held_out_text(
    kind: str, opened: Callable[..., SourceReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtin_parts, "GENERATED_BYTES", 30_000)
    reader = opened(kind, limit=100_000)
    found = documents(reader)
    assert 85_000 < sum(document.size for document in found) <= 100_000
    assert len(reader.parts) == 4
    assert {document.held_out for document in reader.documents(reader.parts[0], ReadLog(), Path("x"))} == {
        True
    }
    assert sum(bool(document.held_out) for document in found) >= 2
    assert (
        len({document.text for document in found}) == len({document.key for document in found}) == len(found)
    )
    assert documents(opened(kind, limit=100_000)) == found
    assert not {d.text for d in documents(opened(kind, seed=1, limit=100_000))} & {d.text for d in found}


@pytest.mark.parametrize("settings", [{"filter": "n > 1"}, {"messages_field": "messages"}])
def test_settings_for_records_are_refused_where_there_are_none(
    settings: dict[str, str], opened: Callable[..., SourceReader]
) -> None:
    with pytest.raises(
        UserError, match=rf"sources\.x\.{next(iter(settings))}: a builtin source has no records"
    ):
        opened("english", **settings)
