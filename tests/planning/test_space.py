"""Disk: against a case worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from flyweight.curriculum import Schedule
from flyweight.planning.storage import disk_space
from flyweight.recipe import Recipe, recipe_from_dict

PARAMETERS = (
    300 * 8 + 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16 + 2 * 8) + 8
)  # embedding, blocks, final norm


def test_disk_of_a_small_case_by_hand(tiny_recipe: Recipe):
    schedule = Schedule.of(tiny_recipe.training)
    disk = disk_space(tiny_recipe, schedule, None)
    checkpoint = 4 * PARAMETERS + 4 * (2 * PARAMETERS + 14)
    assert disk.shards == 2 * 512
    assert disk.checkpoint_bytes == checkpoint
    assert (disk.checkpoints_kept, disk.checkpoints) == (1, checkpoint)  # one at the end, no other
    assert disk.export == 4 * PARAMETERS
    assert disk_space(tiny_recipe, schedule, {"a": 1000, "b": 500}).shards == 2 * 1500


def test_a_moving_average_is_the_weights_once_more_in_each_checkpoint(tiny: dict[str, Any]):
    schedule = Schedule.of(recipe_from_dict(tiny).training)
    before = disk_space(recipe_from_dict(tiny), schedule, None).checkpoint_bytes
    tiny["execution"]["ema_half_life"] = 100
    assert disk_space(recipe_from_dict(tiny), schedule, None).checkpoint_bytes == before + 4 * PARAMETERS


def test_large_vocabularies_take_four_bytes_a_token(tiny: dict[str, Any]):
    tiny["model"]["vocab_size"] = tiny["tokenizer"]["vocab_size"] = 70_000
    recipe = recipe_from_dict(tiny)
    assert disk_space(recipe, Schedule.of(recipe.training), None).shards == 4 * 512


@pytest.mark.parametrize(
    ("execution", "kept", "at_once"),
    [
        ({"checkpoint_every": 64, "keep_checkpoints": 3}, 3, 4),  # and the one that is being written
        ({"checkpoint_every": 64, "keep_checkpoints": 8}, 8, 8),  # no more than are ever written
        ({"checkpoint_every": 256, "keep_checkpoints": 2}, 2, 2),
        ({"checkpoint_every": 64, "keep_checkpoints": 1, "milestones": [100, 300]}, 3, 4),
        ({"milestones": [100, 101, 9999]}, 2, 2),  # two in one step, one after the end
    ],
)
def test_checkpoints_that_are_kept(tiny: dict[str, Any], execution: dict[str, Any], kept: int, at_once: int):
    tiny["execution"] |= execution
    recipe = recipe_from_dict(tiny)
    disk = disk_space(recipe, Schedule.of(recipe.training), None)
    assert disk.checkpoints_kept == kept
    assert disk.checkpoints == at_once * disk.checkpoint_bytes
