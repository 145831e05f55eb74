from __future__ import annotations

import json
import os
import pickle
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading import files, plain_text
from flyweight.corpus.reading.source import SourceReader, open_source
from flyweight.recipe import Recipe

Open = Callable[..., SourceReader]


@pytest.fixture
def opened(make_recipe: Callable[..., Recipe]) -> Open:
    def make(path: Path, **settings: Any) -> SourceReader:
        recipe = make_recipe({"x": {"kind": "files", "path": str(path), **settings}})
        return open_source("x", recipe.sources["x"], recipe)

    return make


def documents(reader: SourceReader) -> tuple[list[Document], ReadLog]:
    log, found = ReadLog(), []
    for part in reader.parts:
        part_log = ReadLog()
        found += reader.documents(part, part_log, Path("unused"))
        assert part_log.fraction == 1.0
        log.add(part_log)
    return found, log


LINES = st.one_of(
    st.text(max_size=30).map(lambda text: json.dumps({"text": text}).encode()),
    st.text(max_size=30).map(
        lambda text: json.dumps({"text": text}, ensure_ascii=False).encode("utf-8", "replace")
    ),
    st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")),
    st.just(b""),
)


@given(lines=st.lists(LINES, max_size=40), part=st.integers(1, 400), last=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_cut_jsonl_file_gives_the_records_of_the_whole(
    lines: list[bytes], part: int, last: bool, opened: Open
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n" * last)
        whole, log = documents(opened(path))
        with mock.patch.object(files, "PART_BYTES", part):
            reader = opened(path)
            cut, cut_log = documents(reader)
        assert cut == whole
        assert {reason: bad.count for reason, bad in cut_log.bad.items()} == {
            reason: bad.count for reason, bad in log.bad.items()
        }
        assert sum(part.size for part in reader.parts) == path.stat().st_size


TEXTS = st.lists(
    st.one_of(
        st.just("\n"), st.just(" \t\n"), st.just("\r\n"), st.text(st.characters(codec="utf-8"), max_size=60),
        st.text("abc é\n中", max_size=200),
    ),
    max_size=60,
).map("".join)  # fmt: skip


@given(
    text=TEXTS, part=st.integers(1, 400), block=st.integers(1, 300), longest=st.sampled_from([64, 1 << 18])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_cut_text_gives_the_pieces_of_the_whole(
    text: str, part: int, block: int, longest: int, opened: Open
) -> None:
    small = mock.patch.multiple(
        plain_text, TEXT_BLOCK=block, LONGEST_WITHOUT_BLANK=longest, SMALLEST_PIECE=20, TEXT_PIECE=50
    )
    with tempfile.TemporaryDirectory() as folder, small:
        path = Path(folder) / "data.txt"
        path.write_bytes(text.encode("utf-8"))
        whole, log = documents(opened(path))
        with mock.patch.object(files, "PART_BYTES", part):
            cut, cut_log = documents(opened(path))
        assert cut == whole
        assert set(cut_log.bad) == set(log.bad) <= {"empty"}
        # Only pieces of nothing but white space may be lost.
        kept = "".join(document.text for document in whole)
        assert "".join(kept.split()) == "".join(text.removeprefix("\ufeff").split())


@given(
    groups=st.integers(1, 7),
    rows=st.integers(1, 30),
    part=st.integers(1, 5000),
    codec=st.sampled_from(["none", "zstd"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_a_cut_parquet_file_gives_the_rows_of_the_whole(
    groups: int, rows: int, part: int, codec: str, opened: Open
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        texts = [f"row {n} " * (n % 5) for n in range(rows)]
        table = pyarrow.table({"text": texts, "n": list(range(rows))})
        pyarrow.parquet.write_table(table, path, row_group_size=groups, compression=codec)
        whole, log = documents(opened(path))
        with mock.patch.object(files, "PART_BYTES", part):
            reader = opened(path)
            cut, cut_log = documents(reader)
        assert cut == whole
        assert cut_log.bad == log.bad  # the places too: rows are counted from the file's beginning
        assert len({part.content() for part in reader.parts}) == len(reader.parts)


def test_a_text_of_many_blocks_without_any_blank_line_is_cut_between_lines_or_characters(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_text, "TEXT_BLOCK", 100_000)
    for name, text in (("lines", "wörter und mehr\n" * 60_000), ("none", "中" * 400_000)):
        path = tmp_path / f"{name}.txt"
        path.write_text(text)
        monkeypatch.setattr(files, "PART_BYTES", 10**9)
        whole, _ = documents(opened(path))
        monkeypatch.setattr(files, "PART_BYTES", 250_000)
        reader = opened(path)
        cut, log = documents(reader)
        assert len(reader.parts) >= 4
        assert cut == whole
        assert "".join(document.text for document in cut) == text
        assert not log.bad
        if name == "lines":
            assert all(document.text.endswith("\n") for document in cut)


def make_files(folder: Path, sizes: list[int]) -> list[Path]:
    rng = random.Random(7)
    paths = []
    for number, size in enumerate(sizes):
        path = folder / f"{number:03}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"text": f"{number} {rng.random()} " + "x" * size}) + "\n")
        paths.append(path)
    return paths


def test_small_files_are_read_together_in_order(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = make_files(tmp_path, [100] * 50)
    monkeypatch.setattr(files, "PART_BYTES", 1500)
    reader = opened(tmp_path)
    assert 5 <= len(reader.parts) <= 10
    assert all(part.size <= 1500 for part in reader.parts)
    assert [part.number for part in reader.parts] == list(range(len(reader.parts)))
    found, _ = documents(reader)
    assert [document.text.split()[0] for document in found] == [str(n) for n in range(len(paths))]


def test_parts_and_stamps_do_not_depend_on_where_the_folder_lies(tmp_path: Path, opened: Open) -> None:
    stamps = []
    for place in ("here", "there/below"):
        for path in make_files(tmp_path / place, [100, 200, 300]):
            os.utime(path, ns=(1, 10**18))
        reader = opened(tmp_path / place)
        stamps.append((reader.inputs, [(part.stamp, part.content(), part.size) for part in reader.parts]))
    assert stamps[0] == stamps[1]


def changes(path: Path) -> Iterator[tuple[str, bool]]:
    """Changes one at a time, with what becomes of (the stamp, the content)."""
    data = path.read_bytes()
    os.utime(path, ns=(5, 10**18 + 5))
    yield "time", False
    path.write_bytes(data[:-5] + b"~" + data[-4:])
    os.utime(path, ns=(5, 10**18 + 6))
    yield "byte", True
    path.write_bytes(data + b"{}\n")
    yield "size", True


@pytest.mark.parametrize("part", [10**9, 400])
def test_stamps_follow_times_and_contents_follow_bytes(
    tmp_path: Path, part: int, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", part)
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": f"{n} " + "x" * 50}) + "\n" for n in range(30)))
    before = opened(path)
    seen = {part.stamp for part in before.parts}
    contents = [part.content() for part in before.parts]
    for _, changed in changes(path):
        now = opened(path)
        assert now.parts[-1].stamp not in seen
        assert (now.parts[-1].content() != contents[-1]) == changed
        seen |= {part.stamp for part in now.parts}


def test_a_reader_travels_without_its_parts_and_reads_the_one_it_is_given(
    tmp_path: Path, opened: Open
) -> None:
    make_files(tmp_path, [100] * 2000)
    reader = opened(tmp_path)
    sent, part = pickle.loads(pickle.dumps(reader)), pickle.loads(pickle.dumps(reader.parts[0]))
    assert len(pickle.dumps(reader)) < 5000
    assert sent.parts == ()
    assert list(sent.documents(part, ReadLog(), tmp_path)) == documents(reader)[0]


def test_a_part_is_read_until_the_limit_is_passed(tmp_path: Path, opened: Open) -> None:
    make_files(tmp_path, [100] * 20)
    found, _ = documents(opened(tmp_path, limit=1000))
    sizes = [document.size for document in found]
    assert sum(sizes[:-1]) <= 1000 < sum(sizes)  # the one that passes the limit says that it is reached


def test_a_large_parquet_file_that_is_unsound_is_refused(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 10)
    path = tmp_path / "cut.parquet"
    path.write_bytes(b"no parquet at all, but long enough")
    with pytest.raises(UserError, match=r"cut\.parquet: this is not a sound parquet file"):
        opened(path)


def test_places_in_a_range_are_bytes(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 300)
    path = tmp_path / "data.jsonl"
    lines = [b'{"text": "fine %d"}' % n for n in range(40)]
    lines[1] = lines[35] = b'{"text": broken'
    path.write_bytes(b"\n".join(lines) + b"\n")
    _, log = documents(opened(path))
    first, second = log.bad["broken JSON"].first
    assert first == f"{path}:2"
    byte = int(second.removeprefix(f"{path}:byte "))
    assert path.read_bytes()[byte:].startswith(b'{"text": broken')
