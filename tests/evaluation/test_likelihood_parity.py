"""Likelihoods through a Hugging Face folder against transformers itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from flyweight.evaluation import log_likelihoods
from flyweight.inference import load_model


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
