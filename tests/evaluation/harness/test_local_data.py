from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from flyweight.base import UserError
from flyweight.corpus import TextTokenizer
from flyweight.evaluation.harness.catalogue import BENCHMARKS
from flyweight.evaluation.harness.encoding import encode_pairs
from flyweight.evaluation.harness.local_data import LocalData
from flyweight.evaluation.harness.rows import Rows
from flyweight.inference import DecoderModel


def data(name: str, folder: Path) -> LocalData:
    return LocalData(name, BENCHMARKS[name], folder)


def write(file: Path, *records: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_the_scored_split_is_enough_without_examples(benchmarks_folder: Path):
    found = data("piqa", benchmarks_folder)
    assert found.missing(0) is None
    assert "the 5 examples of its prompts need" in (found.missing(5) or "")
    assert "train.jsonl" in (found.missing(5) or "")
    assert list(found.splits()) == ["validation"]


def test_other_fields_are_named(tmp_path: Path):
    write(
        tmp_path / "piqa" / "validation.jsonl",
        {"goal": "a", "sol1": "b", "sol2": "c", "label": 0},
        {"goal": "x"},
    )
    with pytest.raises(
        UserError, match=r"validation.jsonl, record 2: piqa needs the fields sol1, sol2, label; found goal"
    ):
        data("piqa", tmp_path).splits()


@pytest.mark.parametrize(
    ("name", "file", "text", "message"),
    [
        (
            "hellaswag",
            "validation.csv",
            "activity_label,ctx_a,ctx_b,endings,label\na,b,c,d,1\n",
            "endings is one text",
        ),
        ("boolq", "validation.csv", "question,passage,label\né,b,1\n", "not a table in UTF-8"),
    ],
)
def test_tables_that_cannot_hold_a_benchmark(name: str, file: str, text: str, message: str, tmp_path: Path):
    (tmp_path / name).mkdir()
    (tmp_path / name / file).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message):
        data(name, tmp_path).splits()


def test_the_examples_that_a_task_has_by_itself_are_asked_for(benchmarks_folder: Path):
    assert data("gsm8k", benchmarks_folder).missing(None) is None
    (
        benchmarks_folder / "gsm8k" / "train.jsonl"
    ).unlink()  # lm-eval would take them from the items that are scored
    assert "the 5 examples of its prompts need" in (data("gsm8k", benchmarks_folder).missing(None) or "")
    assert data("gsm8k", benchmarks_folder).missing(0) is None


def test_lm_eval_draws_no_other_number_of_examples_from_files():
    from flyweight.evaluation.harness.loading import _index, _leaves

    for benchmark in BENCHMARKS.values():
        manager = _index(benchmark)
        config = manager.task_index[_leaves(manager, benchmark.task)[0]].cfg
        if benchmark.shots_split is not None:
            assert (config.get("num_fewshot") or 0) == benchmark.shots


def test_records_are_let_go_after_a_run(benchmarks_folder: Path):
    held = data("piqa", benchmarks_folder)
    held.splits()
    seen = weakref.ref(held)
    del held
    gc.collect()
    assert seen() is None


def test_subsets_by_field_by_file_and_by_folder(tmp_path: Path):
    question = {"question": "q", "choices": ["a", "b", "c", "d"], "answer": 1}
    write(
        tmp_path / "mmlu" / "test.jsonl",
        {**question, "subject": "anatomy"},
        {**question, "subject": "virology"},
    )
    assert len(data("mmlu", tmp_path).splits("virology")["test"]) == 1
    with pytest.raises(UserError, match="no items of the subset 'law'"):
        data("mmlu", tmp_path).splits("law")
    write(tmp_path / "blimp" / "island.jsonl", {"sentence_good": "a", "sentence_bad": "b"})
    assert len(data("blimp", tmp_path).splits("island")["train"]) == 1
    folder = tmp_path / "bbh"
    folder.mkdir()
    (folder / "word_sorting.json").write_text(json.dumps({"examples": [{"input": "i", "target": "t"}]}))
    assert data("bbh", tmp_path).splits("word_sorting")["test"][0]["target"] == "t"
    table = tmp_path / "cmmlu" / "test" / "agronomy.csv"
    table.parent.mkdir(parents=True)
    table.write_text("Question,A,B,C,D,Answer\nq,a,b,c,d,B\n", encoding="utf-8")
    assert data("cmmlu", tmp_path).splits("agronomy")["test"][0]["Answer"] == "B"
    write(
        tmp_path / "math" / "test.jsonl", {"problem": "p", "solution": "s", "type": "Counting & Probability"}
    )
    assert len(data("minerva_math", tmp_path).splits("counting_and_probability")["test"]) == 1


def test_the_test_problems_of_mbpp_are_11_to_510(tmp_path: Path):
    write(
        tmp_path / "mbpp" / "mbpp.jsonl",
        *({"task_id": n, "text": "t", "test_list": ["a", "b", "c"]} for n in (10, 11, 510, 511)),
    )
    assert [record["task_id"] for record in data("mbpp", tmp_path).splits()["test"]] == [11, 510]


def test_broken_files_are_told(tmp_path: Path):
    file = tmp_path / "bbh" / "word_sorting.json"
    file.parent.mkdir()
    for text, message in (("{", "not valid JSON"), ('{"a": 1}', "a list of objects")):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            data("bbh", tmp_path).splits("word_sorting")


def test_rows_are_mapped_once_and_keep_what_they_had():
    calls = []
    rows = Rows([{"a": 1}, {"a": 2}])

    def double(record: dict[str, int]) -> dict[str, int]:
        calls.append(record)
        return {"b": 2 * record["a"]}

    assert list(rows.map(double)) == list(rows.map(double)) == [{"a": 1, "b": 2}, {"a": 2, "b": 4}]
    assert len(calls) == 2
    assert list(rows.filter(lambda record: record["a"] > 1)) == [{"a": 2}]
    assert (rows["a"], rows[1], len(rows), rows.column_names) == ([1, 2], {"a": 2}, 2, ["a"])


def test_pairs_are_encoded_as_lm_eval_does(model: DecoderModel):
    encode = model.tokenizer.encode
    found = encode_pairs(model, [("ab ", "c"), ("", " x"), ("ab", " c")])
    assert found.requests[0] == (encode("ab"), encode(" c"))  # the space goes to the continuation
    assert found.requests[1] == ([model.prefix_token], encode(" x"))
    assert found.requests[0] == found.requests[2]
    assert found.split_apart == 0


def test_a_choice_that_joins_its_context_is_scored_apart_and_an_empty_one_is_told(model: DecoderModel):
    joined = TextTokenizer(Tokenizer(models.WordLevel({"ab": 0, "b": 1, "a": 2, "[UNK]": 3}, "[UNK]")), "ab")
    other = DecoderModel(model.decoder, joined)
    found = encode_pairs(other, [("a", "b")])
    assert (found.requests, found.split_apart) == ([([2], [1])], 1)
    with pytest.raises(UserError, match="a choice has no tokens"):
        encode_pairs(model, [("ab", "")])
    with pytest.raises(UserError, match="a text has no tokens"):
        encode_pairs(model, [("", "")])
