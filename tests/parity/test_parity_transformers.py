"""Our logits against transformers' Llama and Qwen3, with the same weights folded by `to_stock`."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

from flyweight.model import Decoder, stock_class, to_stock
from flyweight.model.layers import RMSNorm, rotary_tables, rotate
from flyweight.recipe import Model, Parametrization

MUP: dict[str, Any] = {"init_std": 0.1, "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 16}
PARAMETRIZATIONS = [
    Parametrization(init_std=0.1),
    Parametrization(kind="minicpm", **MUP),
    Parametrization(kind="xmodel-2.5", **MUP),
]
KEYS = ("qk_norm", "tie_word_embeddings", "scale_embedding")
CASES = [
    pytest.param(parametrization, changes, id="-".join([parametrization.kind, *filter(changes.get, KEYS)]))
    for parametrization in PARAMETRIZATIONS
    for changes in (
        dict(zip(KEYS, values, strict=True)) for values in itertools.product((False, True), repeat=3)
    )
]


def make_decoder(parametrization: Parametrization, **changes: Any) -> Decoder:
    config = Model(
        **{
            "vocab_size": 199,
            "hidden_size": 72,
            "intermediate_size": 176,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 128,
            "rope_theta": 2_500.0,
            "rms_norm_eps": 1e-5,
            **changes,
        }
    )
    decoder = Decoder(config, parametrization).initialize(5)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if "norm" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return decoder


def stock_model(decoder: Decoder) -> transformers.PreTrainedModel:
    """The stock class with the folded weights, every one of which must have its place."""
    config, weights = to_stock(decoder.state_dict(), decoder.config, decoder.parametrization)
    architecture = stock_class(decoder.config, decoder.parametrization)
    assert architecture is not None
    model_class = getattr(transformers, architecture)
    model = model_class(model_class.config_class(**config))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert missing == (["lm_head.weight"] if decoder.config.tie_word_embeddings else [])
    assert unexpected == []
    return model.eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(199, (2, 48), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("parametrization", "changes"), CASES)
@torch.inference_mode()
def test_logits_equal_transformers(
    parametrization: Parametrization, changes: dict[str, bool], tokens: torch.Tensor
):
    decoder = make_decoder(parametrization, **changes)
    ours = decoder.logits(decoder(tokens))
    theirs = stock_model(decoder)(tokens).logits
    assert ours.std() > 0.1, "logits this small would agree for no reason"
    assert (ours - theirs).abs().max() < 1e-4


@torch.inference_mode()
def test_a_foreign_difference_would_be_seen(tokens: torch.Tensor):
    """The bound above is not slack: a small change of a single weight moves the logits past it."""
    decoder = make_decoder(PARAMETRIZATIONS[2], qk_norm=True)
    ours = decoder.logits(decoder(tokens))
    changed = stock_model(decoder)
    changed.get_parameter("model.layers.1.mlp.down_proj.weight")[3, 5] += 0.1
    assert (ours - changed(tokens).logits).abs().max() > 1e-4


@pytest.mark.parametrize("changes", [{}, {"qk_norm": True}, {"tie_word_embeddings": False}], ids=str)
@torch.inference_mode()
def test_a_folder_of_folded_weights_loads_by_itself(
    tmp_path: Path, tokens: torch.Tensor, changes: dict[str, bool]
):
    """config.json and model.safetensors as written from `to_stock` alone, read by AutoModelForCausalLM."""
    decoder = make_decoder(PARAMETRIZATIONS[1], **changes)
    config, weights = to_stock(decoder.state_dict(), decoder.config, decoder.parametrization)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert type(model).__name__ == stock_class(decoder.config, decoder.parametrization)
    tied = model.get_parameter("lm_head.weight") is model.get_parameter("model.embed_tokens.weight")
    assert tied is decoder.config.tie_word_embeddings
    assert model.config.rope_parameters["rope_theta"] == 2_500.0
    assert (decoder.logits(decoder(tokens)) - model(tokens).logits).abs().max() < 1e-4


def test_rms_norm_is_llamas_to_the_bit():
    ours, theirs = RMSNorm(576, eps=1e-6), LlamaRMSNorm(576, eps=1e-6)
    generator = torch.Generator().manual_seed(0)
    gain = torch.randn(576, generator=generator)
    ours.load_state_dict({"weight": gain})
    theirs.load_state_dict({"weight": gain})
    x = 5 * torch.randn(64, 576, generator=generator)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours(x.bfloat16()), theirs(x.bfloat16()))


def test_rotation_is_llamas():
    config = transformers.LlamaConfig(
        head_dim=64, rope_parameters={"rope_type": "default", "rope_theta": 5e5}
    )
    x = torch.randn(1, 4, 600, 64, generator=torch.Generator().manual_seed(0))
    positions = torch.arange(600)
    cosine, sine = LlamaRotaryEmbedding(config)(x, positions[None])
    expected, _ = apply_rotary_pos_emb(x, x, cosine, sine)
    assert torch.allclose(rotate(x, *rotary_tables(positions, 64, 5e5)), expected, atol=1e-6)


def test_gradients_equal_transformers(tokens: torch.Tensor):
    """Not only forward: the gradient in the tied embedding, which gathers from both its ends, agrees too."""
    decoder = make_decoder(PARAMETRIZATIONS[0], qk_norm=True)
    model = stock_model(decoder)
    decoder.logits(decoder(tokens)).logsumexp(-1).sum().backward()
    model(tokens).logits.logsumexp(-1).sum().backward()
    ours, theirs = decoder.embed_tokens.weight.grad, model.get_parameter("model.embed_tokens.weight").grad
    assert ours is not None
    assert theirs is not None
    assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * float(ours.abs().max()))
