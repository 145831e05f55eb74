"""Batches: documents' borders as the corpus has them on record, and which targets count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flyweight.corpus import TokenStream
from flyweight.curriculum import Sequence, begins_of, read_batch, trial_batch
from flyweight.model.documents import Documents

END = 9
"""The last token of every document, and of nothing else."""
SIZES = ([4, 1, 7], [3, 12, 2, 1, 1, 5])
"""Documents of two shards."""


@pytest.fixture(scope="module")
def stream() -> TokenStream:
    shards, tables = [], []
    for sizes in SIZES:
        shards.append(
            np.concatenate([np.append(np.arange(size - 1) % 8, END) for size in sizes]).astype(np.uint16)
        )
        tables.append(np.array([(size, 1) for size in sizes]).reshape(-1))
    return TokenStream(shards, tables)


@pytest.mark.parametrize("length", [1, 5, 20])
def test_a_document_begins_after_every_end_also_where_the_ring_and_the_shards_do(stream, length) -> None:
    items = [Sequence(n, "s", n, length, n, 0, n) for n in range(stream.tokens)]
    batch = read_batch(items, {"s": stream}, documents=True)
    assert batch.begins is not None
    assert batch.begins.dtype == torch.int32
    scored = 0
    for tokens, begins in zip(batch.tokens.tolist(), batch.begins.tolist(), strict=True):
        begin = 0
        for place in range(length + 1):
            if place and tokens[place - 1] == END:
                begin = place
            assert begins[place] == begin
            scored += place > 0 and begin != place
    assert batch.scored == scored
    documents = batch.documents(torch.device("cpu"))
    assert documents is not None
    assert int(documents.scored.sum()) == scored
    ends = (batch.tokens[:, 1:] == END) & (batch.tokens[:, :-1] != END)
    assert documents.scored[ends].all()  # the end of a document is a target, its beginning is not


def test_without_masking_every_target_counts(stream) -> None:
    batch = read_batch([Sequence(0, "s", 2, 20, 0, 0, 0)] * 3, {"s": stream})
    assert batch.begins is None
    assert batch.documents(torch.device("cpu")) is None
    assert batch.scored == 60


@pytest.mark.parametrize("masking", [False, True])
def test_parts_of_a_batch_are_its_rows(stream, masking) -> None:
    items = [Sequence(n, "s", 5 * n, 11, n, 0, n) for n in range(7)]
    batch = read_batch(items, {"s": stream}, documents=masking)
    parts = batch.split(3)
    assert [len(part.tokens) for part in parts] == [3, 3, 1]
    assert sum(part.scored for part in parts) == batch.scored
    for item, row in zip(items, (row for part in parts for row in part.split(1)), strict=True):
        alone = read_batch([item], {"s": stream}, documents=masking)
        assert torch.equal(row.tokens, alone.tokens)
        assert (row.begins is None) == (not masking)
        assert row.begins is None or torch.equal(row.begins, alone.begins)


def test_a_trial_has_two_documents_in_a_sequence() -> None:
    batch = trial_batch(torch.zeros(2, 9, dtype=torch.int64), documents=True)
    assert torch.equal(batch.begins, begins_of([np.array([4])] * 2, 9))
    assert batch.scored == 2 * 7
    assert trial_batch(batch.tokens, documents=False).begins is None


def test_what_goes_to_a_gpu_is_page_locked_and_nothing_else(monkeypatch) -> None:
    locked: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: (locked.append(tensor), tensor)[1])
    monkeypatch.setattr(Documents, "to", lambda documents, _: documents)
    batch = trial_batch(torch.zeros(2, 9, dtype=torch.int64), documents=True)
    assert [id(tensor) for tensor in locked] == []
    assert batch.pinned().begins is batch.begins
    assert [id(tensor) for tensor in locked] == [id(batch.tokens)]
    assert batch.documents(torch.device("cpu")) is not None
    assert len(locked) == 1
    documents = batch.documents(torch.device("cuda"))
    assert documents is not None
    assert [id(tensor) for tensor in locked[1:]] == [id(tensor) for tensor in documents]


@pytest.mark.gpu
def test_a_batch_is_on_its_way_while_the_gpu_is_at_work() -> None:
    device = torch.device("cuda")
    batch = trial_batch(torch.zeros(64, 2049, dtype=torch.int64), documents=True).pinned()
    batch.documents(device)  # the first allocation of page-locked memory waits
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)  # about a second
    done.record()
    batch.tokens.to(device, non_blocking=True)
    documents = batch.documents(device)
    assert not done.query()
    assert documents is not None
    assert documents.begins.is_cuda
