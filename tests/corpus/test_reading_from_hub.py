"""A hub source read through the real client from a server that speaks the hub's protocol."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serve_hub

from flyweight.base import UserError
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading import files, hub
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
