from __future__ import annotations

import gzip
import io
import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import orjson
import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.documents import FIRST_PLACES, Document, ReadLog
from flyweight.corpus.reading import files, json_lines, plain_text, tables
from flyweight.corpus.reading.conversion import Conversion
from flyweight.corpus.reading.files import file_inputs, list_files
from flyweight.corpus.reading.records import read_records

RECORDS = [
    b'{"text": "one"}',
    b'{"text": "two", "other": 1}',
    b'{"content": "three"}',
    b'{"text": 4}',
    b'{"text": null}',
    b'{"text": "five" ',
    b'["text"]',
    b'{"text": "\xff"}',
    b'{"text": "\\ud800"}',
    b'{"text": "  "}',
    b"",
    '{"text": "twelve é"}'.encode(),
    b"null",
    b'\xef\xbb\xbf{"text": "fourteen", "score": NaN, "other": "\\ud800"}',
]
LINES = b"\n".join(RECORDS) + b"\n"


def read(path: Path, field: str = "text") -> tuple[list[Document], ReadLog]:
    found = list_files(path, "source 'x'")
    parts, _ = file_inputs(found, path if path.is_dir() else path.parent)
    log = ReadLog()
    conversion = Conversion("x", text_field=field)
    return [document for part in parts for document in part.documents(conversion, log, path)], log


def texts(path: Path) -> list[str]:
    return [document.text for document in read(path)[0]]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_bad_json_records_are_counted_located_and_skipped(tmp_path: Path, suffix: str) -> None:
    pack = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstandard.compress}[suffix]
    path = tmp_path / f"data{suffix}"
    path.write_bytes(pack(LINES))
    documents, log = read(path)
    assert [document.text for document in documents] == ["one", "two", "twelve é", "fourteen"]
    places = {reason: [place.rsplit(":", 1)[1] for place in bad.first] for reason, bad in log.bad.items()}
    assert places == {
        "no text field": ["3"],
        "not a JSON object": ["7", "13"],
        "text is not a string": ["4", "5"],
        "broken JSON": ["6"],
        "invalid UTF-8": ["8", "9"],
        "empty": ["10", "11"],
    }
    assert all(place.startswith(f"{path}:") for bad in log.bad.values() for place in bad.first)
    assert log.fields_found == ("content",)
    assert log.fraction == 1.0


def test_only_the_first_places_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"{\n" * 100)
    _, log = read(path)
    assert log.bad["broken JSON"].count == 100
    assert len(log.bad["broken JSON"].first) == FIRST_PLACES


