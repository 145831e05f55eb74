from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from flyweight.model import Decoder, export_in_words, stock_class, to_stock
from flyweight.recipe import Model, Parametrization

MUP = Parametrization(kind="xmodel-2.5", init_std=0.1, scale_emb=12, scale_depth=1.4, dim_model_base=16)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "LlamaForCausalLM"),
        ({"qk_norm": True}, "Qwen3ForCausalLM"),
        ({"scale_embedding": True, "tie_word_embeddings": False}, "LlamaForCausalLM"),
        ({"exclusive_attention": True}, None),
        ({"exclusive_attention": True, "qk_norm": True}, None),
        # transformers' Llama refuses a hidden size that its heads do not divide; its Qwen3 does not.
        ({"hidden_size": 50}, None),
        ({"hidden_size": 50, "qk_norm": True}, "Qwen3ForCausalLM"),
    ],
)
def test_which_models_have_a_stock_class(
    make_config: Callable[..., Model], changes: dict, expected: str | None
):
    for parametrization in (Parametrization(), MUP):
        assert stock_class(make_config(**changes), parametrization) == expected


def test_people_are_told_what_an_export_is_loaded_as(make_config: Callable[..., Model]):
    assert export_in_words(make_config(qk_norm=True), MUP).startswith("Qwen3ForCausalLM of transformers")
    assert "trust_remote_code" in export_in_words(make_config(exclusive_attention=True), Parametrization())


def test_a_model_without_a_stock_class_is_not_folded(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder(exclusive_attention=True)
    with pytest.raises(AssertionError, match="no stock class"):
        to_stock(decoder.state_dict(), decoder.config, decoder.parametrization)


def test_without_multipliers_the_weights_are_unchanged_and_only_unfused(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder(qk_norm=True, num_hidden_layers=1)
    state = decoder.state_dict()
    _, weights = to_stock(state, decoder.config, decoder.parametrization)
    layer = "model.layers.0"
    qkv = [weights.pop(f"{layer}.self_attn.{name}_proj.weight") for name in "qkv"]
    gate_up = [weights.pop(f"{layer}.mlp.{name}_proj.weight") for name in ("gate", "up")]
    assert [len(rows) for rows in qkv + gate_up] == [96, 32, 32, 80, 80]
    assert torch.equal(torch.cat(qkv), state.pop("layers.0.self_attn.qkv_proj.weight"))
    assert torch.equal(torch.cat(gate_up), state.pop("layers.0.mlp.gate_up_proj.weight"))
    assert set(weights) == {f"model.{name}" for name in state}
    assert all(torch.equal(weights[f"model.{name}"], weight) for name, weight in state.items())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_each_multiplier_goes_to_its_weight(make_decoder: Callable[..., Decoder], tied: bool, qk_norm: bool):
    decoder = make_decoder(MUP, tie_word_embeddings=tied, qk_norm=qk_norm, num_hidden_layers=1)
    state = decoder.state_dict()
    _, weights = to_stock(state, decoder.config, MUP)
    assert ("lm_head.weight" in weights) is not tied

    def ratio(stock_name: str, name: str | None = None) -> float:
        rows = len(weights[stock_name])
        found = (
            weights[stock_name].double() / state[name or stock_name.removeprefix("model.")][:rows].double()
        )
        assert found.std() < 1e-6
        return found.mean().item()

    layer = "model.layers.0"
    assert ratio("model.embed_tokens.weight") == pytest.approx(12)
    assert ratio("model.norm.weight") == pytest.approx(1 / 3 / 12 if tied else 1 / 3)
    assert ratio(f"{layer}.self_attn.o_proj.weight") == pytest.approx(1.4)
    assert ratio(f"{layer}.mlp.down_proj.weight") == pytest.approx(1.4)
    query = ratio(f"{layer}.self_attn.q_proj.weight", "layers.0.self_attn.qkv_proj.weight")
    assert query == pytest.approx(1 if qk_norm else 1 / math.sqrt(16))
    if qk_norm:
        assert ratio(f"{layer}.self_attn.q_norm.weight") == pytest.approx(1 / math.sqrt(16))
        assert ratio(f"{layer}.self_attn.k_norm.weight") == 1


def test_folded_weights_are_float32_and_own_their_memory(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder().to(torch.bfloat16)
    state = decoder.state_dict()
    _, weights = to_stock(state, decoder.config, decoder.parametrization)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert all(weight.is_contiguous() and not weight.requires_grad for weight in weights.values())
    storages = {weight.untyped_storage().data_ptr() for weight in (*weights.values(), *state.values())}
    assert len(storages) == len(weights) + len(state)
