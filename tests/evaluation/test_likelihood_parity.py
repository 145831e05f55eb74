"""Likelihoods through a Hugging Face folder against transformers itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from flyweight.corpus import TextTokenizer
from flyweight.evaluation import log_likelihoods
from flyweight.inference import load_model


@pytest.fixture(scope="module")
def llama_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: TextTokenizer) -> Path:
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


def test_likelihoods_are_those_of_transformers(llama_folder: Path):
    reference = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    rng = random.Random(5)
    requests, expected = [], []
    for _ in range(25):
        context = [rng.randrange(260) for _ in range(rng.randint(1, 20))]
        continuation = [rng.randrange(260) for _ in range(rng.randint(1, 20))]
        ids = torch.tensor([context + continuation])
        labels = ids.clone()
        labels[:, : len(context)] = -100
        with torch.no_grad():
            loss = reference(input_ids=ids, labels=labels).loss.item()  # transformers' own mean over targets
        requests.append((context, continuation))
        expected.append(-loss * len(continuation))
    assert log_likelihoods(load_model(llama_folder, "cpu"), requests) == pytest.approx(expected, abs=2e-4)
