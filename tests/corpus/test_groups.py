from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flyweight.base import write_json
from flyweight.corpus.engine import InProcess
from flyweight.corpus.stages import groups
from flyweight.corpus.stages.chunks import FACTS, Chunk, ChunkWriter
from flyweight.corpus.stages.fates import Fate, load_fates, mark_dropped, save_fates
from flyweight.corpus.stages.groups import drop_duplicates, find_drops

KEYS = np.dtype([("key", "<u8"), ("check", "<u8")])

members = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 30), st.booleans()))


def arrays(members):
    keys = np.array([(key, check) for key, check, _, _ in members], KEYS)
    documents = np.array([document for _, _, document, _ in members], np.uint64)
    sides = {document: held for _, _, document, held in members}
    return keys, documents, np.array([sides[int(document)] for document in documents], bool), sides


@given(members)
def test_of_each_group_all_but_the_lowest_document_go(members):
    keys, documents, held, _ = arrays(members)
    by_key = defaultdict(set)
    for key, check, document, _ in members:
        by_key[key, check].add(document)
    expected = {document for group in by_key.values() for document in group if document != min(group)}
    drops = find_drops(keys, documents, held, "remove")
    assert drops["document"].tolist() == sorted(expected)
    assert all(other < document for document, other in drops.tolist())


@given(members)
def test_held_out_documents_drive_out_training_documents_only(members):
    keys, documents, held, sides = arrays(members)
    by_key = defaultdict(set)
    for key, check, document, _ in members:
        by_key[key, check].add(document)
    expected = {
        document
        for group in by_key.values()
        if any(sides[document] for document in group)
        for document in group
        if not sides[document]
    }
    drops = find_drops(keys, documents, held, "held_out")
    assert drops["document"].tolist() == sorted(expected)
    assert all(sides[other] for other in drops["of"].tolist())


@given(members, st.randoms())
def test_the_order_of_the_keys_does_not_matter(members, random):
    shuffled = list(members)
    random.shuffle(shuffled)
    for mode in ("remove", "held_out"):
        sides = {document: held for _, _, document, held in members}
        one, other = (
            find_drops(keys, documents, np.array([sides[int(d)] for d in documents], bool), mode)
            for keys, documents, _, _ in map(arrays, (members, shuffled))
        )
        assert (one == other).all()


def write_chunks(folder, sizes, exact) -> list[Chunk]:
    chunks, row = [], 0
    for number, size in enumerate(sizes):
        place = folder / f"part-{number}"
        place.mkdir()
        write_json(place / "key.json", "key")
        with ChunkWriter(place, place, "key") as writer:
            facts = np.zeros(size, FACTS)
            writer.write([b"x"] * size, [()] * size, facts, exact[row : row + size], None)
        chunks += writer.chunks
        save_fates(folder, number, np.zeros(size, np.uint8))
        row += size
    return chunks


def test_ranges_find_what_one_pass_finds_whatever_their_number(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 1 << 64, (300, 2), np.uint64)
    exact = pool[rng.integers(0, 300, 1000)]
    seen, expected = set(), []
    for document, key in enumerate(map(tuple, exact.tolist())):
        if key in seen:
            expected.append(document)
        seen.add(key)
    ends = np.cumsum([400, 1, 599])
    results = []
    for range_bytes in (1 << 30, 3_000):
        monkeypatch.setattr(groups, "RANGE_BYTES", range_bytes)
        folder = tmp_path / str(range_bytes)
        folder.mkdir()
        chunks = write_chunks(folder, [400, 1, 599], exact)
        drops = drop_duplicates(
            InProcess(), chunks, folder, "exact", "remove", folder / "groups", "key", lambda share: None
        )
        assert (len(drops) > 1) == (range_bytes == 3_000)
        mark_dropped(folder, [400, 1, 599], drops, Fate.EXACT_DUPLICATE)
        fates = np.concatenate([load_fates(folder, number) for number in range(3)])
        results.append(np.flatnonzero(fates == Fate.EXACT_DUPLICATE).tolist())
    assert ends[-1] == len(fates)
    assert results == [expected, expected]


def test_dropped_documents_take_no_part_in_later_groups(tmp_path):
    exact = np.array([[7, 7], [7, 7], [7, 7]], np.uint64)
    chunks = write_chunks(tmp_path, [3], exact)
    save_fates(tmp_path, 0, np.array([Fate.CONTAMINATED, Fate.TRAIN, Fate.TRAIN], np.uint8))
    drops = drop_duplicates(
        InProcess(), chunks, tmp_path, "exact", "remove", tmp_path / "groups", "key", lambda share: None
    )
    assert [np.load(file).tolist() for file in drops] == [[(2, 1)]]
