from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from flyweight.corpus import TextTokenizer
from flyweight.inference import DecoderModel, LanguageModel
from flyweight.inference.language_model import Scored
from flyweight.model import Decoder, Placement
from flyweight.recipe import Model, Parametrization

END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 260


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """One token a byte, and end_of_text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {END_OF_TEXT: 0} | {letter: number for number, letter in enumerate(alphabet, 1)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.add_special_tokens([END_OF_TEXT])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    backend.save(str(file))
    return TextTokenizer.load(file, END_OF_TEXT)


@pytest.fixture(scope="session")
def model(tokenizer: TextTokenizer) -> DecoderModel:
    config = Model(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=24,
        exclusive_attention=True,
    )  # fmt: skip
    decoder = Decoder(config, Parametrization(init_std=0.3)).initialize(seed=1)
    return DecoderModel(decoder, tokenizer, name="tiny")


class JudgingModel(LanguageModel):
    """Gives each continuation the log-likelihood that `judge` says of the whole text.

    A token's is what the text with it has more than the text before it; the first that is scored in a row (all of
    its requests have one context here) has what the text with it has.
    """

    def __init__(self, tokenizer: TextTokenizer, judge: Callable[[str], float]) -> None:
        super().__init__("judge", tokenizer, 4096, torch.device("cpu"))
        self.judge = judge

    def logits_at(
        self, tokens: Tensor, rows: Tensor, positions: Tensor, placement: Placement | None = None
    ) -> Tensor:
        raise AssertionError("scoring asks for the log-probabilities of targets only")

    def score(
        self,
        tokens: Tensor,
        rows: Tensor,
        positions: Tensor,
        owners: Tensor,
        targets: Tensor,
        placement: Placement | None = None,
    ) -> Scored:
        values = torch.zeros(len(targets))
        for index, (owner, target) in enumerate(zip(owners.tolist(), targets.tolist(), strict=True)):
            before = tokens[rows[owner], : positions[owner] + 1].tolist()
            first = positions[owner] == positions[rows == rows[owner]].min()
            values[index] = self._judged([*before, target]) - (0.0 if first else self._judged(before))
        return Scored(values, torch.zeros(len(targets), dtype=torch.bool))

    def _judged(self, tokens: list[int]) -> float:
        return self.judge(self.tokenizer.decode([token for token in tokens if token != self.prefix_token]))


@pytest.fixture
def judging(tokenizer: TextTokenizer) -> Callable[[Callable[[str], float]], LanguageModel]:
    """Makes a model that judges whole texts."""
    return lambda judge: JudgingModel(tokenizer, judge)


class UniformModel(LanguageModel):
    """Every token is as likely as every other."""

    def logits_at(
        self, tokens: Tensor, rows: Tensor, positions: Tensor, placement: Placement | None = None
    ) -> Tensor:
        return torch.full((len(rows), VOCABULARY), 3.0)


@pytest.fixture
def uniform(tokenizer: TextTokenizer) -> LanguageModel:
    return UniformModel("uniform", tokenizer, 24, torch.device("cpu"))


@pytest.fixture
def held_out_of(tokenizer: TextTokenizer) -> Callable[[list[str]], Any]:
    """Makes a held-out split out of texts; only what evaluation reads of one."""

    def make(texts: list[str]) -> Any:
        documents = [[*tokenizer.encode(text), tokenizer.end_of_text] for text in texts]
        return SimpleNamespace(
            tokens=np.array([token for document in documents for token in document], dtype=np.uint16),
            document_tokens=np.array([len(document) for document in documents], dtype=np.int64),
            document_bytes=np.array([len(text.encode()) for text in texts], dtype=np.int64),
        )

    return make


@pytest.fixture
def benchmarks_folder(tmp_path: Path) -> Path:
    """Local files of some benchmarks, in the fields of their releases."""
    folder = tmp_path / "benchmarks"
    files: dict[str, list[dict[str, Any]]] = {
        "piqa/validation": [
            {"goal": f"open box {n}", "sol1": f"pull {n}", "sol2": f"push it {n}", "label": n % 2} for n in range(6)
        ],
        "hellaswag/validation": [
            {
                "activity_label": "Boxes", "ctx_a": f"Box {n} is here.", "ctx_b": "he",
                "endings": [f"opens  box {n} [step] now.", "eats it.", "sings.", "sleeps."], "label": str(n % 4),
            }
            for n in range(5)
        ],
        "winogrande/validation": [
            {"sentence": f"Ann met Bo {n} so _ ran away.", "option1": "Ann", "option2": "Bo", "answer": str(1 + n % 2)}
            for n in range(4)
        ],
        "boolq/validation": [
            {"question": f"is {n} odd", "passage": f"{n} and so on.", "answer": n % 2 == 1} for n in range(4)
        ],
        "lambada_openai/test": [{"text": f"one two three {n}"} for n in range(3)],
        "wikitext/test": [{"page": " = A page = \n\n It has some words , and more . \n"}],
        "gsm8k/test": [{"question": f"How many is {n} and 1 ?", "answer": f"so\n#### {n + 1}"} for n in range(5)],
        "gsm8k/train": [{"question": f"What is {n} ?", "answer": f"It is {n}.\n#### {n}"} for n in range(9)],
    }  # fmt: skip
    for name, records in files.items():
        file = folder / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: TextTokenizer) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("hf") / "llama"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend, eos_token=tokenizer.end_of_text_text
    ).save_pretrained(folder)
    return folder
