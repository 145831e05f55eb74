"""From where a run starts that was killed before its first checkpoint, and by which names its origin goes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from test_run import STEP, changed, run

from flyweight.base import UserError
from flyweight.inference import list_checkpoints
from flyweight.recipe import Recipe
from flyweight.training.folder import open_run


@pytest.fixture(scope="module")
def every_step(recipe) -> Recipe:
    return changed(recipe, execution={"checkpoint_every": STEP, "keep_checkpoints": 99})


@pytest.fixture(scope="module")
def old(every_step, corpus, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("origin") / "old"
    run(every_step, corpus, folder, stop_after=3 * STEP)
    return folder


def begins(*arguments) -> int:
    """At which clock the run would start or go on."""
    state = open_run(*arguments).state
    assert state is not None
    return state.clock


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("limit", ["", f"@{9 * STEP}"])
def test_it_starts_from_the_same_checkpoint_when_the_other_run_has_gone_on(
    every_step, corpus, old, tmp_path, limit, again
):
    """Whether the command names it again or not; the folder was opened once, and nothing was saved in it."""
    shutil.copytree(old, tmp_path / "old")
    given, other = f"{tmp_path / 'old'}{limit}", changed(every_step, training={"weight_decay": 0.3})
    new = tmp_path / "new"
    new.mkdir()
    assert begins(new, other, corpus, given) == 3 * STEP
    before = json.loads((new / "origin.json").read_text())
    run(every_step, corpus, tmp_path / "old", stop_after=5 * STEP)
    assert begins(new, other, corpus, given if again else None) == 3 * STEP
    assert json.loads((new / "origin.json").read_text()) == before
    # Another place is another start.
    assert begins(new, other, corpus, f"{tmp_path / 'old'}@{4 * STEP}") == 4 * STEP
    shutil.rmtree(dict(list_checkpoints(tmp_path / "old"))[4 * STEP])
    with pytest.raises(UserError, match=r"512 tokens, from which .* started, is gone"):
        open_run(new, other, corpus)


def test_an_origin_goes_by_any_name_of_its_folder(every_step, corpus, old, tmp_path, monkeypatch):
    other, new = changed(every_step, training={"weight_decay": 0.3}), tmp_path / "new"
    run(other, corpus, new, start_from=str(old), stop_after=4 * STEP)
    monkeypatch.chdir(old.parent)
    (tmp_path / "link").symlink_to(old)
    for name in (f"{old}{os.sep}", "old", "./old/", str(tmp_path / "link")):
        assert begins(new, other, corpus, name) == 4 * STEP
    with pytest.raises(UserError, match="did not start from"):
        open_run(new, other, corpus, str(tmp_path))
