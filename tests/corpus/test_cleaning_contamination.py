from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.cleaning import contamination as module
from flyweight.corpus.cleaning.contamination import RUN, EvaluationIndex
from flyweight.corpus.cleaning.words import hash_words, split_words


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(f"{rng.choice('bcdfgklmnprst')}{rng.randrange(3000)}" for _ in range(words))


def find(index: EvaluationIndex, texts: list[str]) -> list[int]:
    return index.find(hash_words([text.encode() for text in texts])).tolist()


def test_planted_items_are_found_whatever_their_looks_and_nothing_else_is() -> None:
    rng = random.Random(1)
    sets = {name: [sentence(rng, rng.randint(13, 60)) for _ in range(200)] for name in ("first", "second")}
    index = EvaluationIndex.build(sets)
    clean = [sentence(rng, 300) for _ in range(300)]
    assert find(index, clean) == [-1] * 300
    for number, items in enumerate(sets.values()):
        for item in items[:50]:
            words = item.split()
            start = rng.randrange(len(words) - RUN + 1)
            piece = ", ".join(words[start : start + RUN]).upper()
            text = f"{sentence(rng, 40)}. “{piece}” {sentence(rng, 40)}"
            assert find(index, [clean[0], text, "", clean[1]]) == [-1, number, -1, -1]
            assert index.explain(text) == (index.names[number], " ".join(words[start : start + RUN]))
            assert index.explain(clean[0]) is None
    assert [(of.items, of.short_items) for of in index.sets] == [(200, 0), (200, 0)]


WORDS = st.lists(st.sampled_from("abc"), max_size=40)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=3), st.lists(WORDS, max_size=6))
def test_found_is_what_shares_a_run_with_a_string_of_the_set(
    sets: list[list[list[str]]], documents: list[list[str]]
) -> None:
    """With an alphabet so small that runs are often shared, and runs across documents and strings as well."""

    def runs(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1)}

    index = EvaluationIndex.build(
        {str(number): [" ".join(words) for words in items] for number, items in enumerate(sets)}
    )
    indexed = [set().union(*map(runs, items)) for items in sets]
    expected = []
    for words in documents:
        hit = [number for number, of in enumerate(indexed) if of & runs(words)]
        expected.append(min(hit, default=-1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 3)
        assert find(index, [" ".join(words) for words in documents]) == expected
    assert find(index, [" ".join(words) for words in documents]) == expected
    assert len(index.hashes) == len(set().union(*indexed))
    assert [of.short_items for of in index.sets] == [
        sum(not runs(words) for words in items) for items in sets
    ]


def test_items_with_several_texts_short_ones_and_numbers() -> None:
    long = "one two three four five six seven eight nine ten eleven twelve thirteen"
    numbers = " ".join(str(number) for number in range(40))
    index = EvaluationIndex.build(
        {"set": [[long, "short"], ["short", "one two three"], [], numbers, "word " + numbers]}
    )
    (facts,) = index.sets
    assert (facts.items, facts.short_items, facts.runs) == (5, 3, 2)
    assert find(index, [long, "short one two three", numbers, f"word {numbers}", long + " x"]) == [
        0,
        -1,
        -1,
        0,
        0,
    ]


def test_chinese_is_compared_by_character() -> None:
    question = "下列关于光合作用的说法中，哪一项是正确的？请选择。"
    index = EvaluationIndex.build({"c-eval": [question]})
    inside = "我们来看这道题：下列关于光合作用的说法中哪一项是正确的"
    assert find(index, [f"{inside}。答案是甲。", "光合作用是植物的重要过程，哪一项说法正确？"]) == [0, -1]
    explained = index.explain(inside)
    assert explained == ("c-eval", " ".join("下列关于光合作用的说法中哪"))
    assert len(split_words(question)) == 22


def test_an_index_is_the_same_after_saving(tmp_path: Path) -> None:
    rng = random.Random(4)
    index = EvaluationIndex.build({"a": [sentence(rng, 500)], "b": [sentence(rng, 500)]}, key="made of this")
    index.save(tmp_path)
    loaded = EvaluationIndex.load(tmp_path)
    assert loaded.sets == index.sets
    assert loaded.key == "made of this"
    for one, other in (
        (loaded.hashes, index.hashes),
        (loaded.numbers, index.numbers),
        (loaded.filter, index.filter),
    ):
        assert (one == other).all()
        assert not one.flags.owndata  # mapped, not read
    text = sentence(rng, 50)
    assert find(loaded, [text]) == find(index, [text])


def test_an_index_without_runs_finds_nothing(tmp_path: Path) -> None:
    index = EvaluationIndex.build({"a": ["too short"], "b": []})
    index.save(tmp_path)
    loaded = EvaluationIndex.load(tmp_path)
    assert [of.items for of in loaded.sets] == [1, 0]
    assert find(loaded, ["too short " * 30, ""]) == [-1, -1]
    assert find(EvaluationIndex.build({}), ["some text " * 30]) == [-1]


@pytest.mark.parametrize("broken", ["absent", "version", "facts", "cut", "other"])
def test_a_broken_index_is_refused(tmp_path: Path, broken: str) -> None:
    EvaluationIndex.build({"a": ["a b c d e f g h i j k l m n o"]}).save(tmp_path)
    facts = tmp_path / "index.json"
    if broken == "absent":
        facts.unlink()
    elif broken == "version":
        facts.write_text(facts.read_text().replace('"version": "', '"version": "0'))
    elif broken == "facts":
        facts.write_text(facts.read_text().replace('"runs"', '"others"'))
    elif broken == "cut":
        data = (tmp_path / "hashes.npy").read_bytes()
        (tmp_path / "hashes.npy").write_bytes(data[:-4])
    else:
        np.save(tmp_path / "sets.npy", np.zeros(7, dtype=np.uint16))
    with pytest.raises(UserError, match="index of evaluation sets"):
        EvaluationIndex.load(tmp_path)


def test_items_that_a_corpus_hits_are_counted() -> None:
    rng = random.Random(6)
    items = [[sentence(rng, 20), sentence(rng, 5)] for _ in range(3000)]
    index = EvaluationIndex.build({"set": items})
    planted = [7, 8, 2999]
    documents = [f"{sentence(rng, 30)} {items[number][0]} {sentence(rng, 30)}" for number in planted]
    _, hit, entries = index.matches(hash_words([text.encode() for text in documents]))
    assert sorted(set(hit.tolist())) == [0, 1, 2]
    found = np.zeros(len(index.hashes), dtype=np.bool_)
    found[entries] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", 1000)
        assert index.hit_items(items, found) == planted