def test_parquet_is_read_by_row_groups_with_its_bad_rows_located(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    column = pyarrow.array(["one", None, "", "two", "three"])
    pyarrow.parquet.write_table(pyarrow.table({"text": column, "n": [1, 2, 3, 4, 5]}), path, row_group_size=2)
    documents, log = read(path)
    assert [document.text for document in documents] == ["one", "two", "three"]
    assert log.bad["text is not a string"].first == [f"{path}:row 2"]
    assert log.bad["empty"].first == [f"{path}:row 3"]
    documents, log = read(path, field="n")
    assert log.bad["text is not a string"].count == 5
    documents, log = read(path, field="body")
    assert not documents
    assert log.bad["no text field"].count == 5
    assert log.fields_found == ("text", "n")


def test_parquet_with_invalid_utf8_loses_only_that_row(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    broken = pyarrow.array([b"one", b"\xff\xfe", b"two"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": broken}), path)
    documents, log = read(path)
    assert [document.text for document in documents] == ["one", "two"]
    assert log.bad["invalid UTF-8"].first == [f"{path}:row 2"]


def test_several_zstd_frames_and_skippable_ones_are_one_text(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.zst"
    skippable = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    frames = [zstandard.compress(json.dumps({"text": f"t{n}"}).encode() + b"\n") for n in range(50)]
    path.write_bytes(skippable + skippable.join(frames))
    assert texts(path) == [f"t{n}" for n in range(50)]


def test_a_zstd_stream_without_a_content_size_and_longer_than_a_chunk(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.zst"
    expected = [os.urandom(3000).hex() for _ in range(200)]
    with zstandard.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in expected)
    assert path.stat().st_size > 2 * (1 << 18)
    assert texts(path) == expected


@pytest.mark.parametrize(("suffix", "kind"), [(".jsonl.gz", "gzip"), (".jsonl.zst", "zstd")])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_compressed_file_that_ends_early_is_an_error_that_says_so(
    tmp_path: Path, suffix: str, kind: str, share: float
) -> None:
    lines = b"".join(json.dumps({"text": os.urandom(50).hex()}).encode() + b"\n" for _ in range(2000))
    data = gzip.compress(lines) if kind == "gzip" else zstandard.compress(lines)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match=rf"{path}: this {kind} file ends early"):
        read(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.jsonl.gz", "not a sound gzip"), ("a.jsonl.zst", "not a sound zstd"), ("a.parquet", "sound parquet")],
)
def test_a_file_of_another_kind_is_an_error_that_names_it(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"this is plain text, whatever the name says\n" * 10)
    with pytest.raises(UserError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_a_truncated_parquet_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["one"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cut\.parquet"):
        read(path)


def test_a_file_that_vanished_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl: this file cannot be read"):
        list(read_records([tmp_path / "gone.jsonl"], ReadLog()))


def test_places_without_supported_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source 'x': .*nowhere does not exist"):
        list_files(tmp_path / "nowhere", "source 'x'")
    with pytest.raises(UserError, match="is empty"):
        list_files(tmp_path, "source 'x'")
    (tmp_path / "book.pdf").write_bytes(b"%PDF")
    with pytest.raises(UserError, match="has 1 files, none of a kind"):
        list_files(tmp_path, "source 'x'")
    with pytest.raises(UserError, match=r"book\.pdf is not of a kind"):
        list_files(tmp_path / "book.pdf", "source 'x'")


def test_a_folder_is_read_to_the_bottom_sorted_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.txt", "a.MD", "b/c/1.txt", ".hidden.txt", ".git/x.txt", "b/notes.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    assert texts(tmp_path) == ["text of a.MD", "text of b/2.txt", "text of b/c/1.txt"]


def test_a_long_text_is_cut_at_blank_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    paragraphs = [f"Paragraph {n}. " + "words and more words\n" * 20 for n in range(1000)]
    whole = "\n".join(paragraphs)
    path.write_text(whole)
    for n in range(1, files.FEW_FILES):
        (tmp_path / f"note {n}.txt").write_text("a note\n")
    pieces = texts(tmp_path)[: -(files.FEW_FILES - 1)]
    assert "".join(pieces) == whole
    assert len(pieces) == pytest.approx(len(whole) / plain_text.TEXT_PIECE, rel=0.1)
    assert all(piece.endswith("\n\n") for piece in pieces[:-1])
    assert all(len(piece) < plain_text.TEXT_PIECE + 1000 for piece in pieces)
    # Alone, the same book is cut finer, so that it can be split.
    alone = texts(path)
    assert "".join(alone) == whole
    assert len(alone) == pytest.approx(plain_text.FEWEST_PIECES, abs=2)


def test_a_short_text_is_one_document_whatever_its_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "note.md"
    path.write_bytes("\ufeff# Title\n\ntext\n\n\nmore\n".encode())
    assert texts(path) == ["# Title\n\ntext\n\n\nmore\n"]
    path.write_bytes(b"")
    assert read(path)[1].bad["empty"].count == 1


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=40))
def test_text_without_any_line_end_is_cut_between_characters(unit: str) -> None:
    whole = (unit * (3 * plain_text.LONGEST_WITHOUT_BLANK // len(unit.encode()) + 1)).encode()
    stream = io.BufferedReader(io.BytesIO(whole))  # pyright: ignore[reportArgumentType]
    pieces = list(plain_text.pieces(stream, len(whole), plain_text.TEXT_PIECE))
    assert b"".join(pieces) == whole
    assert len(pieces) >= 3
    for piece in pieces:
        piece.decode("utf-8")


def test_bad_bytes_in_a_text_are_located_by_line(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    good = "a fine line of text\n" * 4000 + "\n"
    path.write_bytes(good.encode() + b"next\nbad \xe9 here\n\n" + good.encode())
    documents, log = read(path)
    assert documents[0].text == good
    assert log.bad["invalid UTF-8"].first == [f"{path}:4003"]


def test_a_line_beyond_memory_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 64)
    path = tmp_path / "data.jsonl"
    lines = [json.dumps({"text": text}) for text in ("x" * 500, "fine", "y" * 100, "z" * 64)]
    for end in ("\n", ""):
        path.write_text("\n".join(lines) + end)
        documents, log = read(path)
        assert [document.text for document in documents] == ["fine"]
        assert log.skipped == 3
        assert next(iter(log.bad.values())).first == [f"{path}:1", f"{path}:3", f"{path}:4"]


def test_a_document_of_100_megabytes_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.zst"
    text = "word \n" * (100_000_000 // 6)
    lines = orjson.dumps({"text": text}) + b"\n" + orjson.dumps({"text": "small"}) + b"\n"
    path.write_bytes(zstandard.compress(lines, 1))
    documents, log = read(path)
    assert [len(document.text) for document in documents] == [len(text), 5]
    assert documents[0].text == text
    assert not log.bad


def test_only_the_asked_columns_of_a_parquet_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    other = pyarrow.array([b"\xff", b"\xff"], pyarrow.binary()).view(
        pyarrow.string()
    )  # fails when it is read
    nested = pyarrow.array([{"body": "one", "n": 1}, {"body": "two", "n": 2}])
    pyarrow.parquet.write_table(pyarrow.table({"text": other, "a": nested}), path)
    documents, log = read(path, field="a.body")
    assert [document.text for document in documents] == ["one", "two"]
    assert not log.bad
    documents, log = read(path, field="a.title")
    assert not documents
    assert log.bad["no text field"].count == 2


def test_large_rows_of_parquet_are_read_in_small_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.parquet"
    rows = [f"{n} " + "x" * 1000 for n in range(100)]
    pyarrow.parquet.write_table(
        pyarrow.table({"text": rows, "n": list(range(100))}), path, compression="none"
    )
    sizes = []
    batches = pyarrow.parquet.ParquetFile.iter_batches

    def iter_batches(self, batch_size, **options):
        sizes.append(batch_size)
        return batches(self, batch_size, **options)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", iter_batches)
    monkeypatch.setattr(tables, "BATCH_BYTES", 10_000)
    assert texts(path) == rows
    assert 5 <= sizes[0] <= 10


def records(path: Path) -> tuple[list[dict], ReadLog]:
    log = ReadLog()
    return [record for record, _ in read_records([path], log)], log


RECORDS_OF_JSON = [{"text": "é one", "n": 1}, {"text": "two", "n": 2}]


@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".json.zst"])
@pytest.mark.parametrize(
    "content",
    [
        json.dumps(RECORDS_OF_JSON),
        json.dumps(RECORDS_OF_JSON, indent=2, ensure_ascii=False),
        "\ufeff" + json.dumps(RECORDS_OF_JSON),
        "\n".join(json.dumps(record) for record in RECORDS_OF_JSON),
        "\n" + "".join(json.dumps(record) + "\n" for record in RECORDS_OF_JSON),
        json.dumps({"canary": "x", "examples": RECORDS_OF_JSON}),
        json.dumps({"canary": "x", "examples": RECORDS_OF_JSON}, indent=1),
    ],
    ids=[
        "array",
        "indented",
        "byte-order mark",
        "lines",
        "lines after a blank",
        "in an object",
        "indented object",
    ],
)
def test_a_json_file_is_an_array_lines_or_an_object_around_records(
    tmp_path: Path, suffix: str, content: str
) -> None:
    pack = {".json": bytes, ".json.gz": gzip.compress, ".json.zst": zstandard.compress}[suffix]
    path = tmp_path / f"data{suffix}"
    path.write_bytes(pack(content.encode()))
    found, log = records(path)
    assert found == RECORDS_OF_JSON
    assert log.skipped == content.startswith("\n")
    assert texts(path) == ["é one", "two"]


def test_a_json_file_of_one_record_is_that_record(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"text": "only", "tags": ["a"]}, indent=1))
    assert records(path)[0] == [{"text": "only", "tags": ["a"]}]


@pytest.mark.parametrize(
    "content", ['[{"text": "a"},', "{", "12", '{"a": \n 1} x', '"text"', '[{"a":"\xff"}]']
)
def test_an_unsound_json_file_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"data\.json: (this is not sound JSON|expected an array)"):
        records(path)


def test_a_json_value_beyond_memory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 64)
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"text": "x" * 50}] * 10, indent=1))
    with pytest.raises(UserError, match=r"data\.json: .*more than 64 bytes.*JSON Lines"):
        records(path)


