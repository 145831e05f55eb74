"""The overlaps that the README of the shared data lists are found; the rest of the corpora is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flyweight.corpus.cleaning.contamination import EvaluationIndex
from flyweight.corpus.cleaning.evaluation_sets import build_index, read_items, strings
from flyweight.corpus.cleaning.near import band_keys
from flyweight.corpus.cleaning.words import WordHashes, hash_words
from flyweight.corpus.documents import ReadLog
from flyweight.corpus.reading.records import read_records
from flyweight.recipe import EvaluationSet

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
BATCH = 500

pytestmark = [
    pytest.mark.shared,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real data does not lie beside the checkout"),
]

NAMES = ("boolq", "mmlu", "math500", "hellaswag", "winogrande", "piqa")
SETS = {name: EvaluationSet(path=str(DATA / "eval" / name)) for name in NAMES} | {
    f"gsm8k_{part}": EvaluationSet(path=str(DATA / "eval" / "gsm8k" / f"{part}.jsonl"))
    for part in ("test", "train")
}


def texts_of(corpus: str) -> list[str]:
    records = read_records([DATA / "corpora" / f"{corpus}.jsonl.zst"], ReadLog())
    return ["\n".join(strings(record.get("text") or record["messages"])) for record, _ in records]


def words_of(texts: list[str]) -> list[WordHashes]:
    data = [text.encode() for text in texts]
    return [hash_words(data[begin : begin + BATCH]) for begin in range(0, len(data), BATCH)]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> EvaluationIndex:
    return build_index(SETS, tmp_path_factory.mktemp("index") / "index")


def hits(index: EvaluationIndex, corpora: tuple[str, ...]) -> dict[str, int]:
    found = np.zeros(len(index.hashes), dtype=np.bool_)
    for corpus in corpora:
        for words in words_of(texts_of(corpus)):
            found[index.matches(words)[2]] = True
    return {name: len(index.hit_items(read_items(name, of, Path()), found)) for name, of in SETS.items()}


def test_the_instructions_hold_the_training_set_of_gsm8k(index: EvaluationIndex) -> None:
    found = hits(index, ("instructions",))
    assert found["gsm8k_train"] > 0.95 * 7473
    assert found["gsm8k_test"] < 30


def test_textbooks_and_books_hold_a_few_items_and_few_documents_are_dropped(index: EvaluationIndex) -> None:
    found = hits(index, ("textbooks", "books"))
    assert 5 <= found["boolq"] <= 80
    assert 5 <= found["mmlu"] <= 80
    texts = texts_of("textbooks")
    first = np.concatenate([index.find(words) for words in words_of(texts)])
    assert 5 <= (first >= 0).sum() < 0.03 * len(texts)
    for document in np.flatnonzero(first >= 0).tolist():
        explained = index.explain(texts[document])
        assert explained is not None
        assert explained[0] == index.names[first[document]]


def test_few_sections_of_textbooks_are_nearly_the_same() -> None:
    keys = np.concatenate([band_keys(words) for words in words_of(texts_of("textbooks"))])
    shared = sum(len(keys) - len(np.unique(keys[:, band])) for band in range(keys.shape[1])) / keys.shape[1]
    assert shared < 0.1 * len(keys)
