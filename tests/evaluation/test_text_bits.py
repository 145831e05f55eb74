from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from flyweight.base import UserError
from flyweight.evaluation import bits_per_byte, compressor_bits_per_byte
from flyweight.evaluation.text_bits import text_bits
from flyweight.evaluation.texts import read_texts
from flyweight.inference import DecoderModel, LanguageModel

TEXTS = ["The cat sat on the mat.", "Ünïcode ☃", "b", "A longer document, over more than one window. " * 3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four documents: two texts, and two records of which one is compressed."""
    place = tmp_path / "texts"
    (place / "deep").mkdir(parents=True)
    (place / "a.txt").write_text(TEXTS[0])
    (place / "b.md").write_text(TEXTS[1])
    (place / "c.jsonl").write_text(json.dumps({"text": TEXTS[2]}) + "\n")
    (place / "deep" / "d.jsonl.zst").write_bytes(
        zstandard.compress((json.dumps({"text": TEXTS[3]}) + "\n" + json.dumps({"body": "x"})).encode())
    )
    return place


def test_documents_are_read_whole_and_as_they_are(folder: Path):
    found = read_texts([folder])
    assert [document.text for document in found.documents] == TEXTS
    assert [document.name for document in found.documents] == [
        "texts/a.txt:1", "texts/b.md:1", "texts/c.jsonl:1", "texts/deep/d.jsonl.zst:1"
    ]  # fmt: skip
    assert "1 x no text field" in found.skipped
    long = "".join(f"line {n}\n\n" for n in range(30_000))
    (folder / "a.txt").write_text(long)
    assert read_texts([folder / "a.txt"]).documents[0].text == long
    assert len(read_texts([folder], max_bytes=len(long) + 13).documents) == 2
    assert len(read_texts([folder], max_bytes=1).documents) == 1


def test_the_total_is_that_of_the_held_out_rule(
    model: DecoderModel, folder: Path, held_out_of: Callable[[list[str]], Any]
):
    found = text_bits(model, [folder], batch_tokens=50)
    expected = bits_per_byte(model, held_out_of(TEXTS))
    assert found.total.bits_per_byte == pytest.approx(expected.bits_per_byte, rel=1e-6)
    assert (found.total.bytes, found.total.tokens) == (expected.bytes, expected.tokens)
    assert [one.bytes for one in found.documents] == [len(text.encode()) for text in TEXTS]


def test_a_document_has_its_own_tokens(uniform: LanguageModel, folder: Path):
    found = text_bits(uniform, [folder])
    for one in found.documents:
        assert one.bits_per_byte == pytest.approx(math.log2(260))
        assert one.tokens == one.bytes  # a token a byte
    assert found.stderr == pytest.approx(0, abs=1e-6)


def test_the_error_is_that_of_documents_drawn_again(model: DecoderModel, tmp_path: Path):
    random = np.random.default_rng(0)
    alphabet = ["e", "ab", "Ω", "the "]
    lines = [json.dumps({"text": alphabet[n % 4] * int(random.integers(3, 40))}) for n in range(60)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    found = text_bits(model, [tmp_path])
    nats = np.array([one.nats for one in found.documents])
    sizes = np.array([one.bytes for one in found.documents])
    drawn = random.integers(0, 60, (4000, 60))
    spread = (nats[drawn].sum(1) / sizes[drawn].sum(1) / math.log(2)).std()
    assert found.stderr == pytest.approx(spread, rel=0.1)


def test_results_and_compressors_lie_beside_each_other(model: DecoderModel, folder: Path):
    found = text_bits(model, [folder], compressors=True)
    assert found.compressors == compressor_bits_per_byte(TEXTS)
    result = found.to_result()
    column, weights = result.items["bits_per_byte"], result.items["weight"]
    assert np.average(column, weights=weights) == pytest.approx(result.metrics["bits_per_byte"].value)
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["data"]["fingerprint"]
    assert found.fingerprint != text_bits(model, [folder / "a.txt"]).fingerprint
    json.dumps(found.to_json(), allow_nan=False)


def test_what_is_no_text_is_told(folder: Path):
    with pytest.raises(UserError, match=r"have the fields text; expected .* a field 'body'"):
        read_texts([folder / "c.jsonl"], text_field="body")
    with pytest.raises(UserError, match="does not exist"):
        read_texts([folder / "nothing"])
    (folder / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="invalid UTF-8"):
        read_texts([folder / "a.txt"])
