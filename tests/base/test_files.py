"""Files and folders that are either wholly there or not there at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from flyweight.base import UserError, atomic_folder, atomic_write, derive_seed, read_json, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def fail():
        with atomic_folder(tmp_path / "a") as folder:
            (folder / "x").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == []
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("one")
        assert names(tmp_path) != ["a"]
    assert (tmp_path / "a" / "x").read_text() == "one"


def test_an_older_folder_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "a") as folder:
            (folder / "x").write_text(text)
    assert (tmp_path / "a" / "x").read_text() == "two"
    renames, original = [], Path.rename

    def rename(self, target):
        renames.append(self)
        if len(renames) == 2:  # between moving the old one away and the new one in
            raise OSError(errno.EIO, "broken")
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="broken"), atomic_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("three")
    monkeypatch.undo()
    assert (tmp_path / "a" / "x").read_text() == "two"
    assert names(tmp_path) == ["a"]


def test_a_kill_between_the_renames_is_mended_by_the_next_replacement(tmp_path):
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("one")
    (tmp_path / "a").rename(tmp_path / ".a.old.tmp")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "a"):
        raise RuntimeError
    assert (tmp_path / "a" / "x").read_text() == "one"


def test_the_umask_decides_who_may_read(tmp_path):
    before = os.umask(0o077)
    try:
        with atomic_folder(tmp_path / "a") as folder:
            (folder / "x").write_text("private")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "x").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700


def test_a_full_disk_and_a_place_that_cannot_be_written_are_sentences(tmp_path):
    with pytest.raises(UserError, match="the disk is full"), atomic_write(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file" / "x.json", {})
    with pytest.raises(UserError, match="cannot be written"), atomic_folder(tmp_path / "file" / "a"):
        pass
    assert names(tmp_path) == ["file"]


def test_json_errors_name_the_file(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"x\.json: this plan is not valid JSON"):
        read_json(tmp_path / "x.json", "plan")
    with pytest.raises(UserError, match="no such plan"):
        read_json(tmp_path / "y.json", "plan")


def test_seeds_of_other_names_are_other_seeds():
    seeds = {derive_seed(1, *name) for name in (("a",), ("b",), ("a", "b"), ("ab",), ("a", 1), ())}
    assert len(seeds) == 6
    assert derive_seed(1, "a") == 8915294002830711430  # the same on every machine and Python
