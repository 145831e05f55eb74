"""The order of the data: no window twice in an epoch, seek equals walk, any world size the same."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.curriculum import ROW, KeyedPermutation, Order, OrderState, read_batch
from flyweight.recipe import Recipe, recipe_from_dict


def recipe(batch=None, length=None, tokens=60_000, weights=None, seed=0) -> Recipe:
    weights = weights or {"a": 0.5, "b": 0.3, "c": 0.2}
    return recipe_from_dict(
        {
            "name": "order",
            "seed": seed,
            "model": {
                "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
                "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32,
                "max_position_embeddings": 64,
            },
            "tokenizer": {"vocab_size": 512},
            "sources": {name: {"kind": "builtin", "builtin": "english"} for name in weights},
            "training": {
                "tokens": tokens,
                "batch_size": batch or 6,
                "sequence_length": length or 16,
                "mixture": [{"at": 0, "weights": weights}],
                "learning_rate": 1e-3,
            },
        }
    )  # fmt: skip


SIZES = {"a": 5_003, "b": 1_024, "c": 17_111}


@settings(deadline=None)  # a loaded machine is no mistake
@given(st.integers(1, 5000), st.integers(0, 2**31), st.text(max_size=5))
def test_keyed_permutation_is_a_permutation(size, seed, name):
    permutation = KeyedPermutation(size, seed, name)
    assert sorted(permutation(i) for i in range(size)) == list(range(size))


def test_keyed_permutations_look_random():
    """Neighbours are not kept, positions are spread evenly, different keys give different orders."""
    size = 1 << 13
    first = np.array([KeyedPermutation(size, 1, "x")(i) for i in range(size)])
    other = np.array([KeyedPermutation(size, 2, "x")(i) for i in range(size)])
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.05
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.05
    assert np.mean(np.abs(np.diff(first)) == 1) < 0.002
    halves = [first[i : i + 512].mean() / size for i in range(0, size, 512)]
    assert max(abs(mean - 0.5) for mean in halves) < 0.06


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 12), st.sampled_from([8, 16, 31]))
def test_no_window_repeats_within_an_epoch_of_one_source_and_length(seed, batch, length):
    order = Order(recipe(batch=batch, length=length, seed=seed), SIZES)
    seen: dict[tuple, set] = defaultdict(set)
    draws: dict[str, int] = defaultdict(int)
    for item in order.sequences(0, order.schedule.sequences):
        assert item.draw == draws[item.source]
        draws[item.source] += 1
        positions = {(item.start + i) % SIZES[item.source] for i in range(length)}
        used = seen[item.source, item.epoch]
        assert not positions & used  # not even an overlap: windows of an epoch are disjoint
        used |= positions
        assert item.epoch == item.draw // (SIZES[item.source] // length)


def test_draws_go_on_across_changes_of_batch_and_of_length_and_back():
    changing = recipe(
        batch=[{"at": 0, "value": 4}, {"at": 9_000, "value": 8}],
        length=[{"at": 0, "value": 16}, {"at": 20_000, "value": 32}, {"at": 40_000, "value": 16}],
    )
    order = Order(changing, SIZES)
    draws: dict[tuple[str, int], int] = defaultdict(int)
    for index in range(order.schedule.steps):
        for item in order.step_sequences(order.schedule.step(index)):
            assert item.draw == draws[item.source, item.length]
            draws[item.source, item.length] += 1
    assert {length for _, length in draws} == {16, 32}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 500), st.integers(0, 5))
def test_seek_equals_walk(place, seed):
    walked = Order(recipe(seed=seed), SIZES).sequences(0, 600)
    assert Order(recipe(seed=seed), SIZES).sequences(place, 1) == [walked[place]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 50))
def test_any_world_size_and_micro_batch_give_the_same_global_order(world_size, micro_batch, step):
    order = Order(recipe(batch=11), SIZES)
    here = order.schedule.step(step)
    joined = []
    for rank in range(world_size):
        own = Order(recipe(batch=11), SIZES).step_sequences(here, rank, world_size)
        for begin in range(0, len(own), micro_batch):
            joined += own[begin : begin + micro_batch]
    assert joined == order.sequences(here.sequence, here.batch_size)


def test_a_restored_state_changes_nothing():
    lengths = [{"at": 0, "value": 16}, {"at": 300_000, "value": 32}, {"at": 600_000, "value": 16}]
    order = Order(recipe(tokens=1_000_000, length=lengths), SIZES)
    expected = order.sequences(45_000, 12)
    fresh = Order(recipe(tokens=1_000_000, length=lengths), SIZES)
    fresh.restore(order.state(45_000))
    assert fresh.sequences(45_000, 12) == expected
    assert min(block for block in fresh.mixture._rows if block) == 45_000 // ROW  # nothing before was walked
    fresh.restore(OrderState())
    assert fresh.sequences(45_000, 12) == expected


def test_other_seeds_give_other_orders():
    one, two = (Order(recipe(seed=seed), SIZES).sequences(0, 300) for seed in (1, 2))
    assert [item.source for item in one] == [item.source for item in two]  # the mixture has no chance in it
    assert sum(a.start == b.start for a, b in zip(one, two, strict=True)) < 15


def test_a_source_shorter_than_a_sequence_is_refused():
    with pytest.raises(UserError, match="'b' has 9 tokens, fewer than one sequence of 16"):
        Order(recipe(), {**SIZES, "b": 9})


def test_batches_are_inputs_and_shifted_targets():
    class Ring:
        def read(self, start, length):
            return np.arange(start, start + length, dtype=np.uint16) % 100

    order = Order(recipe(), SIZES)
    items = order.sequences(0, 5)
    batch = read_batch(items, dict.fromkeys(SIZES, Ring()))
    assert batch.tokens.shape == (5, 17)
    assert batch.scored == 5 * 16
    assert batch.tokens[3].tolist() == [(items[3].start + i) % 100 for i in range(17)]
