"""A sequence that is shown is the row that training reads, cut where the documents really end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus import TokenStream
from flyweight.curriculum import Order, inspect_sequence, read_batch
from flyweight.recipe import Recipe, recipe_from_dict

END = 0
"""The end_of_text of these corpora. Documents hold it inside too: it does not make a border."""


def recipe(tokens: int = 4_000, seed: int = 0, **training: Any) -> Recipe:
    sources = ("a", "b", "c")
    return recipe_from_dict(
        {
            "name": "inspected",
            "seed": seed,
            "model": {
                "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
                "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32,
                "max_position_embeddings": 64,
            },
            "tokenizer": {"vocab_size": 512},
            "sources": {name: {"kind": "builtin", "builtin": "english"} for name in sources},
            "training": {
                "tokens": tokens,
                "batch_size": [{"at": 0, "value": 3}, {"at": 700, "value": 7}, {"at": 3_000, "value": 5}],
                "sequence_length": [{"at": 0, "value": 8}, {"at": 1_500, "value": 21}, {"at": 2_600, "value": 8}],
                "mixture": [
                    {"at": 0, "weights": {"a": 0.8, "b": 0.2, "c": 0.0}},
                    {"at": "50%", "weights": {"a": 0.3, "b": 0.3, "c": 0.4}, "shape": "linear"},
                ],
                "learning_rate": {"wsd": {"peak": 1e-2, "warmup": "10%", "decay_start": "70%"}},
                **training,
            },
        }
    )  # fmt: skip


def documents(rng: np.random.Generator, lengths: list[int]) -> list[np.ndarray]:
    """Tokens of documents of these lengths, the last of each END; some hold END inside too."""
    return [np.append(rng.integers(0, 60, length - 1), END) for length in lengths]


def corpus(*lengths: list[int], seed: int = 0) -> Any:
    """Sources a, b, c, ... of documents of these lengths, each in two shards; a token is a character."""
    rng = np.random.default_rng(seed)
    streams, texts = {}, {}
    for name, sizes in zip("abc", lengths, strict=False):
        texts[name] = documents(rng, sizes)
        middle = len(sizes) // 2
        parts = [part for part in (texts[name][:middle], texts[name][middle:]) if part]
        shards = [np.concatenate(part).astype(np.uint16) for part in parts]
        tables = [np.array([(len(tokens), 1) for tokens in part]).reshape(-1) for part in parts]
        streams[name] = TokenStream(shards, tables)
    tokenizer = SimpleNamespace(decode=lambda ids: "".join(chr(48 + token) for token in ids))
    return SimpleNamespace(train=streams, tokenizer=tokenizer, texts=texts)


def order_of(shown: Recipe, data: Any) -> Order:
    return Order(shown, {name: stream.tokens for name, stream in data.train.items()})


SMALL = ([5, 17, 2, 40, 1, 30], [64, 3, 29], [11] * 9)


def test_every_sequence_is_the_row_that_training_read():
    """Over changes of batch size and of sequence length, and several epochs."""
    shown, data = recipe(), corpus(*SMALL)
    order = order_of(shown, data)
    number = seen = 0
    shapes = set()
    for index in range(order.schedule.steps):
        step = order.schedule.step(index)
        shapes.add((step.batch_size, step.sequence_length))
        batch = read_batch(order.step_sequences(step), data.train)
        for row in range(step.batch_size):
            found = inspect_sequence(shown, data, number, order)
            assert list(found.tokens) == batch.tokens[row].tolist()
            assert (found.number, found.step, found.row) == (number, index, row)
            assert (found.batch_size, found.sequence_length) == (step.batch_size, step.sequence_length)
            assert (found.clock, found.tokens_before) == (step.clock, seen)
            assert found.learning_rate == shown.training.learning_rate.at(step.middle)
            number, seen = number + 1, seen + step.sequence_length
    assert number == order.schedule.sequences == found.sequences
    assert shapes == {(3, 8), (7, 8), (7, 21), (5, 8)}


def test_with_masking_it_says_how_many_targets_count():
    shown, data = recipe(document_masking=True), corpus(*SMALL)
    order = order_of(shown, data)
    for number in range(0, order.schedule.sequences, 5):
        batch = read_batch(order.sequences(number, 1), data.train, documents=True)
        found = inspect_sequence(shown, data, number, order)
        assert found.document_masking
        assert found.scored == batch.scored
        plain = inspect_sequence(recipe(), data, number)
        assert (plain.document_masking, plain.scored) == (False, plain.sequence_length)


def test_windows_of_an_epoch_come_once_each():
    shown, data = recipe(sequence_length=8, batch_size=4), corpus(*SMALL)
    windows: dict[tuple[str, int], list[int]] = {}
    order = order_of(shown, data)
    found = [inspect_sequence(shown, data, number, order) for number in range(500)]
    for item in found:
        assert item.windows == data.train[item.source].tokens // 8
        windows.setdefault((item.source, item.epoch), []).append(item.window)
        assert item.draw == item.epoch * item.windows + len(windows[item.source, item.epoch]) - 1
    whole = [numbers for (source, epoch), numbers in windows.items() if epoch < found[-1].epoch]
    assert any(len(numbers) > 8 for numbers in whole)
    for (source, _), numbers in windows.items():
        assert len(set(numbers)) == len(numbers)
        assert set(numbers) <= set(range(data.train[source].tokens // 8))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12).filter(lambda sizes: sum(sizes) >= 21),
    st.integers(0, 1000),
    st.integers(0, 200),
)
def test_passages_are_the_documents_that_lie_there(sizes: list[int], seed: int, number: int):
    """Against the documents themselves, laid out again and again: also where the ring closes."""
    data = corpus(sizes, [40], [40], seed=seed)
    shown = recipe(seed=seed, mixture=[{"at": 0, "weights": {"a": 1.0, "b": 0.0, "c": 0.0}}])
    found = inspect_sequence(shown, data, number)
    assert found.source_documents == len(sizes)
    assert found.source_tokens == sum(sizes)
    # Which document each token of the stream is of, and where in it, over two rounds of the ring.
    labels = [(index, place) for index, size in enumerate(sizes) for place in range(size)] * 2
    here = labels[found.start : found.start + found.sequence_length + 1]
    told = [
        (passage.document, passage.skipped + offset)
        for passage in found.passages
        for offset in range(passage.end - passage.begin)
    ]
    assert told == here
    assert "".join(passage.text for passage in found.passages) == data.tokenizer.decode(found.tokens)
    assert "".join(found.pieces) == data.tokenizer.decode(found.tokens)
    for passage in found.passages:
        last = passage.skipped + passage.end - passage.begin
        assert passage.begins_document == (here[passage.begin][1] == 0)
        assert passage.ends_document == (last == sizes[passage.document])
        assert found.tokens[passage.end - 1] == END or not passage.ends_document
    assert [passage.begin for passage in found.passages[1:]] == [p.end for p in found.passages[:-1]]
    assert (found.passages[0].begin, found.passages[-1].end) == (0, found.sequence_length + 1)


def test_a_source_of_exactly_one_sequence_closes_its_ring_within_it():
    data = corpus([8], [40], [40])
    shown = recipe(
        sequence_length=8, mixture=[{"at": 0, "weights": {"a": 1.0, "b": 0.0, "c": 0.0}}], tokens=2_000
    )
    order = order_of(shown, data)
    for number in range(20):
        found = inspect_sequence(shown, data, number, order)
        assert found.tokens[0] == found.tokens[-1]
        assert sum(p.end - p.begin for p in found.passages) == 9
        assert {p.document for p in found.passages} == {0}


def test_an_order_at_hand_changes_nothing():
    shown, data = recipe(tokens=200_000, batch_size=16, sequence_length=8), corpus(*SMALL)
    walked, sought = order_of(shown, data), order_of(shown, data)
    sought.restore(walked.state(8_800))
    for number in (9_000, 20_000, 3):
        plain = inspect_sequence(shown, data, number)
        assert inspect_sequence(shown, data, number, walked) == plain
        assert inspect_sequence(shown, data, number, sought) == plain


@pytest.mark.parametrize("number", [-1, 500, 10**12])
def test_a_sequence_that_the_run_does_not_have(number: int):
    shown = recipe(sequence_length=8, batch_size=4)
    assert Order(shown, dict.fromkeys("abc", 100)).schedule.sequences == 500
    with pytest.raises(UserError, match=r"this run has 500 sequences; expected a number from 0 to 499"):
        inspect_sequence(shown, corpus(*SMALL), number)
