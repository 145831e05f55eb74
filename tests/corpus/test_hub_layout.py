"""Which files of a dataset are a subset and a split."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flyweight.base import UserError
from flyweight.corpus.reading.hub_layout import choose_files, matching, natural_key


def card(configs: str) -> str:
    return f"---\nlicense: odc-by\n{configs}---\n# A dataset\n"


FINEWEB = card(
    "configs:\n"
    "- config_name: default\n  data_files:\n  - split: train\n    path: data/*/*\n"
    "- config_name: sample-100BT\n  data_files:\n  - split: train\n    path: sample/100BT/*\n"
)
FINEWEB_FILES = [
    ".gitattributes", "README.md", "data/CC-MAIN-2013-20/000_00000.parquet", "data/CC-MAIN-2024-10/a.parquet",
    "sample/100BT/000_00000.parquet", "sample/100BT/013_00002.parquet", "sample/10BT/000_00000.parquet",
]  # fmt: skip


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ("sample-100BT", ["sample/100BT/000_00000.parquet", "sample/100BT/013_00002.parquet"]),
        (None, ["data/CC-MAIN-2013-20/000_00000.parquet", "data/CC-MAIN-2024-10/a.parquet"]),
    ],
)
def test_the_card_names_the_files_of_a_subset(subset, expected):
    assert choose_files(FINEWEB_FILES, FINEWEB, "org/fineweb-edu", subset, "train") == expected


@pytest.mark.parametrize(
    "data_files",
    [
        "a/*.jsonl",
        '["a/1.jsonl", "a/2.jsonl"]',
        '[{split: train, path: "a/*"}, {split: test, path: "b/*"}]',
        '[{split: train, path: ["a/1.jsonl", "./a/2.jsonl"]}]',
        '{train: "a/**"}',
    ],
)
def test_every_way_of_writing_data_files(data_files):
    text = card(f"configs: [{{config_name: main, data_files: {data_files}}}]\n")
    paths = ["a/1.jsonl", "a/2.jsonl", "b/1.jsonl"]
    assert choose_files(paths, text, "org/x", "main", "train") == ["a/1.jsonl", "a/2.jsonl"]
    assert choose_files(paths, text, "org/x", None, "train") == ["a/1.jsonl", "a/2.jsonl"], "the only one"


def test_a_default_among_several_subsets():
    text = card(
        "configs: [{config_name: a, data_files: a.txt}, {config_name: b, data_files: b.txt, default: true}]\n"
    )
    assert choose_files(["a.txt", "b.txt"], text, "org/x", None, "train") == ["b.txt"]


def test_splits_that_the_card_calls_by_other_names_than_train():
    text = card(
        'configs: [{config_name: default, data_files: [{split: en, path: "data/en/*"}, {split: zh, path: z}]}]\n'
    )
    paths = ["data/en/part-1.parquet", "z/part-1.parquet"]
    assert choose_files(paths, text, "openbmb/Ultra-FineWeb", None, "en") == paths[:1]
    assert choose_files(paths, text, "openbmb/Ultra-FineWeb", None, "zh") == paths[1:]


def test_a_subset_with_a_folder_in_the_card():
    text = card("configs: [{config_name: a, data_dir: x}, {config_name: b, data_dir: y}]\n")
    paths = ["x/train.jsonl", "x/test.jsonl", "y/train.jsonl"]
    assert choose_files(paths, text, "org/x", "a", "train") == ["x/train.jsonl"]


@pytest.mark.parametrize(
    ("paths", "subset", "split", "expected"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/test-00000-of-00001.parquet"],
         None, "train", ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]),
        (["data/extra-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"],
         None, "extra", ["data/extra-00000-of-00001.parquet"]),
        (["algebraic-stack/train/c0007.jsonl.zst", "algebraic-stack/test/c.jsonl.zst", "arxiv/train/a.jsonl.zst"],
         "algebraic-stack", "train", ["algebraic-stack/train/c0007.jsonl.zst"]),
        (["python/train-00000-of-00059.parquet", "rust/train-00000-of-00001.parquet"],
         None, "train", ["python/train-00000-of-00059.parquet", "rust/train-00000-of-00001.parquet"]),
        (["python/train-00000-of-00059.parquet", "rust/train-00000-of-00001.parquet"],
         "python", "train", ["python/train-00000-of-00059.parquet"]),
        (["en/c4-train.00000-of-01024.json.gz", "en/c4-validation.00000-of-00008.json.gz"],
         "en", "validation", ["en/c4-validation.00000-of-00008.json.gz"]),
        (["train.jsonl", "dev.jsonl", "eval.jsonl"], None, "validation", ["dev.jsonl"]),
        (["train.jsonl", "dev.jsonl", "eval.jsonl"], None, "test", ["eval.jsonl"]),
        (["train.jsonl", "dev.jsonl"], None, "dev", ["dev.jsonl"]),
        (["global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst"], None, "train",
         ["global-shard_01_of_10/local-shard_0_of_10/shard_00000000_processed.jsonl.zst"]),
        (["data/CC-MAIN-2013-20/0.parquet"], "CC-MAIN-2013-20", "train", ["data/CC-MAIN-2013-20/0.parquet"]),
        (["train/test_1.jsonl", "validation/train.jsonl"], None, "train", ["train/test_1.jsonl"]),
        (["trainer.jsonl", "latest.jsonl"], None, "train", ["latest.jsonl", "trainer.jsonl"]),
    ],
)  # fmt: skip
def test_without_a_card_names_tell(paths, subset, split, expected):
    assert choose_files([*paths, "README.md", ".gitattributes"], "", "org/x", subset, split) == expected


def test_a_dataset_is_of_one_kind_of_files():
    paths = [
        "a.parquet",
        "b.parquet",
        "LICENSE.txt",
        "notes.md",
        "info.json",
        ".cache/c.parquet",
        "README.md",
    ]
    assert choose_files(paths, "", "org/x", None, "train") == ["a.parquet", "b.parquet"]


def test_patterns_of_the_recipe_come_before_the_card():
    paths = ["data/a-1.jsonl", "data/a-10.jsonl", "data/a-2.jsonl", "data/deep/a-3.jsonl", "data/a-1.arrow"]
    choose = lambda *patterns: choose_files(paths, FINEWEB, "org/x", "sample-100BT", "train", patterns)  # noqa: E731
    assert choose("data/a-*") == ["data/a-1.jsonl", "data/a-2.jsonl", "data/a-10.jsonl"]
    assert choose("data/**/*.jsonl", "data/a-?.jsonl")[-1] == "data/deep/a-3.jsonl"
    assert choose("data/deep") == ["data/deep/a-3.jsonl"]
    assert choose("data/a-[!1].jsonl") == ["data/a-2.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FINEWEB_FILES, FINEWEB, "org/x", "sample-1BT", "train"),
         r"^org/x has no subset 'sample-1BT'; it has default, sample-100BT\.$"),
        ((FINEWEB_FILES, FINEWEB, "org/x", "sample-100BT", "test"),
         r"^org/x, subset sample-100BT has no split 'test'; it has train\.$"),
        ((["x/a.jsonl"], "", "org/x", "y", "train"), r"^org/x has no subset 'y'; it has x\.$"),
        ((["a.jsonl"], "", "org/x", "y", "train"), r"no subset 'y', nor any other: leave `subset` out"),
        ((["data/train-00000-of-00001.parquet"], "", "org/x", None, "test"), r"has no split 'test'; it has train\.$"),
        ((["a.arrow", "b.bin"], "", "org/x", None, "train"), r"none of its files are data: a\.arrow, b\.bin"),
        ((["train/a.arrow"], card("configs: [{config_name: a, data_files: train/*}]\n"), "org/x", "a", "train"),
         r"no file of a kind that can be read \(train/a\.arrow\); supported are \.parquet, \.jsonl"),
        (([], "", "org/x", None, "train"), r"no files"),
        ((["a.txt", "b.txt"],
          card("configs: [{config_name: a, data_files: a.txt}, {config_name: b, data_files: b.txt}]\n"),
          "org/x", None, "train"), r"several subsets, .* choose one with `subset`: a, b\.$"),
        ((["a.txt"], card("configs: [{config_name: [}\n"), "org/x", None, "train"),
         r"YAML .* name the files with `files`"),
        ((["a.txt"], card("configs: [3]\n"), "org/x", None, "train"), r"YAML at the top of its card cannot be read"),
        ((["dolma.py", "urls/v1_7.txt"], "", "allenai/dolma", None, "train"),
         r"a program that fetches them from elsewhere"),
        ((["a.txt"], "", "org/x", None, "train", ["b/*"]),
         r"no file that matches 'b/\*' \(`files`\); it has a\.txt\.$"),
        ((["a.bin"], "", "org/x", None, "train", ["*"]),
         r"no file that matches '\*' .* of a kind that can be read \(a\.bin\)"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_with_what_is(arguments, message):
    with pytest.raises(UserError) as caught:
        choose_files(*arguments)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_numbers_in_names_sort_by_value_whatever_the_order_of_the_listing(numbers):
    paths = [f"data/part-{number}.jsonl" for number in numbers]
    chosen = choose_files(paths, "", "org/x", None, "train")
    assert chosen == [f"data/part-{number}.jsonl" for number in sorted(numbers)]
    assert chosen == choose_files(paths[::-1], "", "org/x", None, "train")


@given(st.text("ab01/.-", max_size=8), st.text("ab01/.-", max_size=8))
def test_no_two_paths_sort_alike(first, second):
    assert (natural_key(first) == natural_key(second)) == (first == second)


@given(st.text("ab*?[]!^-\\/.{}", min_size=1, max_size=10))
@example("[!]")
@example("[b-a]")
def test_every_pattern_is_a_rule_or_plain_text(pattern):
    found = matching(["a", "a/b.txt", "ab"], pattern)
    assert set(found) <= {"a", "a/b.txt", "ab"}
