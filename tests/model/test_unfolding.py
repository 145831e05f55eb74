"""Import after export is the identity, or gives the very same export again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, Qwen3Config

from flyweight.model import Decoder, from_stock, to_stock, why_not_ours
from flyweight.recipe import Model, Parametrization

XMODEL = Parametrization(kind="xmodel-2.5", init_std=0.1, scale_emb=12, scale_depth=1.4, dim_model_base=24)
MINICPM = Parametrization(kind="minicpm", init_std=0.3, scale_emb=10, scale_depth=1.7, dim_model_base=20)
POWERS_OF_TWO = Parametrization(kind="minicpm", scale_emb=4, scale_depth=2.0, dim_model_base=16)


def restored(decoder: Decoder) -> tuple[dict, dict, dict]:
    """Its own state, the state after export and import, and the export."""
    state = decoder.state_dict()
    config, weights = to_stock(state, decoder.config, decoder.parametrization)
    assert why_not_ours(config, decoder.config, decoder.parametrization) == []
    return state, from_stock(weights, decoder.config, decoder.parametrization), weights


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("parametrization", [Parametrization(), POWERS_OF_TWO])
def test_import_after_export_is_the_identity(
    make_decoder: Callable[..., Decoder], tied: bool, qk_norm: bool, parametrization: Parametrization
):
    shape = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 4}
    decoder = make_decoder(parametrization, **shape, tie_word_embeddings=tied, qk_norm=qk_norm)
    state, again, _ = restored(decoder)
    assert list(again) == list(state)
    assert all(torch.equal(again[name], value) for name, value in state.items())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("parametrization", [XMODEL, MINICPM])
def test_other_factors_give_the_same_export_and_are_off_by_a_last_bit_at_most(
    make_decoder: Callable[..., Decoder], tied: bool, scaled: bool, parametrization: Parametrization
):
    decoder = make_decoder(
        parametrization, tie_word_embeddings=tied, scale_embedding=scaled, num_hidden_layers=3
    )
    state, again, weights = restored(decoder)
    _, twice = to_stock(again, decoder.config, parametrization)
    assert all(torch.equal(twice[name], weight) for name, weight in weights.items())
    for name, value in state.items():
        assert bool(((again[name] - value).abs() <= value.abs() * 2**-23).all()), name


def test_a_tied_readout_that_is_written_too_and_half_precision_are_taken(
    make_decoder: Callable[..., Decoder],
):
    decoder = make_decoder(Parametrization())
    _, weights = to_stock(decoder.state_dict(), decoder.config, decoder.parametrization)
    half = {name: weight.bfloat16() for name, weight in weights.items()}
    half["lm_head.weight"] = half["model.embed_tokens.weight"]
    state = from_stock(half, decoder.config, decoder.parametrization)
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert torch.equal(state["embed_tokens.weight"], half["model.embed_tokens.weight"].float())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda w: w.pop("model.norm.weight"), "model.norm.weight is missing"),
        (lambda w: w.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(4)}), "no place"),
        (lambda w: w.update({"model.norm.weight": torch.ones(3)}), r"norm.weight is \(3,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(make_decoder: Callable[..., Decoder], spoil, message: str):
    decoder = make_decoder(Parametrization())
    _, weights = to_stock(decoder.state_dict(), decoder.config, decoder.parametrization)
    spoil(weights)
    with pytest.raises(ValueError, match=message):
        from_stock(weights, decoder.config, decoder.parametrization)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"hidden_size": 96}, "model.hidden_size"),
        ({"rope_theta": 5e5}, "model.rope_theta"),
        ({"attention_bias": True}, "attention_bias"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 10_000.0}}, "positions are scaled"),
        ({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": None}, "positions are scaled"),
        ({"model_type": "mistral"}, "model_type is 'mistral'"),
        ({"model_type": "qwen3"}, "model.qk_norm"),
    ],
)
def test_what_the_decoder_cannot_be_is_named(
    make_config: Callable[..., Model], changes: dict, named: str, make_decoder: Callable[..., Decoder]
):
    decoder = make_decoder(Parametrization())
    config, _ = to_stock(decoder.state_dict(), decoder.config, decoder.parametrization)
    if "rope_theta" in changes:
        changes = {**changes, "rope_parameters": None}
    odd = why_not_ours(config | changes, decoder.config, decoder.parametrization)
    assert len(odd) == 1
    assert named in odd[0]


@pytest.mark.parametrize("kind", [LlamaConfig, Qwen3Config])
def test_the_configurations_that_transformers_writes_are_understood(kind, make_config: Callable[..., Model]):
    model = make_config(qk_norm=kind is Qwen3Config, tie_word_embeddings=True)
    config = kind(
        vocab_size=model.vocab_size,
        hidden_size=model.hidden_size,
        intermediate_size=model.intermediate_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_key_value_heads,
        head_dim=model.head_dim,
        rms_norm_eps=model.rms_norm_eps,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope_theta},
    ).to_dict()
    assert why_not_ours(config, model, Parametrization()) == []


ODD = [
    ({"rope_parameters": "x"}, "rope_parameters is 'x'; expected keys and values"),
    ({"rope_parameters": None, "rope_scaling": [1]}, "rope_scaling is [1]; expected keys and values"),
    ({"hidden_size": "48"}, "model.hidden_size is 48 in the recipe, '48' there"),
    (
        {"num_attention_heads": [6], "head_dim": None},
        "model.num_attention_heads is 6 in the recipe, [6] there",
    ),
    ({"model_type": ["llama"]}, "model_type is ['llama']"),
]


@pytest.mark.parametrize(("values", "message"), ODD, ids=str)
def test_values_of_another_type_are_named(make_decoder: Callable[..., Decoder], values, message: str):
    decoder = make_decoder()
    config, _ = to_stock(decoder.state_dict(), decoder.config, decoder.parametrization)
    found = why_not_ours({**config, **values}, decoder.config, decoder.parametrization)
    assert any(sentence.startswith(message) for sentence in found), found


@pytest.mark.parametrize("value", ["1.0", None, [1.0]])
def test_a_multiplier_of_another_type_is_named(make_decoder: Callable[..., Decoder], value):
    decoder = make_decoder()
    config = {"model_type": "flyweight", "logit_scale": value}
    found = why_not_ours(config, decoder.config, decoder.parametrization)
    assert any(sentence.startswith(f"its logit_scale is {value!r}, the recipe's") for sentence in found), (
        found
    )
