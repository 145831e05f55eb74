from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flyweight.evaluation.tokenizer_fertility as module
from flyweight.base import UserError
from flyweight.corpus import TextTokenizer, train_tokenizer
from flyweight.evaluation import measure_tokenizers

TEXTS = {"words": ["the cat and the dog and the bird"] * 3, "signs": ["☃☃", "é"]}


@pytest.fixture
def corpus(
    tokenizer: TextTokenizer, held_out_of: Callable[[list[str]], Any], monkeypatch: pytest.MonkeyPatch
) -> Path:
    opened = SimpleNamespace(
        tokenizer=tokenizer, held_out={name: held_out_of(texts) for name, texts in TEXTS.items()}
    )
    monkeypatch.setattr(module, "open_corpus", lambda folder: opened)
    return Path("corpus")


def test_bytes_per_token_by_tokenizer_and_source(corpus: Path, tmp_path: Path):
    other = train_tokenizer(TEXTS["words"], 266, "qwen2", "[END]")  # its end of text is another one
    other.save(tmp_path)
    table = measure_tokenizers(corpus, [tmp_path])
    assert table["corpus"] == {"words": 1.0, "signs": 1.0}  # the corpus's tokenizer has a token a byte
    size = sum(len(text.encode()) for text in TEXTS["words"])
    tokens = sum(len(other.encode(text)) for text in TEXTS["words"])
    assert table[str(tmp_path)] == {"words": size / tokens, "signs": 1.0}
    assert size > tokens


def test_what_is_no_tokenizer_is_told(corpus: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no such tokenizer"):
        measure_tokenizers(corpus, [tmp_path])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        measure_tokenizers(corpus, [tmp_path])
