from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flyweight.evaluation.tokenizer_fertility as module
from flyweight.base import UserError
from flyweight.corpus import TextTokenizer
from flyweight.corpus.tokenizers import train_bpe
from flyweight.evaluation import measure_tokenizers
from flyweight.model import parameter_counts
from flyweight.recipe import load_recipe

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
    other = train_bpe(TEXTS["words"], 266, "qwen2", "[END]")  # its end of text is another one
    other.save(tmp_path)
    measure = measure_tokenizers(corpus, [tmp_path])
    assert measure.bytes_per_token["corpus"] == {"words": 1.0, "signs": 1.0}  # a token a byte
    size = sum(len(text.encode()) for text in TEXTS["words"])
    tokens = sum(len(other.encode(text)) for text in TEXTS["words"])
    assert measure.bytes_per_token[str(tmp_path)] == {"words": size / tokens, "signs": 1.0}
    assert size > tokens
    assert list(measure.entries) == ["corpus", str(tmp_path)]
    assert measure.entries[str(tmp_path)] == 266
    assert measure.vocabulary_share == {}


def test_the_share_of_the_parameters_that_each_vocabulary_takes(corpus: Path, tmp_path: Path):
    train_bpe(TEXTS["words"], 266, "qwen2", "<|endoftext|>").save(tmp_path)
    recipe = load_recipe("gpt-s-5m")
    shares = measure_tokenizers(corpus, [str(tmp_path)], recipe).vocabulary_share
    width, counts = recipe.model.hidden_size, parameter_counts(recipe.model)
    # The corpus's own has the rows of the model, padding included.
    assert shares["corpus"] == pytest.approx(786_432 / 5_158_464)
    rest = counts["blocks"] + counts["final_norm"]
    assert shares[str(tmp_path)] == pytest.approx(266 * width / (266 * width + rest))
    untied = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"tie_word_embeddings": False})}
    )
    doubled = measure_tokenizers(corpus, [], untied).vocabulary_share["corpus"]
    assert doubled == pytest.approx(2 * 786_432 / (5_158_464 + 786_432))


def test_a_name_without_a_path_is_fetched_from_the_hub(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub

    train_bpe(TEXTS["words"], 266, "qwen2", "[END]").save(tmp_path)
    asked: list[tuple[str, list[str]]] = []

    def fetch(identifier: str, allow_patterns: list[str]) -> str:
        asked.append((identifier, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    measure = measure_tokenizers(corpus, ["some-org/Some-Model"])
    assert measure.entries["some-org/Some-Model"] == 266
    assert asked[0][0] == "some-org/Some-Model"
    assert not [pattern for pattern in asked[0][1] if "safetensors" in pattern or "*" in pattern]


def test_without_a_network_the_name_is_told(corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"no-such-org/nothing: there is no such file or folder here.*hub"):
        measure_tokenizers(corpus, ["no-such-org/nothing"])
    with pytest.raises(UserError, match="no such tokenizer"):  # no name of the hub has two slashes
        measure_tokenizers(corpus, ["a/b/c"])


def test_what_is_no_tokenizer_is_told(corpus: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no such tokenizer"):
        measure_tokenizers(corpus, [tmp_path])
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="this is not a tokenizer"):
        measure_tokenizers(corpus, [tmp_path])
