"""A hub source read through the real client from a server that speaks the hub's protocol."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hub_server import Hub, serve_hub

from flyweight.base import UserError
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading import compressed, files, hub, hub_stream
from flyweight.corpus.reading.source import SourceReader, open_source
from flyweight.recipe import Recipe

Open = Callable[..., SourceReader]


def lines(first: int, count: int) -> bytes:
    return b"".join(
        json.dumps({"text": f"document {n}", "score": n % 3}).encode() + b"\n"
        for n in range(first, first + count)
    )


FILES = {
    "data/train-1.jsonl": lines(0, 10),
    "data/train-2.jsonl.gz": gzip.compress(lines(10, 10)),
    "data/train-10.jsonl": lines(20, 10),
    "data/test-1.jsonl": lines(100, 5),
    "notes/readme.pdf": b"%PDF",
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve_hub() as found:
        found.add("org/set", FILES)
        for name in ("resolve", "downloaded"):
            monkeypatch.setattr(hub, name, functools.partial(getattr(hub, name), endpoint=found.endpoint))
        remote = functools.partial(hub_stream.RemoteFile, endpoint=found.endpoint)
        monkeypatch.setattr(hub_stream, "RemoteFile", remote)
        monkeypatch.setattr(hub_stream, "BLOCK", 1000)
        monkeypatch.setattr(hub, "WAITS", (0.0,))
        monkeypatch.setattr(hub, "DOWNLOAD_WAITS", (0.0,))
        yield found


@pytest.fixture
def opened(make_recipe: Callable[..., Recipe]) -> Open:
    def make(**settings: Any) -> SourceReader:
        recipe = make_recipe({"x": {"kind": "hub", "dataset": "org/set", **settings}})
        return open_source("x", recipe.sources["x"], recipe)

    return make


def test_a_hub_source_is_read_part_by_part_and_leaves_nothing_behind(
    server: Hub, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", len(FILES["data/train-1.jsonl"]))
    reader = opened(filter="score > 0")
    assert len(reader.parts) == 3
    assert [part.size for part in reader.parts] == [
        len(FILES[f"data/{name}"]) for name in ("train-1.jsonl", "train-2.jsonl.gz", "train-10.jsonl")
    ]
    log = ReadLog()
    found = [document.text for part in reader.parts for document in reader.documents(part, log, tmp_path)]
    assert found == [f"document {n}" for n in range(30) if n % 3]
    assert log.filtered == 10
    assert log.fraction == 1.0
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert reader.inputs.startswith("org/set at ")


def test_small_files_share_a_part_whose_hash_needs_no_download(server: Hub, opened: Open) -> None:
    (part,) = opened().parts
    again = opened().parts[0]
    assert (part.stamp, part.content()) == (again.stamp, again.content())
    old = part.content()
    server.add("org/set", {**FILES, "data/train-1.jsonl": lines(0, 9) + lines(50, 1)})
    (part,) = opened().parts
    assert part.content() != old
    server.add("org/set", {**FILES, "notes/readme.pdf": b"%PDF 2"})
    (part,) = opened().parts
    assert part.content() == old, "the files that are read are the same, at another commit"
    assert part.stamp != again.stamp
    assert not server.requests("/cdn/")


def test_a_file_whose_reading_stops_early_is_removed_too(server: Hub, opened: Open, tmp_path: Path) -> None:
    reader = opened(limit=40)
    found = list(reader.documents(reader.parts[0], ReadLog(), tmp_path))
    assert len(found) == 5  # the limit is passed by the last one
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "org/none"}, "org/none"),
        ({"split": "none"}, "no split 'none'"),
        ({"revision": "none"}, "none"),
        ({"files": ["*/*.pdf"]}, "pdf"),
    ],
)
def test_what_the_hub_does_not_have_is_one_sentence(
    server: Hub, opened: Open, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        opened(**settings)
    assert "\n" not in str(error.value)


def parquet(data: bytes) -> bytes:
    rows = [json.loads(line) for line in data.splitlines()]
    sink = io.BytesIO()
    table = pyarrow.Table.from_pylist([row | {"embedding": list(range(100))} for row in rows])
    pyarrow.parquet.write_table(table, sink, row_group_size=50, compression="none", use_dictionary=False)
    return sink.getvalue()


PACKED = {
    "jsonl": lambda data: data,
    "jsonl.gz": lambda data: gzip.compress(data, 0),
    "jsonl.zst": lambda data: zstandard.ZstdCompressor(1).compress(data),
    "parquet": parquet,
}


def texts(reader: SourceReader, scratch: Path) -> list[str]:
    (part,) = reader.parts
    return [document.text for document in reader.documents(part, ReadLog(), scratch)]


def received(server: Hub) -> int:
    ranges = [headers["Range"] for headers in server.requests("/cdn/") if "Range" in headers]
    edges = [found.removeprefix("bytes=").split("-") for found in ranges]
    return sum(int(last) - int(first) + 1 for first, last in edges)


@pytest.mark.parametrize("suffix", PACKED)
def test_of_a_file_beyond_the_limit_only_the_beginning_is_received(
    server: Hub, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    for name in ("CHUNK", "ZSTD_CHUNK"):
        monkeypatch.setattr(compressed, name, 1000)
    many = b"".join(
        json.dumps({"text": hashlib.sha256(str(n).encode()).hexdigest() * 2}).encode() + b"\n"
        for n in range(20_000)
    )
    data = PACKED[suffix](many)
    server.add("org/large", {f"data/train.{suffix}": data})
    found = texts(opened(dataset="org/large", limit=1000), tmp_path)
    assert found == [json.loads(line)["text"] for line in many.splitlines()[:8]]
    assert received(server) < len(data) / 2
    assert not list(tmp_path.rglob("*"))


def test_a_server_without_ranges_sends_the_file(server: Hub, opened: Open, tmp_path: Path) -> None:
    server.ranges = False
    server.add("org/large", {"data/train.jsonl": lines(0, 500)})
    found = texts(opened(dataset="org/large", limit=100), tmp_path)
    assert found == [f"document {n}" for n in range(len(found))]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_range_that_breaks_off_or_is_refused_in_passing_is_asked_for_again(
    server: Hub, opened: Open, tmp_path: Path
) -> None:
    server.add("org/large", {"data/train.jsonl": lines(0, 500)})
    server.cuts["data/train.jsonl"] = [1, 10]  # the first is the whole of what asks for ranges
    server.statuses["/cdn/"] = [503]
    found = texts(opened(dataset="org/large", limit=1500), tmp_path)
    assert found == [f"document {n}" for n in range(len(found))]
    assert len(found) > 100


def test_a_range_that_stays_broken_is_one_sentence(server: Hub, opened: Open, tmp_path: Path) -> None:
    server.add("org/large", {"data/train.jsonl": lines(0, 500)})
    reader = opened(dataset="org/large", limit=1500)
    server.cuts["data/train.jsonl"] = [1, *[10] * 9]
    with pytest.raises(UserError, match=r"org/large/data/train.jsonl: the hub at .* does not answer"):
        texts(reader, tmp_path)
