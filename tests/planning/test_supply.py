"""Overlaps across a change of sequence length: the expectation against orders that were really drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flyweight.curriculum import Order, Schedule
from flyweight.planning.supply import (
    assumed_bytes_per_token,
    expected_overlaps,
    least_epochs,
    planned_tokens,
    text_needed,
    tokens_by_source,
)
from flyweight.recipe import Recipe, recipe_from_dict

LENGTHS = (16, 48)


def _recipe(tiny: dict[str, Any], seed: int, tokens: int = 9600) -> Recipe:
    """Half of the tokens in short sequences, half in long ones, from one source."""
    half = tokens // 2
    tiny["seed"] = seed
    tiny["sources"] = {"a": {"kind": "builtin", "builtin": "english"}}
    tiny["training"] |= {
        "tokens": tokens,
        "mixture": [{"at": 0, "weights": {"a": 1.0}}],
        "sequence_length": [{"at": 0, "value": LENGTHS[0]}, {"at": half, "value": LENGTHS[1]}],
        "batch_size": [{"at": 0, "value": 6}, {"at": half, "value": 2}],
    }
    return recipe_from_dict(tiny)


def _really(recipe: Recipe, available: int) -> tuple[int, int]:
    """Long sequences that meet a short one of the run, and tokens met again in them."""
    order = Order(recipe, {"a": available})
    seen = np.zeros(available, bool)
    sequences = tokens = 0
    for segment in order.schedule.segments:
        for item in order.sequences(segment.first_sequence, segment.sequences):
            places = np.arange(item.start, item.start + item.length) % available
            if item.length == LENGTHS[0]:
                seen[places] = True
            else:
                tokens += int(seen[places].sum())
                sequences += bool(seen[places].any())
    return sequences, tokens


@pytest.mark.parametrize("available", [8_000, 30_000])
def test_overlaps_are_as_many_as_expected(tiny: dict[str, Any], available: int):
    recipe = _recipe(tiny, 0)
    (overlap,) = expected_overlaps(recipe.training, Schedule.of(recipe.training), {"a": available})
    assert (overlap.source, overlap.clock, overlap.sequence_length) == ("a", 4800, LENGTHS[1])
    drawn = np.array([_really(_recipe(tiny, seed), available) for seed in range(12)])
    sequences, tokens = drawn.mean(axis=0)
    assert overlap.sequences == pytest.approx(sequences, rel=0.1)
    assert overlap.tokens == pytest.approx(tokens, rel=0.1)


def test_where_everything_was_seen_everything_is_met_again(tiny: dict[str, Any]):
    recipe = _recipe(tiny, 0)
    (overlap,) = expected_overlaps(recipe.training, Schedule.of(recipe.training), {"a": 400})
    assert overlap.sequences == pytest.approx(100)
    assert overlap.tokens == pytest.approx(4800)


def test_no_change_of_length_no_overlap(tiny_recipe: Recipe):
    schedule = Schedule.of(tiny_recipe.training)
    assert expected_overlaps(tiny_recipe.training, schedule, {"a": 500, "b": 500}) == []


def test_tokens_that_do_not_divide_are_given_out_whole(tiny: dict[str, Any]):
    weights = {"a": 1 / 3, "b": 2 / 3}
    tiny["training"]["mixture"] = [{"at": 0, "weights": weights}]
    recipe = recipe_from_dict(tiny)
    assert tokens_by_source(recipe.training, Schedule.of(recipe.training)) == {"a": 171, "b": 341}


def test_planned_tokens_of_two_stretches_are_those_of_the_whole(tiny: dict[str, Any]):
    tiny["training"]["sequence_length"] = [{"at": 0, "value": 16}, {"at": 200, "value": 32}]
    recipe = recipe_from_dict(tiny)
    schedule = Schedule.of(recipe.training)
    whole = planned_tokens(recipe.training, schedule, 0, schedule.tokens)
    assert sum(whole.values()) == pytest.approx(schedule.tokens)
    border = schedule.step(3).clock
    parts = [
        planned_tokens(recipe.training, schedule, *ends) for ends in ((0, border), (border, schedule.tokens))
    ]
    assert sum(parts[0].values()) == pytest.approx(border)
    assert {name: parts[0][name] + parts[1][name] for name in whole} == pytest.approx(whole)
    assert parts[0] == pytest.approx({"a": 0.75 * border, "b": 0.25 * border})


@pytest.mark.parametrize(
    ("entries", "size"), [(2, 1.0), (4096, 3.1), (32_768, 4.1), (65_280, 4.2), (128_815, 4.2)]
)
def test_bytes_of_a_token_grow_with_the_vocabulary(entries: int, size: float):
    assert assumed_bytes_per_token(entries) == pytest.approx(size)


def test_text_that_is_needed_and_what_limits_allow(tiny: dict[str, Any]):
    tiny["model"]["vocab_size"] = tiny["tokenizer"]["vocab_size"] = 4096
    tiny["sources"]["a"]["limit"] = "100"
    recipe = recipe_from_dict(tiny)
    drawn = {"a": 1000, "b": 500}
    assert text_needed(recipe, drawn) == {"a": 3100, "b": 1550}
    assert least_epochs(recipe, drawn) == {"a": 31.0}  # b has no limit: nobody knows
