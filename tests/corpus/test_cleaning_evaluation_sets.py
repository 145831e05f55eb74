from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flyweight.base import UserError
from flyweight.corpus.cleaning import evaluation_sets as module
from flyweight.corpus.cleaning.evaluation_sets import build_index, read_items, strings
from flyweight.corpus.cleaning.words import hash_words
from flyweight.corpus.reading import hub
from flyweight.corpus.reading.hub import HubFile, HubListing
from flyweight.recipe import EvaluationSet

QUESTION = "which of these thirteen different words would you say is the one that matters most here"
ANSWER = "the answer to such a long question is of course itself long enough to be found again"


def write(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def found(index: Any, text: str) -> int:
    return int(index.find(hash_words([text.encode()]))[0])


def test_strings_are_found_however_deep() -> None:
    record = {"a": "x", "b": [{"c": ("y", 3)}, ["z", None]], "d": {"e": {"f": "w"}}, "g": True}
    assert list(strings(record)) == ["x", "y", "z", "w"]


def test_all_strings_or_the_named_fields_are_indexed(tmp_path: Path) -> None:
    file = write(
        tmp_path / "set.jsonl", [{"question": QUESTION, "choices": {"text": ["no", ANSWER]}, "id": 4}]
    )
    whole = build_index({"s": EvaluationSet(path=str(file))}, tmp_path / "whole")
    assert (found(whole, QUESTION), found(whole, ANSWER)) == (0, 0)
    only = build_index({"s": EvaluationSet(path=str(file), fields=("choices.text",))}, tmp_path / "only")
    assert (found(only, QUESTION), found(only, ANSWER)) == (-1, 0)


def test_folders_of_json_and_text(tmp_path: Path) -> None:
    folder = tmp_path / "bbh"
    (folder / "prompts").mkdir(parents=True)
    (folder / "task.json").write_text(
        json.dumps({"canary": "x", "examples": [{"input": QUESTION}, {"input": "b"}]})
    )
    (folder / "prompts" / "task.txt").write_text(ANSWER)
    index = build_index({"bbh": EvaluationSet(path=str(folder))}, tmp_path / "index")
    assert (found(index, QUESTION), found(index, ANSWER)) == (0, 0)
    assert (index.sets[0].items, index.sets[0].short_items) == (3, 1)


def test_an_index_is_made_once_for_the_same_settings_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    build = module.EvaluationIndex.build
    monkeypatch.setattr(module.EvaluationIndex, "build", lambda *of: made.append(1) or build(*of))
    file = write(tmp_path / "set.jsonl", [{"question": QUESTION, "answer": ANSWER}])
    folder = tmp_path / "index"

    def times_made(path: Path, name: str = "s", **settings: Any) -> int:
        made.clear()
        index = build_index({name: EvaluationSet(path=str(path), **settings)}, folder)
        assert index.names == (name,)
        return len(made)

    assert times_made(file) == 1
    assert times_made(file) == 0
    moved = write(tmp_path / "elsewhere" / "set.jsonl", [{"question": QUESTION, "answer": ANSWER}])
    assert times_made(moved) == 0  # the same bytes in another place
    assert times_made(file, fields=("answer",)) == 1
    assert times_made(file, name="t") == 1
    assert times_made(file, name="t") == 0
    write(file, [{"question": ANSWER, "answer": QUESTION}])
    assert times_made(file, name="t") == 1
    (folder / "hashes.npy").write_bytes(b"broken")
    assert times_made(file, name="t") == 1
    assert times_made(file, name="t") == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_a_dataset_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own part is tested with a server elsewhere; here: what is asked of it, and how often."""
    commit, calls = "a" * 40, []

    def resolve(dataset: str, subset: Any, split: str, revision: Any, files: Any, where: str) -> HubListing:
        calls.append(("resolve", dataset, subset, split, revision))
        return HubListing(dataset, commit, (HubFile("test.jsonl", 1, "1"), HubFile("picture.png", 1, "2")))

    def download(dataset: str, of: str, path: str, scratch: Path) -> Path:
        calls.append(("download", of, path))
        return write(scratch / path, [{"question": QUESTION}])

    monkeypatch.setattr(hub, "resolve", resolve)
    monkeypatch.setattr(hub, "download", download)
    folder = tmp_path / "index"
    free = {"s": EvaluationSet(dataset="owner/set", subset="main")}
    assert found(build_index(free, folder), QUESTION) == 0
    assert calls == [("resolve", "owner/set", "main", "test", None), ("download", commit, "test.jsonl")]
    calls.clear()
    build_index(free, folder)
    assert calls == [("resolve", "owner/set", "main", "test", None)]  # the branch could have moved
    pinned = {"s": EvaluationSet(dataset="owner/set", subset="main", revision=commit)}
    build_index(pinned, folder)
    calls.clear()
    build_index(pinned, folder)
    assert calls == []


@pytest.mark.parametrize(
    ("records", "settings", "sentence"),
    [
        ([], {}, "no records"),
        ([{"a": "b"}], {"fields": ("question", "answer")}, r"none of the fields question, answer.* has a"),
        ([{"q": "b"}, {"a": "b"}], {"fields": ("q",)}, "1 of 2 records"),
        ([{"q": "b"}, ["no object"]], {}, r"not a JSON object .first at .*set.jsonl:2"),
    ],
)
def test_sets_that_would_be_compared_with_in_part_are_refused(
    tmp_path: Path, records: list[Any], settings: dict[str, Any], sentence: str
) -> None:
    file = write(tmp_path / "set.jsonl", records)
    with pytest.raises(UserError, match=sentence) as caught:
        build_index({"mine": EvaluationSet(path=str(file), **settings)}, tmp_path / "index")
    assert "corpus.decontaminate.mine" in str(caught.value)
    assert not (tmp_path / "index").exists()


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus\.decontaminate\.mine.*does not exist"):
        build_index({"mine": EvaluationSet(path=str(tmp_path / "nowhere"))}, tmp_path / "index")


def test_blank_lines_are_no_bad_records(tmp_path: Path) -> None:
    file = tmp_path / "set.jsonl"
    file.write_text(json.dumps({"q": QUESTION}) + "\n\n\n")
    assert list(read_items("s", EvaluationSet(path=str(file)), tmp_path)) == [[QUESTION]]
