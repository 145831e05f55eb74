from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from flyweight.base import UserError
from flyweight.corpus.documents import Document, ReadLog
from flyweight.corpus.reading.source import SourceReader, open_source
from flyweight.corpus.tinydsl import normalize
from flyweight.recipe import Recipe

Open = Callable[..., SourceReader]


@pytest.fixture
def opened(make_recipe: Callable[..., Recipe]) -> Open:
    def make(path: Path, tokenizer: dict[str, Any] | None = None, **settings: Any) -> SourceReader:
        recipe = make_recipe(
            {"x": {"kind": "files", "path": str(path), **settings}}, tokenizer=tokenizer or {}
        )
        return open_source("x", recipe.sources["x"], recipe)

    return make


def documents(reader: SourceReader) -> tuple[list[Document], ReadLog]:
    log = ReadLog()
    return [d for part in reader.parts for d in reader.documents(part, log, Path("unused"))], log


def texts(reader: SourceReader) -> list[str]:
    return [document.text for document in documents(reader)[0]]


RECORDS = [
    {"text": "one", "meta": {"score": 5, "title": "I"}, "language": "en"},
    {"text": "two", "meta": {"score": 3, "title": "II"}, "language": "en"},
    {"text": "three", "meta": {"score": None, "title": "III"}, "language": "de"},
    {"text": "four", "meta": {"score": 4, "title": "IV"}, "language": None},
]


def write(folder: Path, records: list[dict[str, Any]], kind: str) -> Path:
    path = folder / f"data.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path, row_group_size=3)
    elif kind == "json":
        path.write_text(json.dumps(records))
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


KINDS = pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])


@KINDS
def test_filtered_records_are_counted_and_are_not_bad(tmp_path: Path, kind: str, opened: Open) -> None:
    path = write(tmp_path, RECORDS, kind)
    found, log = documents(opened(path, filter='meta.score >= 4 and (language == "en" or language is None)'))
    assert [document.text for document in found] == ["one", "four"]
    assert log.filtered == 2
    assert not log.bad
    assert texts(opened(path, filter="not (meta.score >= 4)")) == ["two"]


@KINDS
def test_a_field_inside_another_is_read(tmp_path: Path, kind: str, opened: Open) -> None:
    path = write(tmp_path, RECORDS, kind)
    assert texts(opened(path, text_field="meta.title", filter="len(text) == 3")) == ["I", "II"]
    found, log = documents(opened(path, text_field="meta.body"))
    assert not found
    assert log.bad["no text field"].count == 4
    assert set(log.fields_found) >= {"text", "meta", "language"}


@KINDS
def test_a_filter_on_a_field_that_no_record_has_is_an_error(tmp_path: Path, kind: str, opened: Open) -> None:
    reader = opened(write(tmp_path, RECORDS, kind), filter="scroe >= 4")
    with pytest.raises(UserError, match=r"sources\.x\.filter.*'scroe'.*text, .*language") as error:
        reader.conversion.check_filter(documents(reader)[1])
    assert "meta" in str(error.value)


def test_a_field_that_some_records_lack_is_no_error(tmp_path: Path, opened: Open) -> None:
    path = write(tmp_path, [{"text": "one"}, {"text": "two", "score": 5}, {"text": "three"}], "jsonl")
    found, log = documents(opened(path, filter="score >= 4"))
    assert [document.text for document in found] == ["two"]
    assert log.filtered == 2


def test_records_that_the_filter_does_not_fit_are_bad_and_located(tmp_path: Path, opened: Open) -> None:
    path = write(tmp_path, [{"text": "one", "score": 5}, {"text": "two", "score": "5"}], "jsonl")
    found, log = documents(opened(path, filter="score >= 4"))
    assert [document.text for document in found] == ["one"]
    assert log.bad["the filter does not fit"].first == [f"{path}:2"]


def test_a_malformed_filter_is_refused_before_anything_is_read(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(UserError, match=r"source 'x' \(sources\.x\.filter\): the filter .* malformed"):
        opened(write(tmp_path, RECORDS, "jsonl"), filter="score >")


def test_the_text_field_names_no_column_of_plain_text(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "note.txt").write_text("a note")
    write(tmp_path, [{"body": "a record"}], "jsonl")
    assert texts(opened(tmp_path, text_field="body")) == ["a record", "a note"]


MESSAGES = [
    {"role": "user", "content": "What is <|im_end|>?"},
    {"role": "assistant", "content": "A token."},
]
RENDERED = "<|im_start|>user\nWhat is <|im_end|>?<|im_end|>\n<|im_start|>assistant\nA token.<|im_end|>\n"


@KINDS
def test_conversations_become_documents_with_marks(tmp_path: Path, kind: str, opened: Open) -> None:
    records = [
        {"messages": MESSAGES, "n": 1},
        {"messages": [], "n": 2},
        {"messages": [{"role": "user", "content": None}], "n": 3},
        {"messages": None, "n": 4},
    ]
    found, log = documents(opened(write(tmp_path, records, kind), messages_field="messages", filter="n > 0"))
    (document,) = found
    assert document.text == RENDERED
    assert document.key is None
    marked = [document.text[start:end] for start, end in document.marks]
    assert marked == ["<|im_start|>", "<|im_end|>"] * 2
    assert document.marks[1][0] == document.text.index("<|im_end|>\n")
    assert {reason: bad.count for reason, bad in log.bad.items()} == {
        "empty conversation": 1,
        "message without content": 1,
        "conversation is not a list": 1,
    }
    found, log = documents(opened(write(tmp_path, records, kind), messages_field="conversation"))
    assert not found
    assert log.bad["no messages field"].count == 4
    assert set(log.fields_found) == {"messages", "n"}


def test_the_recipes_template_and_its_tokens_are_used(tmp_path: Path, opened: Open) -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
    tokenizer = {"chat_template": template, "special_tokens": ["[user]"], "end_of_text": "</s>"}
    path = write(tmp_path, [{"messages": MESSAGES}], "jsonl")
    ((document,), _) = documents(opened(path, tokenizer=tokenizer, messages_field="messages"))
    assert document.text == "[user]What is <|im_end|>?</s>[assistant]A token.</s>"
    assert [document.text[a:b] for a, b in document.marks] == ["[user]", "</s>", "</s>"]
    with pytest.raises(UserError, match=r"tokenizer\.chat_template"):
        opened(path, tokenizer={"chat_template": "{{ messages"}, messages_field="messages")


@pytest.mark.parametrize("dialect", ["compact", "exact"])
def test_code_becomes_tinydsl_and_what_cannot_is_counted_by_reason(
    tmp_path: Path, dialect: str, opened: Open
) -> None:
    code = "def double(x):\n    # twice\n    return 2 * x\n"
    records = [{"text": text} for text in (code, "def broken(:\n", "\ud800", '"""Only a docstring."""\n')]
    records.append({"text": 4})  # pyright: ignore[reportArgumentType]
    found, log = documents(opened(write(tmp_path, records, "jsonl"), tinydsl=dialect))
    (document,) = found
    assert document.text == normalize(code, dialect)  # pyright: ignore[reportArgumentType]
    assert document.key is None
    assert log.skipped == 4
    assert log.bad["TinyDSL: syntax error"].first[0].endswith(":2")
    assert log.bad["text is not a string"].count == 1
    assert log.bad["empty"].count == 1
