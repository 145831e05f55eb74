from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from flyweight.model import Decoder, flops_per_token, parameter_counts
from flyweight.recipe import Model, Parametrization


def config(
    vocab: int, hidden: int, layers: int, heads: int, kv: int, dim: int, ffn: int, **more: Any
) -> Model:
    return Model(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=dim,
        max_position_embeddings=4096,
        **more,
    )


GPT_X2 = config(32_768, 576, 30, 9, 3, 64, 1536, qk_norm=True)
GPT_S_5M = config(4096, 192, 9, 6, 2, 32, 672, exclusive_attention=True)
GPT_S_1_4M = config(4096, 128, 5, 4, 2, 32, 341, exclusive_attention=True)
XMODEL_2 = config(65_280, 1536, 48, 24, 8, 64, 3840)
XMODEL_2_5 = config(129_280, 1536, 48, 24, 8, 64, 3840)
XMODEL_2_UNTIED = config(65_280, 1536, 48, 24, 8, 64, 3840, tie_word_embeddings=False)
PUBLISHED = [
    (GPT_X2, 125_081_664),
    (GPT_S_5M, 5_158_464),
    (GPT_S_1_4M, 1_426_176),
    (XMODEL_2, 1_251_755_520),
    (XMODEL_2_UNTIED, 1_352_025_600),
    (XMODEL_2_5, 1_350_059_520),
]


@pytest.mark.parametrize(("model", "total"), PUBLISHED)
def test_totals_are_the_published_ones_by_formula_and_by_counting(model: Model, total: int):
    with torch.device("meta"):
        decoder = Decoder(model, Parametrization())
    assert parameter_counts(model)["total"] == total
    assert sum(parameter.numel() for parameter in decoder.parameters()) == total


def test_components_of_gpt_x2():
    assert parameter_counts(GPT_X2) == {
        "total": 125_081_664,
        "embedding": 18_874_368,
        "per_block": 3_540_224,
        "blocks": 106_206_720,
        "final_norm": 576,
        "lm_head": 0,
    }


def test_components_are_those_of_the_real_parameters():
    model = config(64, 48, 2, 6, 2, 16, 80, qk_norm=True, tie_word_embeddings=False)
    decoder = Decoder(model, Parametrization())
    counts = parameter_counts(model)

    def size(prefix: str) -> int:
        return sum(p.numel() for name, p in decoder.named_parameters() if name.startswith(prefix))

    found = {"embedding": "embed_tokens.", "per_block": "layers.1.", "blocks": "layers."}
    found |= {"final_norm": "norm.", "lm_head": "lm_head.", "total": ""}
    assert {part: size(prefix) for part, prefix in found.items()} == counts


@pytest.mark.parametrize("tied", [True, False])
def test_flops_are_those_that_torch_counts_with_half_of_attention(tied: bool):
    """Torch counts the matrix products of a real step; only attention's causal half is left to us."""
    model = config(512, 192, 2, 6, 6, 32, 672, tie_word_embeddings=tied)
    decoder = Decoder(model, Parametrization()).initialize(0)
    length = 64
    counter = FlopCounterMode(display=False)
    with counter:
        tokens = torch.zeros(1, length, dtype=torch.int64)
        hidden = decoder(tokens)
        decoder.logits(hidden).sum().backward()
    products = counter.get_flop_counts()["Global"]
    dense = sum(flops for operator, flops in products.items() if "attention" not in str(operator))
    attention = 2 * 6 * 32 * length / 2 * 2 * 3 * 2  # layers H C, half the positions, 2 products, 3 passes, 2
    assert dense / length + attention == pytest.approx(flops_per_token(model, length))


def test_flops_grow_with_the_sequence_by_attention_alone():
    per_position = 30 * 6 * 9 * 64
    assert flops_per_token(GPT_X2, 2048) - flops_per_token(GPT_X2, 1024) == 1024 * per_position
    gains = 30 * (2 * 576 + 2 * 64) + 576
    assert flops_per_token(GPT_X2, 0) == 6 * (125_081_664 - gains)
