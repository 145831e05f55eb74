from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flyweight.corpus import TextTokenizer
from flyweight.evaluation.likelihood import score_requests
from flyweight.evaluation.trees import Line, make_batch, pack
from flyweight.inference import DecoderModel, HuggingFaceModel, load_model

Tokens = list[int]


def line(tokens: Tokens, scored: int = 1) -> Line:
    array = np.array(tokens, np.int32)
    return Line(array[:-1], array[len(array) - scored :])


few_letters = st.lists(st.integers(0, 2), min_size=2, max_size=9)  # so that much is shared


@given(st.lists(few_letters, min_size=1, max_size=12), st.booleans(), st.integers(4, 40), st.randoms())
@settings(deadline=None, max_examples=200)
def test_a_row_holds_each_request_as_it_was(
    texts: list[Tokens], trees: bool, longest: int, rng: random.Random
):
    lines = [line(text, rng.randint(1, len(text) - 1)) for text in texts]
    rows = pack(lines, trees=trees, longest=longest)
    assert sorted(request for row in rows for request in row.requests) == list(range(len(lines)))
    batch = make_batch(rows, lines)
    for number, row in enumerate(rows):
        assert row.length <= longest or len(row.requests) == 1 or row.is_line
        assert trees or row.is_line
        for request, branch in zip(row.requests, row.branches, strict=True):
            tokens = lines[request].tokens
            assert batch.tokens[number, branch.path].tolist() == tokens.tolist()
            if batch.positions is not None and batch.mask is not None:
                assert batch.positions[number, branch.path].tolist() == list(range(len(tokens)))
                seen = batch.mask[number, 0][branch.path]
                for depth, sees in enumerate(seen):  # exactly what stands before it in its own request
                    assert sees.nonzero()[0].tolist() == sorted(branch.path[: depth + 1].tolist())
    for request, wanted in enumerate(lines):
        mine = batch.requests == request
        assert sorted(batch.targets[mine].tolist()) == sorted(wanted.targets.tolist())


def test_shared_tokens_are_computed_once_and_shared_places_read_once(model: DecoderModel):
    question = list(range(10, 22))
    work = score_requests(model, [(question, [letter]) for letter in (30, 31, 32, 33)]).work
    assert (work.tokens, work.readouts, work.tokens_alone) == (12, 1, 48)  # one row, one place, four letters
    work = score_requests(model, [(question, [30, 31, 32]), (question, [40, 41])]).work
    assert (work.tokens, work.readouts) == (12 + 2 + 1, 1 + 2 + 1)


def some_trees(rng: random.Random, vocabulary: int) -> list[tuple[Tokens, Tokens]]:
    requests = []
    for _ in range(12):
        context = [rng.randrange(vocabulary) for _ in range(rng.randint(1, 12))]
        start = [rng.randrange(vocabulary) for _ in range(rng.randint(0, 3))]
        for _ in range(4):
            rest = [rng.randrange(vocabulary) for _ in range(rng.randint(1, 6))]
            requests.append((context, start + rest))
    return requests


@pytest.mark.parametrize("batch_tokens", [1, 60, 8192])
def test_trees_score_as_rows_of_their_own(
    model: DecoderModel, monkeypatch: pytest.MonkeyPatch, batch_tokens: int
):
    requests = some_trees(random.Random(2), 260)
    together = score_requests(model, requests, batch_tokens)
    monkeypatch.setattr(DecoderModel, "takes_trees", False)
    alone = score_requests(model, requests)
    assert together.work.tokens < 0.75 * alone.work.tokens
    assert together.values == pytest.approx(alone.values, abs=2e-5)
    assert together.greedy == alone.greedy


def test_a_stock_model_takes_trees_and_reads_out_apart(llama_folder):
    model = load_model(llama_folder, "cpu")
    assert isinstance(model, HuggingFaceModel)
    assert model.takes_trees
    assert model._reads_out_apart
    requests = some_trees(random.Random(3), 260)
    together = score_requests(model, requests)
    vars(model).update(takes_trees=False, _reads_out_apart=False)
    alone = score_requests(model, requests)
    assert together.values == pytest.approx(alone.values, abs=1e-4)
    assert together.greedy == alone.greedy


@pytest.mark.parametrize("architecture", ["learned positions", "stretched positions", "a window"])
def test_rows_longer_than_the_model_score_as_rows_of_their_own(
    architecture: str, tokenizer: TextTokenizer, tmp_path: Path
):
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoConfig,
        GPTNeoForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )  # fmt: skip

    common = {"vocab_size": 260, "hidden_size": 32, "initializer_range": 0.3, "eos_token_id": 0}
    torch.manual_seed(0)
    if architecture == "learned positions":
        stock = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_positions=24, **common))
    elif architecture == "stretched positions":
        dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
        config = LlamaConfig(
            intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=24,
            rope_parameters=dynamic, **common,
        )  # fmt: skip
        stock = LlamaForCausalLM(config)
    else:
        config = GPTNeoConfig(
            num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]], window_size=8,
            max_position_embeddings=256, **common,
        )  # fmt: skip
        stock = GPTNeoForCausalLM(config)
    stock.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend, eos_token=tokenizer.end_of_text_text
    ).save_pretrained(tmp_path)
    model = load_model(tmp_path, "cpu")
    requests = some_trees(random.Random(4), 260)
    together = score_requests(model, requests)
    assert model.takes_trees == (architecture != "a window")
    vars(model).update(takes_trees=False)
    assert together.values == pytest.approx(score_requests(model, requests).values, abs=1e-4)


def test_greedy_continuations_are_known(model: DecoderModel):
    context = [5, 6, 7]
    logits = model.logits_at(torch.tensor([context]), torch.tensor([0]), torch.tensor([2]))
    best = int(logits.argmax())
    assert score_requests(model, [(context, [best]), (context, [(best + 1) % 260])]).greedy == [True, False]
