from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus import shards
from flyweight.corpus.shards import ShardWriter, TokenStream, open_array, token_dtype


def write(folder: Path, documents: list[list[int]], vocab_size: int = 1000, most: int = 10) -> ShardWriter:
    (folder / "s").mkdir()
    writer = ShardWriter(folder / "s", "train", "s", token_dtype(vocab_size), most)
    for number, ids in enumerate(documents):
        writer.write(ids, number + 5)
    writer.close()
    return writer


def test_the_vocabulary_decides_the_width() -> None:
    assert token_dtype(65_535) == np.uint16
    assert token_dtype(65_536) == np.uint32


@pytest.mark.parametrize("vocab_size", [1000, 100_000])
def test_what_is_written_is_read_back_and_documents_are_whole(tmp_path: Path, vocab_size: int) -> None:
    rng = np.random.default_rng(0)
    documents = [rng.integers(0, vocab_size, rng.integers(1, 9)).tolist() for _ in range(40)]
    writer = write(tmp_path, documents, vocab_size)
    assert len(writer.shards) > 3
    tokens = [open_array(tmp_path, shard.tokens) for shard in writer.shards]
    tables = [open_array(tmp_path, shard.documents).reshape(-1, 2) for shard in writer.shards]
    assert np.concatenate(tokens).tolist() == list(itertools.chain(*documents))
    assert np.concatenate(tables)[:, 0].tolist() == [len(ids) for ids in documents]
    assert np.concatenate(tables)[:, 1].tolist() == [number + 5 for number in range(40)]
    assert [len(part) for part in tokens] == [table[:, 0].sum() for table in tables]
    assert all(isinstance(part, np.memmap) for part in tokens)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    start=st.integers(-100, 10**12),
    length=st.integers(0, 100),
)
def test_ring_reads_equal_numpy(sizes: list[int], start: int, length: int) -> None:
    whole = np.arange(sum(sizes), dtype=np.uint16)
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    # A shard a document, and one more of two documents.
    tables = [np.array([size, 7]) for size in sizes]
    if len(parts) > 1:
        parts[:2], tables[:2] = [np.concatenate(parts[:2])], [np.concatenate(tables[:2])]
    stream = TokenStream(parts, tables)
    found = stream.read(start, length)
    assert found.dtype == np.int64
    assert found.tolist() == [(start + step) % sum(sizes) for step in range(length)]
    assert stream.tokens == sum(sizes)
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    assert stream.documents == len(sizes)
    begins = [step for step in range(length) if (start + step) % sum(sizes) in starts]
    assert stream.borders(start, length).tolist() == begins
    number = max(n for n, first in enumerate(starts) if first <= start % sum(sizes))
    assert stream.document_at(start) == (number, starts[number])


def test_damaged_files_are_named_with_what_was_found(tmp_path: Path) -> None:
    writer = write(tmp_path, [[1, 2, 3]] * 3)
    file = writer.shards[0].tokens
    path = tmp_path / file.name
    good = path.read_bytes()
    cases = [
        (good[:-1], f"truncated shard: found {file.size - 1} bytes, expected {file.size}"),
        (good[:10], "truncated shard: found 10 bytes"),
        (good + b"x", "shard with a tail"),
        (b"GGUF" + good[4:], "not a shard of Flyweight: it begins with b'GGUFHARD'"),
        (good[:8] + b"\x03" + good[9:], "has format 3, this Flyweight reads up to 2"),
        (good[:16] + b"\x08" + good[17:-2], "a shard of another corpus: found 8 items"),
        (good[:12] + b"\x04" + good[13:], "of another corpus: found 9 items of 4 bytes, expected 9 of 2"),
    ]
    for data, message in cases:
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"train-00000\.tokens") as error:
            open_array(tmp_path, file)
        assert message in str(error.value)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        open_array(tmp_path, file)


def test_the_checksum_sees_every_byte(tmp_path: Path) -> None:
    file = write(tmp_path, [[1, 2, 3]]).shards[0].tokens
    path = tmp_path / file.name
    good = path.read_bytes()
    assert shards.checksum(path) == file.checksum
    for place in range(len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert shards.checksum(path) != file.checksum
