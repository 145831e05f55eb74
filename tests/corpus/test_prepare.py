from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus, open_corpus, prepare, train_recipe_tokenizer, verify
from flyweight.corpus import preparation as preparation_module
from flyweight.corpus import shards as shards_module
from flyweight.corpus.engine import keys as jobs_keys
from flyweight.corpus.reading import builtin
from flyweight.corpus.reading import files as files_module
from flyweight.corpus.stages.sample import tokenizer_sample
from flyweight.corpus.tokenizers import train as train_tokenizer
from flyweight.corpus.tokenizers import train_bpe
from flyweight.recipe import Recipe

RecipeMaker = Callable[..., Recipe]


def documents_of(corpus: OpenCorpus, source: str) -> tuple[list[str], list[str]]:
    """The texts of both sides, decoded from the shards."""
    stream, held_out = corpus.train[source], corpus.held_out[source]
    starts = stream.borders(0, stream.tokens)
    sides = [[stream.read(a, b - a) for a, b in itertools.pairwise([*starts.tolist(), stream.tokens])]]
    sides.append(np.split(held_out.tokens, np.cumsum(held_out.document_tokens)[:-1]))
    for side in sides:
        assert all(tokens[-1] == corpus.tokenizer.end_of_text for tokens in side)
        assert all((tokens[:-1] != corpus.tokenizer.end_of_text).all() for tokens in side)
    return tuple([corpus.tokenizer.decode(tokens[:-1].tolist()) for tokens in side] for side in sides)  # pyright: ignore[reportReturnType]


def sources_of(*paths: Path) -> dict[str, Any]:
    return {f"s{n}": {"kind": "files", "path": str(path)} for n, path in enumerate(paths)}


def test_every_document_is_on_exactly_one_side_byte_for_byte(
    prose_recipe: Recipe, tmp_path: Path, make_prose: Callable[[int], str]
) -> None:
    stages: list[tuple[str, float]] = []
    corpus = prepare(prose_recipe, tmp_path / "corpus", lambda stage, share: stages.append((stage, share)))
    train, held_out = documents_of(corpus, "prose")
    assert sorted(train + held_out) == sorted(make_prose(seed) for seed in range(60))
    assert len(held_out) >= 2
    source = corpus.manifest.sources["prose"]
    assert (source.train.documents, source.held_out.documents) == (len(train), len(held_out))
    assert source.train.bytes == sum(map(len, train))
    assert corpus.held_out["prose"].document_bytes.tolist() == [len(text) for text in held_out]
    assert corpus.bytes_per_token("prose") == source.train.bytes / corpus.train["prose"].tokens
    assert corpus.tokenizer.vocab_size == 300
    names = dict.fromkeys(stage for stage, _ in stages)
    assert list(names) == [
        "reading",
        "looking for exact duplicates",
        "training the tokenizer",
        "encoding",
        "writing shards",
    ]
    assert all(0 <= share <= 1 for _, share in stages)
    assert len(corpus.summary()) == 1
    left = {item.name for item in (tmp_path / "corpus").iterdir()}
    assert left == {"manifest.json", "removed.json", "sources", "tokenizer", ".preparing"}


