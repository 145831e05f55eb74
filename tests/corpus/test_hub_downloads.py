"""One file of the hub at a time: resumed, checked, removed."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, serve_hub

from flyweight.base import UserError
from flyweight.corpus.reading import hub as reading
from flyweight.corpus.reading.hub import download, downloaded

LARGE = random.Random(0).randbytes(400_000)
SMALL = b'{"text": "small"}\n'


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_testers")
    monkeypatch.setattr(reading, "WAITS", (0.0,))
    monkeypatch.setattr(reading, "DOWNLOAD_WAITS", (0.0, 0.0))


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as server:
        server.add(
            "org/set", {"data/large.bin": LARGE, "data/small.jsonl": SMALL, "gone.bin": LARGE}, "c" * 40
        )
        yield server


def get(hub: Hub, path: str, scratch: Path) -> Path:
    return download("org/set", "c" * 40, path, scratch, endpoint=hub.endpoint)


def sent(hub: Hub) -> list[str | None]:
    """The Range of each request for the large file, in order."""
    return [headers.get("Range") for headers in hub.requests("/cdn/org/set/")]


def incomplete(scratch: Path) -> list[Path]:
    return list(scratch.rglob("*.incomplete"))


@pytest.mark.parametrize(("path", "data"), [("data/large.bin", LARGE), ("data/small.jsonl", SMALL)])
def test_a_file_arrives_whole(hub, tmp_path, path, data):
    file = get(hub, path, tmp_path)
    assert file.is_relative_to(tmp_path)
    assert file.name == Path(path).name, "its ending tells how to read it"
    assert file.read_bytes() == data
    assert incomplete(tmp_path) == []


def test_a_broken_download_goes_on_where_it_broke(hub, tmp_path):
    hub.cuts["data/large.bin"] = [150_000]
    assert get(hub, "data/large.bin", tmp_path).read_bytes() == LARGE
    assert sent(hub) == [None, "bytes=150000-"]


def test_a_connection_that_breaks_many_times(hub, tmp_path):
    hub.cuts["data/large.bin"] = [20_000] * 12
    assert get(hub, "data/large.bin", tmp_path).read_bytes() == LARGE
    assert sent(hub) == [None, *(f"bytes={20_000 * number}-" for number in range(1, 13))]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(hub, tmp_path):
    hub.cuts["data/large.bin"] = [100_000, *[0] * 10]
    with pytest.raises(UserError, match=r"does not answer .* run the same command again"):
        get(hub, "data/large.bin", tmp_path)
    assert [part.stat().st_size for part in incomplete(tmp_path)] == [100_000]
    hub.cuts.clear()
    hub.asked.clear()
    assert get(hub, "data/large.bin", tmp_path).read_bytes() == LARGE
    assert sent(hub) == ["bytes=100000-"]


def test_a_server_that_cannot_go_on_starts_over(hub, tmp_path):
    hub.ranges = False
    hub.cuts["data/large.bin"] = [150_000]
    assert get(hub, "data/large.bin", tmp_path).read_bytes() == LARGE
    assert sent(hub) == [None, "bytes=150000-"]


@pytest.mark.parametrize("spoilt", [b"z" * 1000, b"z" * len(LARGE), b"z" * (len(LARGE) + 5)])
def test_a_spoilt_part_is_thrown_away(hub, tmp_path, spoilt):
    part = tmp_path / "org--set" / ("c" * 40) / "data" / "large.bin.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(spoilt)
    assert get(hub, "data/large.bin", tmp_path).read_bytes() == LARGE


@pytest.mark.parametrize(("path", "data"), [("data/large.bin", LARGE), ("data/small.jsonl", SMALL)])
def test_other_bytes_than_promised_are_refused(hub, tmp_path, path, data):
    hub.wrong[path] = bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(
        UserError, match=r"arrived twice with other bytes than the hub promises for commit cccc"
    ):
        get(hub, path, tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_file_that_is_there_is_not_fetched_again(hub, tmp_path):
    get(hub, "data/large.bin", tmp_path)
    get(hub, "data/large.bin", tmp_path)
    assert len(sent(hub)) == 1


def test_the_context_removes_what_was_read_and_keeps_what_broke(hub, tmp_path):
    with downloaded("org/set", "c" * 40, "data/large.bin", tmp_path, endpoint=hub.endpoint) as file:
        assert file.read_bytes() == LARGE
    assert not file.exists()
    with (
        pytest.raises(RuntimeError),
        downloaded("org/set", "c" * 40, "data/small.jsonl", tmp_path, endpoint=hub.endpoint) as file,
    ):
        raise RuntimeError("the reader fails")
    assert not file.exists()
    hub.cuts["data/large.bin"] = [1000, *[0] * 10]
    broken = downloaded("org/set", "c" * 40, "data/large.bin", tmp_path, endpoint=hub.endpoint)
    with pytest.raises(UserError), broken:
        pass
    assert len(incomplete(tmp_path)) == 1


def test_a_passing_failure_in_mid_file(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    hub.cuts["data/large.bin"] = [150_000]
    hub.statuses["/resolve/"] = [503]
    hub.statuses["/cdn/"] = [500]
    assert get(hub, "data/large.bin", tmp_path).read_bytes() == LARGE


def test_too_little_room_is_noticed_before_a_byte_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1234}))
    with pytest.raises(UserError, match=r"400,000 bytes more are needed .* 1,234 are free"):
        get(hub, "data/large.bin", tmp_path)
    assert sent(hub) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a device that is always full")
def test_a_disk_that_fills_up(hub, tmp_path):
    part = tmp_path / "org--set" / ("c" * 40) / "data" / "large.bin.incomplete"
    part.parent.mkdir(parents=True)
    part.symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"the disk is full.* run the same command again"):
        get(hub, "data/large.bin", tmp_path)


def test_a_name_that_leads_out_of_the_scratch_folder(hub, tmp_path):
    with pytest.raises(UserError, match=r"leads out of the dataset"):
        get(hub, "../../outside.jsonl", tmp_path / "scratch")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there(hub, tmp_path):
    with pytest.raises(UserError, match=r"org/set/data/none\.bin: org/set has no such file at revision cccc"):
        get(hub, "data/none.bin", tmp_path)
