"""Names that stand in files lead nowhere else, and nothing is written through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError, atomic_write, exclusive, leads_inside, open_own, path_inside, write_json
from flyweight.events import EventWriter, Notice, read_events

OUT = (
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "/etc/passwd",
    "//x",
    "a//b",
    "./a",
    "a/.",
    "a\0b",
    None,
    3,
    ["a"],
    b"a",
)
IN = ("a", "a.json", "sources/web/train-00000.tokens", "..a", "a..", "...", "a b", "日本", ".hidden", "a\\b")


@pytest.mark.parametrize("name", OUT, ids=repr)
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: object) -> None:
    assert not leads_inside(name)
    with pytest.raises(UserError, match=r"index\.json: it names the file .* stays within"):
        path_inside(tmp_path, name, tmp_path / "index.json")


@pytest.mark.parametrize("name", IN)
def test_an_ordinary_name_is_taken(tmp_path: Path, name: str) -> None:
    assert path_inside(tmp_path, name, tmp_path / "index.json") == tmp_path / name


PIECES = st.sampled_from(["..", ".", "", "/", "a", "b.c", "~", "\0", "\\", "*", "-", "a b", "é"])


@given(st.lists(PIECES | st.text(max_size=3), max_size=6), st.sampled_from(["/", ""]))
def test_what_is_taken_lies_inside(pieces: list[str], between: str) -> None:
    name = between.join(pieces)
    if leads_inside(name):
        inside = os.path.normpath(os.path.join("/folder", name))
        assert inside.startswith("/folder/")
        assert inside == f"/folder/{name}"  # and no other name means the same file


def test_a_lock_empties_nothing_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(UserError, match="this is a link"), exclusive(tmp_path / ".lock", "busy"):
        raise AssertionError("the lock was taken")
    assert precious.read_text() == "years of work"


def test_a_lock_is_one_all_the_same(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path / ".lock", "busy"):  # noqa: SIM117 (the second one is tried while the first is held)
            with pytest.raises(UserError, match="busy"), exclusive(tmp_path / ".lock", "busy"):
                pass


def test_a_record_is_not_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    (tmp_path / "events.jsonl").symlink_to(precious)
    with pytest.raises(UserError, match=r"events\.jsonl: this is a link"):
        EventWriter(tmp_path, "a1")
    assert precious.read_text() == "years of work"


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"kind": "noti')
    writer = EventWriter(tmp_path, "a1")
    writer.write(Notice("hello"))
    writer.close()
    assert [event["message"] for event in read_events(tmp_path)] == ["hello"]


def test_a_link_laid_where_a_file_is_being_written_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    (tmp_path / f".state.json.{os.getpid()}.tmp").symlink_to(precious)
    write_json(tmp_path / "state.json", {"clock": 1})
    assert precious.read_text() == "years of work"
    assert not (tmp_path / "state.json").is_symlink()


def test_a_link_that_is_replaced_leaves_what_it_led_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("years of work")
    (tmp_path / "plan.json").symlink_to(precious)
    with atomic_write(tmp_path / "plan.json") as file:
        file.write("{}")
    assert precious.read_text() == "years of work"
    assert (tmp_path / "plan.json").read_text() == "{}"


def test_a_file_of_our_own_is_made(tmp_path: Path) -> None:
    descriptor = open_own(tmp_path / "new", os.O_RDWR)
    os.close(descriptor)
    assert (tmp_path / "new").is_file()