def test_the_same_recipe_gives_the_same_corpus_and_is_reused(prose_recipe: Recipe, tmp_path: Path) -> None:
    first = prepare(prose_recipe, tmp_path / "a")
    second = prepare(prose_recipe, tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    again = prepare(prose_recipe, tmp_path / "a")
    assert again.fingerprint == first.fingerprint
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    assert train_recipe_tokenizer(prose_recipe).fingerprint == first.tokenizer.fingerprint


def test_the_tokenizer_never_sees_held_out_text(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[[Path, list[str]], Path], monkeypatch: Any
) -> None:
    seen: list[str] = []

    def spy(settings: Any, texts: Any) -> Any:
        return train_tokenizer(settings, (seen.append(text) or text for text in texts))

    monkeypatch.setattr(preparation_module, "train", spy)
    # Fewer documents than the share reaches: the rule for small sources chooses, after the sampling.
    data = make_jsonl(
        tmp_path / "d.jsonl", [f"Number {n} " + "some plain words again " * 30 for n in range(20)]
    )
    recipe = make_recipe(sources_of(data), corpus={"held_out": 1e-6}, tokenizer={"vocab_size": 262})
    train, held_out = documents_of(prepare(recipe, tmp_path / "c"), "s0")
    assert len(held_out) == 2
    assert sorted(seen) == sorted(train)


def test_a_filter_is_judged_by_all_parts_together(
    tmp_path: Path, make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "PART_BYTES", 1000)
    (tmp_path / "texts").mkdir()
    for name, field in (("a", "score"), ("b", "other")):
        lines = [json.dumps({"text": f"text {name} {n}", field: n}) for n in range(60)]
        (tmp_path / "texts" / f"{name}.jsonl").write_text("\n".join(lines))
    source = {"kind": "files", "path": str(tmp_path / "texts")}
    corpus = prepare(
        make_recipe({"x": {**source, "filter": "score >= 4"}}, tokenizer={"vocab_size": 260}), tmp_path / "c"
    )
    found = corpus.manifest.sources["x"]
    assert found.filtered == 64  # four of a, all of b
    with pytest.raises(UserError, match=r"sources\.x\.filter\): the filter names 'scroe'"):
        prepare(
            make_recipe({"x": {**source, "filter": "scroe >= 4"}}, tokenizer={"vocab_size": 260}),
            tmp_path / "d",
        )


@pytest.mark.parametrize("workers", [1, 4])
def test_what_the_limit_does_without_may_be_broken(
    tmp_path: Path, make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(files_module, "PART_BYTES", 1000)
    (tmp_path / "texts").mkdir()
    for number in range(8):
        lines = [json.dumps({"text": f"{number} {n} " + "word " * 50}) for n in range(40)]
        data = gzip.compress("\n".join(lines).encode(), 0)
        (tmp_path / "texts" / f"{number}.jsonl.gz").write_bytes(data[:500] if number == 5 else data)
    source = {"kind": "files", "path": str(tmp_path / "texts")}
    settings = {"execution": {"workers": workers}, "tokenizer": {"vocab_size": 260}}
    few = make_recipe({"x": {**source, "limit": 50_000}}, **settings)
    assert prepare(few, tmp_path / "c").manifest.sources["x"].train.bytes > 40_000
    with pytest.raises(UserError, match=r"5\.jsonl\.gz.*ends early"):
        prepare(make_recipe({"x": {**source, "limit": 62_000}}, **settings), tmp_path / "d")


def test_a_source_without_a_share_gives_the_tokenizer_nothing(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    mixture = [{"at": 0, "weights": {"s0": 1.0, "s1": 0.0}}]
    recipe = make_recipe(
        sources_of(prose_file, prose_file), training={"mixture": mixture}, corpus={"exact_duplicates": False}
    )
    assert prepare(recipe, tmp_path / "c").manifest.sources["s1"].train.tokens


def test_every_beginning_of_the_tokenizer_sample_has_the_mixtures_shares() -> None:
    class Given:
        available = 1_000_000

        def __init__(self, letter: str, size: int) -> None:
            self.text = letter * size

        def take(self, quota: int) -> None:
            pass

        def texts(self) -> Iterator[str]:
            yield from [self.text] * 10

    samples: Any = {"a": Given("a", 100), "b": Given("b", 7), "c": Given("c", 900)}
    weights = {"a": 0.5, "b": 0.2, "c": 0.3}
    done = dict.fromkeys(weights, 0)
    for text in tokenizer_sample(samples, weights, 100_000, lambda share: None):
        done[text[0]] += len(text)
        for name, weight in weights.items():
            assert abs(done[name] - weight * sum(done.values())) <= 1000  # about a document
    assert done == {"a": 50_000, "b": 20_000, "c": 30_000}


def test_the_tokenizer_sample_follows_the_mixture_and_its_size(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[[Path, list[str]], Path], monkeypatch: Any
) -> None:
    seen: list[str] = []

    def spy(settings: Any, texts: Any) -> Any:
        return train_tokenizer(settings, (seen.append(text) or text for text in texts))

    monkeypatch.setattr(preparation_module, "train", spy)
    a = make_jsonl(tmp_path / "a.jsonl", [f"aaa {n} red words here " * 20 for n in range(400)])
    b = make_jsonl(tmp_path / "b.jsonl", [f"bbb {n} blue other texts " * 20 for n in range(20)])
    recipe = make_recipe(
        sources_of(a, b),
        training={"mixture": [{"at": 0, "weights": {"s0": 0.7, "s1": 0.3}}]},
        tokenizer={"vocab_size": 270, "sample": 60_000},
    )
    prepare(recipe, tmp_path / "c")
    sizes = [sum(len(text) for text in seen if text.startswith(start)) for start in ("aaa", "bbb")]
    assert sizes == [42_000, 18_000]  # b has less than its share, so it is repeated
    numbers = [int(text.split()[1]) for text in seen if text.startswith("aaa")]
    assert min(numbers) < 60
    assert max(numbers) > 340  # a fair sample, not the beginning


def test_duplicates_that_are_kept_fall_on_one_side(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[[Path, list[str]], Path]
) -> None:
    texts = [f"Text {n} " + "with words and words " * 10 for n in range(40)]
    data = make_jsonl(tmp_path / "d.jsonl", texts * 3)
    keep = {"exact_duplicates": False, "held_out": 0.1}
    recipe = make_recipe(sources_of(data), tokenizer={"vocab_size": 262}, corpus=keep)
    train, held_out = documents_of(prepare(recipe, tmp_path / "c"), "s0")
    assert not set(train) & set(held_out)
    assert len(train) + len(held_out) == 120


def test_the_held_out_limit_takes_a_smaller_share_of_the_whole_source(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    recipe = make_recipe(sources_of(prose_file), corpus={"held_out": 0.5, "held_out_limit": 6000})
    corpus = prepare(recipe, tmp_path / "c")
    source = corpus.manifest.sources["s0"]
    assert source.held_out.documents >= 6
    assert 4000 < source.held_out.bytes <= 6000
    texts = [json.loads(line)["text"] for line in prose_file.read_text().splitlines()]
    assert source.train.bytes + source.held_out.bytes == sum(map(len, texts))  # nothing is left unused
    places = sorted(texts.index(text) for text in documents_of(corpus, "s0")[1])
    assert places[0] < len(texts) / 3
    assert places[-1] > 2 * len(texts) / 3


def test_a_source_reads_no_more_than_its_limit(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    sources = {"s0": {"kind": "files", "path": str(prose_file), "limit": 20_000}}
    source = prepare(make_recipe(sources), tmp_path / "c").manifest.sources["s0"]
    assert 18_000 < source.train.bytes + source.held_out.bytes <= 20_000


def test_many_shards_read_as_one_stream(
    tmp_path: Path, prose_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(prose_recipe, tmp_path / "a")
    monkeypatch.setattr(shards_module.ShardWriter.__init__, "__defaults__", (1000,))
    parts = prepare(prose_recipe, tmp_path / "b")
    assert len(parts.manifest.sources["prose"].train.shards) > 5
    assert len(parts.manifest.sources["prose"].held_out.shards) == 1
    length = whole.train["prose"].tokens
    assert (parts.train["prose"].read(7, 2 * length) == whole.train["prose"].read(7, 2 * length)).all()
    assert (parts.train["prose"].borders(5, length) == whole.train["prose"].borders(5, length)).all()


def test_bad_records_are_in_the_manifest(tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path) -> None:
    with prose_file.open("ab") as file:
        file.write(b'{"text": 5}\n{"broken\n')
    corpus = prepare(make_recipe(sources_of(prose_file)), tmp_path / "c")
    bad = open_corpus(corpus.folder).manifest.sources["s0"].bad_records
    assert {reason: (records.count, records.first) for reason, records in bad.items()} == {
        "text is not a string": (1, [f"{prose_file}:61"]),
        "broken JSON": (1, [f"{prose_file}:62"]),
    }
    assert "1 x broken JSON" in corpus.summary()[0]


def test_prose_and_code_of_a_module_are_on_the_same_side(
    tmp_path: Path,
    make_recipe: RecipeMaker,
    make_prose: Callable[[int], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "pack"
    root.mkdir()
    for n in range(60):
        # Only every second file has prose, so that each source alone would choose another threshold.
        head = f'"""{make_prose(n)}"""\n' if n % 2 else ""
        (root / f"m{n}.py").write_text(f"{head}number = {n}\nname = 'module {n}'\n")
    monkeypatch.setattr(builtin, "package_folders", lambda: {"pack": root})
    sampled: list[str] = []
    original = preparation_module.tokenizer_sample

    def remember(samples, *rest):
        sampled.extend(text for sample in samples.values() for text in sample.texts())
        return original(samples, *rest)

    monkeypatch.setattr(preparation_module, "tokenizer_sample", remember)
    recipe = make_recipe(
        {name: {"kind": "builtin", "builtin": name} for name in ("english", "python")},
        corpus={"held_out": 1e-9},
        tokenizer={"vocab_size": 290},
    )
    corpus = prepare(recipe, tmp_path / "c")
    prose, code = (documents_of(corpus, name) for name in ("english", "python"))
    assert len(prose[1]) >= 2
    for text in prose[1]:
        assert any(text in module for module in code[1])
    for text in prose[0]:
        assert any(text in module for module in code[0])
    assert sampled
    assert not set(sampled) & {*prose[1], *code[1]}  # the tokenizer saw none of them
    assert set(corpus.manifest.sources["english"].versions) >= {"stdlib"}


def test_arithmetic_is_split_by_expression(tmp_path: Path, make_recipe: RecipeMaker) -> None:
    recipe = make_recipe({"sums": {"kind": "builtin", "builtin": "arithmetic", "limit": 60_000}})
    source = prepare(recipe, tmp_path / "c").manifest.sources["sums"]
    assert source.held_out.documents >= 2
    assert source.held_out.bytes <= 6_000 * 1.5
    assert 55_000 < source.train.bytes + source.held_out.bytes < 65_000


def test_an_existing_tokenizer_is_adopted(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path, make_prose: Callable[[int], str]
) -> None:
    train_bpe((make_prose(n) for n in range(50)), 310, "gpt-2", "<eos>").save(tmp_path / "tok")
    settings = {"kind": "existing", "vocab_size": 310, "path": str(tmp_path / "tok"), "end_of_text": "<eos>"}
    recipe = make_recipe(sources_of(prose_file), tokenizer=settings, model={"vocab_size": 350})
    corpus = prepare(recipe, tmp_path / "c")
    assert corpus.tokenizer.vocab_size == 310
    train, _ = documents_of(corpus, "s0")
    assert train
    other = train_bpe((make_prose(n) for n in range(60, 90)), 305, "gpt-2", "<eos>")
    other.save(tmp_path / "tok")
    with pytest.raises(UserError, match=r"another configuration \(tokenizer\.path"):
        prepare(recipe, tmp_path / "c")
    shutil.rmtree(tmp_path / "tok")
    assert prepare(recipe, tmp_path / "c").fingerprint == corpus.fingerprint
    with pytest.raises(UserError, match="no such tokenizer"):
        prepare(recipe, tmp_path / "d")
    big = train_bpe((make_prose(n) for n in range(300)), 390, "gpt-2", "<eos>")
    big.save(tmp_path / "tok")
    with pytest.raises(UserError, match=r"390 entries, more than model\.vocab_size \(350\)"):
        prepare(recipe, tmp_path / "d")


# Cleaning


def test_a_text_that_came_before_is_removed_across_sources(
    tmp_path: Path,
    make_recipe: RecipeMaker,
    make_jsonl: Callable[..., Path],
    make_prose: Callable[[int], str],
) -> None:
    a = make_jsonl(tmp_path / "a.jsonl", [make_prose(n) for n in (*range(40), 3, 4)])
    b = make_jsonl(tmp_path / "b.jsonl", [make_prose(n) for n in range(30, 70)])
    corpus = prepare(make_recipe(sources_of(a, b)), tmp_path / "c")
    removed = {
        name: source.removed["exact_duplicate"].documents for name, source in corpus.manifest.sources.items()
    }
    assert removed == {"s0": 2, "s1": 10}
    texts = [text for name in ("s0", "s1") for side in documents_of(corpus, name) for text in side]
    assert sorted(texts) == sorted(make_prose(n) for n in range(70))
    report = json.loads((corpus.folder / "removed.json").read_text())["sources"]
    sample = report["s1"]["exact_duplicate"]["samples"][0]
    assert sample["duplicate_of_source"] == "s0"
    assert sample["duplicate_of"] == sample["text"]
    assert "10 removed as exact duplicates" in corpus.summary()[1]


def nearly(text: str) -> str:
    return text.replace("number", "numeral", 1)


def test_near_duplicates_go_by_the_mode(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[..., Path], make_prose: Callable[..., str]
) -> None:
    originals = [make_prose(n, 400) for n in range(60)]
    data = make_jsonl(tmp_path / "a.jsonl", [*map(nearly, originals), *originals])
    sides = {}
    for mode in ("keep", "held_out", "remove"):
        recipe = make_recipe(sources_of(data), corpus={"near_duplicates": mode, "held_out": 0.2})
        corpus = prepare(recipe, tmp_path / mode)
        train, held_out = sides[mode] = documents_of(corpus, "s0")
        pairs = {(nearly(text), text) for text in originals}
        across = sum((a in train and b in held_out) or (b in train and a in held_out) for a, b in pairs)
        assert (across > 0) == (mode == "keep")
    assert sorted([*sides["keep"][0], *sides["keep"][1]]) == sorted([*map(nearly, originals), *originals])
    assert sorted(sides["held_out"][1]) == sorted(sides["keep"][1])  # what is held out stays
    assert sorted([*sides["remove"][0], *sides["remove"][1]]) == sorted(map(nearly, originals))


def test_documents_that_hold_an_evaluation_item_are_removed(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[..., Path], make_prose: Callable[..., str]
) -> None:
    question = "Which of the seven grey horses ran across the wide valley before the storm came down on it?"
    items = tmp_path / "eval" / "test.jsonl"
    items.parent.mkdir()
    items.write_text(json.dumps({"question": question, "choices": {"text": ["a", "b"]}}) + "\n")
    texts = [make_prose(n) for n in range(50)]
    planted = [
        texts[0] + " " + question.upper() + " " + texts[1],
        texts[2] + " " + " ".join(question.split()[:12]),
    ]
    data = make_jsonl(tmp_path / "a.jsonl", [*texts, *planted])
    corpus = prepare(
        make_recipe(
            sources_of(data), corpus={"held_out": 0.1, "decontaminate": {"exam": {"path": str(items)}}}
        ),
        tmp_path / "c",
    )
    train, held_out = documents_of(corpus, "s0")
    left = train + held_out
    assert planted[0] not in left  # 13 words in a row, in another case
    assert planted[1] in left  # 12 words in a row are no proof
    report = json.loads((corpus.folder / "removed.json").read_text())["sources"]
    sample = report["s0"]["contaminated"]["samples"][0]
    assert sample["evaluation_set"] == "exam"
    assert "grey horses" in sample["words"].lower()


def test_the_report_says_how_much_was_lost_to_which_evaluation_set(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[..., Path], make_prose: Callable[..., str]
) -> None:
    def item(first: str) -> str:
        return " ".join(f"{first}{letter}" for letter in "abcdefghijklmnopqrst")

    sets = {"one": ["v", "w", "too short"], "two": ["x", "too short", "short too"], "none": ["z"]}
    for name, firsts in sets.items():
        items = [{"text": item(first) if len(first) == 1 else first} for first in firsts]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    texts = [make_prose(n) for n in range(80)]
    planted = {
        "s0": [(0, "v"), (1, "w"), (2, "vx")],  # what holds both sets counts for the first
        "s1": [(40, "v"), (41, "x"), (42, "x"), (43, "w"), (44, "x")],
    }
    lost: dict[str, dict[str, tuple[int, int]]] = {name: dict.fromkeys(sets, (0, 0)) for name in planted}
    for source, places in planted.items():
        for place, firsts in places:
            texts[place] += "".join(f" {item(first)}" for first in firsts)
            of = "two" if firsts == "x" else "one"
            documents, size = lost[source][of]
            lost[source][of] = (documents + 1, size + len(texts[place]))
    data = [make_jsonl(tmp_path / f"s{n}.jsonl", texts[40 * n : 40 * n + 40]) for n in range(2)]
    decontaminate = {name: {"path": str(tmp_path / f"{name}.jsonl")} for name in sets}
    corpus = prepare(
        make_recipe(sources_of(*data), corpus={"held_out": 0.1, "decontaminate": decontaminate}),
        tmp_path / "c",
    )
    report = json.loads((corpus.folder / "removed.json").read_text())
    found = report["evaluation_sets"]
    assert {name: (of["items"], of["short_items"], of["documents"]) for name, of in found.items()} == {
        "one": (3, 1, 5),
        "two": (3, 2, 3),
        "none": (1, 0, 0),
    }
    for name, of in found.items():
        by_source = {source: (one["documents"], one["bytes"]) for source, one in of["sources"].items()}
        assert by_source == {source: one[name] for source, one in lost.items() if one[name][0]}
        assert of["bytes"] == sum(size for _, size in by_source.values())
    for source, of in report["sources"].items():
        removed = corpus.manifest.sources[source].removed["contaminated"]
        assert of["contaminated"]["documents"] == removed.documents
        assert sum(size for _, size in lost[source].values()) == removed.bytes


def test_a_source_that_cleaning_empties_is_named_at_once(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[..., Path], make_prose: Callable[..., str]
) -> None:
    originals = [make_prose(n, 400) for n in range(40)]
    a = make_jsonl(tmp_path / "a.jsonl", originals)
    b = make_jsonl(tmp_path / "b.jsonl", [*map(nearly, originals)])
    recipe = make_recipe(sources_of(a, b), corpus={"near_duplicates": "remove", "held_out": 0.1})
    with pytest.raises(UserError, match=r"source 's1': too little text .*40 x near duplicate"):
        prepare(recipe, tmp_path / "c")
    assert not (tmp_path / "c" / "tokenizer").exists()


def test_another_evaluation_set_under_the_same_name_is_another_corpus(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    items = tmp_path / "exam.jsonl"
    items.write_text(json.dumps({"question": " ".join("abcdefghijklmnopqrst")}) + "\n")
    cleaning = {"held_out": 0.1, "decontaminate": {"exam": {"path": str(items)}}}
    recipe = make_recipe(sources_of(prose_file), corpus=cleaning)
    first = prepare(recipe, tmp_path / "c")
    assert prepare(recipe, tmp_path / "c").fingerprint == first.fingerprint
    items.write_text(json.dumps({"question": " ".join("tsrqponmlkjihgfedcba")}) + "\n")
    with pytest.raises(UserError, match=r"another configuration \(corpus\.decontaminate:"):
        prepare(recipe, tmp_path / "c")


# Engine


def test_the_corpus_is_the_same_whatever_the_workers(
    tmp_path: Path,
    make_recipe: RecipeMaker,
    make_jsonl: Callable[..., Path],
    make_prose: Callable[..., str],
    monkeypatch: Any,
) -> None:
    folder = tmp_path / "many"
    for n in range(8):
        make_jsonl(folder / f"{n}.jsonl", [make_prose(m, 300) for m in range(20 * n - 2, 20 * n + 20)])
    monkeypatch.setattr(files_module, "PART_BYTES", 10_000)
    sources = {"many": {"kind": "files", "path": str(folder), "limit": 150_000}}
    cleaning = {"near_duplicates": "remove", "held_out": 0.1}
    fingerprints = {
        prepare(
            make_recipe(sources, corpus=cleaning, execution={"workers": workers}), tmp_path / f"c{workers}"
        ).fingerprint
        for workers in (1, 2, 3)
    }
    assert len(fingerprints) == 1


def test_finished_work_is_used_again_as_long_as_it_fits(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path, monkeypatch: Any
) -> None:
    read: list[str] = []
    read_part = preparation_module.read_part

    def reading(reader: Any, *rest: Any) -> Any:
        read.append(reader.name)
        return read_part(reader, *rest)

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation_module, "read_part", reading)
    monkeypatch.setattr(preparation_module, "assemble_source", interrupted)
    folder = tmp_path / "c"

    def attempt(**changes: Any) -> int:
        read.clear()
        recipe = make_recipe(sources_of(prose_file), **changes)
        with pytest.raises(KeyboardInterrupt):
            prepare(recipe, folder)
        return len(read)

    assert attempt() == 1
    assert attempt() == 0
    assert attempt(tokenizer={"vocab_size": 299}) == 0  # reading does not depend on the tokenizer
    os.utime(prose_file, (1, 1))
    assert attempt() == 0  # another time, the same bytes
    content = prose_file.read_bytes()
    prose_file.write_bytes(content.replace(b"river", b"RIVER"))
    assert attempt() == 1  # the same name and size, other bytes
    assert attempt(seed=3) == 1
    monkeypatch.setattr(jobs_keys, "CODE", "another version")
    assert attempt(seed=3) == 1


# Bad input


def test_a_corpus_of_another_configuration_is_refused_by_its_keys(
    prose_recipe: Recipe, prose_file: Path, tmp_path: Path, make_recipe: RecipeMaker
) -> None:
    prepare(prose_recipe, tmp_path / "c")
    source = {"prose": {"kind": "files", "path": str(prose_file)}}
    for change, key in (
        ({"corpus": {"held_out": 0.2}}, r"corpus\.held_out: 0\.1 -> 0\.2"),
        ({"tokenizer": {"vocab_size": 299}}, r"tokenizer\.vocab_size: 300 -> 299"),
        ({"seed": 5}, "seed: 0 -> 5"),
    ):
        with pytest.raises(UserError, match=rf"another configuration \({key}\)"):
            prepare(make_recipe(source, **change), tmp_path / "c")
    unlike = {"prose": source["prose"] | {"licence": "CC0"}}
    prepare(make_recipe(unlike, training={"learning_rate": 5e-3}), tmp_path / "c")
    with prose_file.open("a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(UserError, match=r"sources\.prose\.path: 1 files, .* -> 1 files, "):
        prepare(prose_recipe, tmp_path / "c")
    prose_file.unlink()  # gone after it was prepared: nothing to compare, nothing needed
    prepare(prose_recipe, tmp_path / "c")


def test_a_missing_source_is_named_with_its_path(tmp_path: Path, make_recipe: RecipeMaker) -> None:
    recipe = make_recipe({"books": {"kind": "files", "path": str(tmp_path / "nowhere")}})
    with pytest.raises(UserError, match=r"source 'books' \(sources\.books\.path\): .*nowhere does not exist"):
        prepare(recipe, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_hub_source_may_have_been_downloaded(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    hub = {"kind": "hub", "dataset": "who/what", "path": str(prose_file.parent)}
    (prose_file.parent / "README.md").write_text("# The dataset's card")
    source = prepare(make_recipe({"edu": hub}), tmp_path / "c").manifest.sources["edu"]
    assert source.train.documents + source.held_out.documents == 60


def test_too_little_text_names_source_and_reasons(
    tmp_path: Path, make_recipe: RecipeMaker, make_jsonl: Callable[[Path, list[str]], Path]
) -> None:
    data = make_jsonl(tmp_path / "d.jsonl", [f"text {n}" for n in range(9)])
    with pytest.raises(
        UserError, match="source 's0': too little text for the held-out split: found 9 usable"
    ):
        prepare(make_recipe(sources_of(data)), tmp_path / "c")
    data.write_text('{"content": "text", "id": 1}\n' * 50)
    with pytest.raises(
        UserError, match=r"50 x no text field .* have the fields content, id, .*text_field is"
    ):
        prepare(make_recipe(sources_of(data)), tmp_path / "d")
    make_jsonl(data, [f"tiny {n}" for n in range(12)])
    recipe = make_recipe(
        sources_of(data), tokenizer={"vocab_size": 258}, training={"sequence_length": 64, "tokens": 64 * 4}
    )
    with pytest.raises(
        UserError, match=r"source 's0': too little text: it has \d+ training tokens, less than one"
    ):
        prepare(recipe, tmp_path / "e")


def test_a_folder_with_other_things_is_left_alone(prose_recipe: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("precious")
    with pytest.raises(UserError, match="holds other things"):
        prepare(prose_recipe, folder)
    assert [item.name for item in folder.iterdir()] == ["chapter.txt"]
    with pytest.raises(UserError, match="this is a file"):
        prepare(prose_recipe, folder / "chapter.txt")
    with pytest.raises(UserError, match="cannot be made"):
        prepare(prose_recipe, folder / "chapter.txt" / "corpus")


def test_what_is_no_finished_corpus_does_not_open(prose_recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no corpus"):
        open_corpus(tmp_path)
    folder = prepare(prose_recipe, tmp_path / "c").folder
    path = folder / "manifest.json"
    good = path.read_text()
    path.write_text(good.replace('"format": 2', '"format": 3', 1))
    with pytest.raises(UserError, match="has format 3, this Flyweight reads up to 2"):
        open_corpus(folder)
    path.write_text('{"format": 2, "key": 3}')
    with pytest.raises(UserError, match="not a corpus manifest"):
        open_corpus(folder)
    path.unlink()
    with pytest.raises(UserError, match="unfinished corpus"):
        open_corpus(folder)


def test_verify_names_the_file_with_a_flipped_byte(prose_recipe: Recipe, tmp_path: Path) -> None:
    folder = prepare(prose_recipe, tmp_path / "c").folder
    verify(folder)
    for path in sorted((folder / "sources" / "prose").glob("*-0*")):
        good = path.read_bytes()
        path.write_bytes(good[:50] + bytes([good[50] ^ 4]) + good[51:])
        open_corpus(folder)  # constant time: the content is not read
        with pytest.raises(UserError, match="checksum") as error:
            verify(folder)
        assert str(path) in str(error.value)
        path.write_bytes(good)
    path = folder / "sources" / "prose" / "train-00000.tokens"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UserError, match="truncated shard"):
        open_corpus(folder)


def test_verify_names_every_file_that_is_not_as_it_was(prose_recipe: Recipe, tmp_path: Path) -> None:
    folder = prepare(prose_recipe, tmp_path / "c").folder
    shards = folder / "sources" / "prose"
    (shards / "train-00000.tokens").unlink()
    (shards / "train-00000.documents").unlink()
    truncated, changed = shards / "held_out-00000.tokens", shards / "held_out-00000.documents"
    truncated.write_bytes(truncated.read_bytes()[:-3])
    changed.write_bytes(changed.read_bytes()[:-1] + b"!")
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(UserError) as error:
        verify(folder)
    first, *others = str(error.value).splitlines()
    assert first.startswith(f"{folder}: 5 things")
    expected = [
        (shards / "train-00000.tokens", "cannot be read"),
        (shards / "train-00000.documents", "cannot be read"),
        (truncated, "truncated shard"),
        (changed, "checksum"),
        (folder / "tokenizer", ""),
    ]
    for line, (path, message) in zip(others, expected, strict=True):
        assert line.startswith(str(path))
        assert message in line


def test_verify_names_every_number_of_the_manifest_that_changed(prose_recipe: Recipe, tmp_path: Path) -> None:
    folder = prepare(prose_recipe, tmp_path / "c").folder
    path = folder / "manifest.json"
    good = path.read_text()
    fingerprint = json.loads(good)["fingerprint"]
    for side, key in itertools.product(["train", "held_out"], ["documents", "tokens", "bytes"]):
        manifest = json.loads(good)
        true = manifest["sources"]["prose"][side][key]
        manifest["sources"]["prose"][side][key] = true + 1
        manifest["fingerprint"] = "0" * 16
        path.write_text(json.dumps(manifest))
        with pytest.raises(UserError) as error:
            verify(folder)
        first, number, whole = str(error.value).splitlines()
        assert first.startswith(f"{folder}: 2 things")
        assert f"{path}: sources.prose.{side}.{key} is {true + 1:,}, but" in number
        assert f"it is {true:,}, so" in number
        assert f"{path}: fingerprint is {'0' * 16}, but by the checksums it is {fingerprint}, so" in whole


def test_another_tokenizer_in_the_folder_is_noticed(
    prose_recipe: Recipe, tmp_path: Path, make_prose: Callable[[int], str]
) -> None:
    folder = prepare(prose_recipe, tmp_path / "c").folder
    train_bpe((make_prose(n) for n in range(9)), 290, "qwen2", "<|endoftext|>").save(folder / "tokenizer")
    with pytest.raises(UserError, match="not the tokenizer that this corpus was made with"):
        open_corpus(folder)


# Interrupted


def test_an_error_while_encoding_keeps_what_is_done(
    tmp_path: Path,
    make_recipe: RecipeMaker,
    prose_file: Path,
    make_prose: Any,
    make_jsonl: Any,
    monkeypatch: Any,
) -> None:
    other = make_jsonl(tmp_path / "other.jsonl", [make_prose(n) for n in range(100, 130)])
    recipe = make_recipe(sources_of(prose_file, other))
    expected = prepare(recipe, tmp_path / "whole").fingerprint
    folder = tmp_path / "c"
    read: list[str] = []
    encoded: list[str] = []
    read_part, encode_chunk = preparation_module.read_part, preparation_module.encode_chunk

    def reading(reader: Any, *rest: Any) -> Any:
        read.append(reader.name)
        return read_part(reader, *rest)

    def failing(chunk: Any, number: int, *rest: Any) -> Any:
        encoded.append(Path(chunk.folder).parent.name)
        if number == 1 and encoded.count("s1") == 1:
            raise UserError("the disk is full")
        return encode_chunk(chunk, number, *rest)

    monkeypatch.setattr(preparation_module, "read_part", reading)
    monkeypatch.setattr(preparation_module, "encode_chunk", failing)
    with pytest.raises(UserError, match="the disk is full"):
        prepare(recipe, folder)
    with pytest.raises(UserError, match="no corpus"):
        open_corpus(folder)
    monkeypatch.setattr(preparation_module, "encode_chunk", encode_chunk)
    assert prepare(recipe, folder).fingerprint == expected
    assert read == ["s0", "s1"]  # nothing was read twice


def test_an_unfinished_folder_of_another_recipe_is_made_anew(
    tmp_path: Path, prose_recipe: Recipe, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    folder = prepare(prose_recipe, tmp_path / "c").folder
    (folder / "manifest.json").unlink()
    changed = make_recipe(
        {"prose": {"kind": "files", "path": str(prose_file)}}, corpus={"held_out": 0.3}, seed=4
    )
    expected = prepare(changed, tmp_path / "fresh").fingerprint
    assert prepare(changed, folder).fingerprint == expected


def test_a_source_that_was_renamed_leaves_nothing_behind(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    source = {"kind": "files", "path": str(prose_file)}
    folder = prepare(make_recipe({"old": source}), tmp_path / "c").folder
    (folder / "manifest.json").unlink()
    prepare(make_recipe({"new": source}), folder)
    assert [place.name for place in (folder / "sources").iterdir()] == ["new"]


CHILD = """
import os, signal, sys, json
from pathlib import Path
from flyweight.corpus import prepare
from flyweight.recipe import recipe_from_dict
calls = 0
def progress(stage, share):
    global calls
    calls += 1
    if calls == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
prepare(recipe_from_dict(json.loads(Path(sys.argv[1]).read_text())), Path(sys.argv[2]), progress)
"""


def test_killed_anywhere_it_never_looks_finished_and_goes_on(
    tmp_path: Path, make_recipe: RecipeMaker, prose_file: Path
) -> None:
    sources = sources_of(prose_file) | {"sums": {"kind": "builtin", "builtin": "arithmetic", "limit": 30_000}}
    recipe = make_recipe(sources)
    expected = prepare(recipe, tmp_path / "whole").fingerprint
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    folder = tmp_path / "c"
    for call in (2, 6, 9):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "recipe.json"), str(folder), str(call)]
        done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
        assert done.returncode == -signal.SIGKILL
        with pytest.raises(UserError):
            open_corpus(folder)
    assert prepare(recipe, folder).fingerprint == expected
    verify(folder)
    assert not list(folder.rglob("*.tmp"))


def test_two_processes_never_prepare_one_folder(prose_recipe: Recipe, tmp_path: Path) -> None:
    def progress(stage: str, share: float) -> None:
        with pytest.raises(UserError, match="another process is preparing"):
            prepare(prose_recipe, tmp_path / "c")

    prepare(prose_recipe, tmp_path / "c", progress)


@pytest.mark.shared
def test_real_corpora(make_recipe: RecipeMaker, tmp_path: Path) -> None:
    data = Path(__file__).resolve().parents[3] / "shared" / "data" / "corpora"
    if not data.is_dir():
        pytest.skip(f"{data} is absent: the folder of real data does not lie beside this checkout")
    sources = {
        name: {"kind": "files", "path": str(data / f"{name}.jsonl.zst"), "limit": 2_000_000}
        for name in ("textbooks", "math")
    }
    recipe = make_recipe(
        sources,
        tokenizer={"vocab_size": 2000, "sample": 1_000_000},
        model={"vocab_size": 2048},
        corpus={"held_out": 0.02},
    )
    corpus = prepare(recipe, tmp_path / "c")
    verify(corpus.folder)
    for name in sources:
        source = corpus.manifest.sources[name]
        assert not source.bad_records
        assert 1_500_000 < source.train.bytes + source.held_out.bytes <= 2_000_000
        assert 2.5 < corpus.bytes_per_token(name) < 5
        documents_of(corpus, name)