def test_records_of_text_files_are_their_pieces_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "note.md"
    path.write_text("a note\n")
    assert list(read_records([path], ReadLog())) == [({"text": "a note\n"}, f"{path}:1")]


def test_the_share_that_was_read_rises_to_one(tmp_path: Path) -> None:
    for number in range(3):
        lines = b"".join(json.dumps({"text": os.urandom(9000).hex()}).encode() + b"\n" for _ in range(200))
        (tmp_path / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines))
    log, shares = ReadLog(), []
    for _ in read_records(list_files(tmp_path, "x"), log):
        shares.append(log.fraction)
    assert shares == sorted(shares)
    assert len(set(shares)) >= 6
    assert log.fraction == 1.0


def test_a_row_group_of_any_size_takes_little_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(97, 123, 10_000, dtype=np.uint8).tobytes().decode() for _ in range(15_000)]
    table = pyarrow.table({"text": texts})
    pyarrow.parquet.write_table(table, tmp_path / "large.parquet", use_dictionary=False)
    tracemalloc.start()  # the file's bytes come through Python
    try:
        count = sum(
            len(record["text"]) for record, _ in read_records([tmp_path / "large.parquet"], ReadLog())
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 150_000_000
    assert peak < 60_000_000  # of 150 MB in one row group
