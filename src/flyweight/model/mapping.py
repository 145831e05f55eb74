"""Folding a decoder onto a stock Hugging Face class, exactly.

Stock classes know no multipliers, but every multiplier can be pushed into a neighbouring weight without
changing a single output: a model trained under muP leaves the house as a plain Llama or Qwen3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from flyweight.model.parametrization import multipliers
from flyweight.recipe import Model, Parametrization

StockClass = Literal["LlamaForCausalLM", "Qwen3ForCausalLM"]


def stock_class(model: Model, parametrization: Parametrization) -> StockClass | None:
    """The stock class that computes the same logits as the decoder, or None where there is none.

    Every parametrization folds. Exclusive attention does not, and transformers' Llama refuses a hidden_size
    that its heads do not divide (Qwen3, the one with QK-norm, takes any).
    """
    if model.exclusive_attention:
        return None
    if model.qk_norm:
        return "Qwen3ForCausalLM"
    return "LlamaForCausalLM" if model.hidden_size % model.num_attention_heads == 0 else None


def export_in_words(model: Model, parametrization: Parametrization) -> str:
    """What an export of the model is loaded as, for people."""
    stock = stock_class(model, parametrization)
    if stock is None:
        return "its own modeling code (trust_remote_code=True); llama.cpp has no counterpart"
    return f"{stock} of transformers, which vLLM and llama.cpp have too"


def to_stock(
    state_dict: Mapping[str, Tensor], model: Model, parametrization: Parametrization
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and float32 CPU weights of the stock class, from a `Decoder`'s state.

    A tied model stays tied: there is no `lm_head.weight` then. The configuration names no special tokens;
    whoever knows the tokenizer adds them. Only for models that have a `stock_class`.
    """
    return stock_config(model, parametrization), dict(FoldedWeights(state_dict, model, parametrization))


class FoldedWeights(Mapping[str, Tensor]):
    """A stock class's weights by name, each made when it is asked for: whoever writes them one by one has no second
    copy of the model."""

    def __init__(
        self, state_dict: Mapping[str, Tensor], model: Model, parametrization: Parametrization
    ) -> None:
        self._factors = folded_factors(model, parametrization)
        self._rows: dict[str, Tensor] = {}
        for name, weight in state_dict.items():
            self._rows |= dict(_unfused(name, weight.detach(), model))

    def __getitem__(self, name: str) -> Tensor:
        factor = self._factors.get(name.split(".")[-2], 1.0)
        # One rounding, from float64 to float32; it also gives every tensor memory of its own, which
        # slices of a fused matrix do not have and safetensors asks for.
        return (self._rows[name].to("cpu", torch.float64) * factor).to(torch.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight that is not made yet."""
        return tuple(self._rows[name].shape)


def folded_factors(model: Model, parametrization: Parametrization) -> dict[str, float]:
    """By module, the factor that its weight takes over from the forward pass.

    A tied embedding is readout too, so the final norm's gain takes the embedding's factor back. The stock
    attention scale is 1/sqrt(C); what differs goes on the query, and where that is normalised, on its gain.
    """
    factors = multipliers(model, parametrization)
    return {
        "embed_tokens": factors.embedding,
        "o_proj": factors.residual,
        "down_proj": factors.residual,
        "q_norm" if model.qk_norm else "q_proj": factors.attention * math.sqrt(model.head_dim),
        "norm": factors.logits / (factors.embedding if model.tie_word_embeddings else 1.0),
    }


def fused_parts(name: str, model: Model) -> dict[str, int]:
    """The parts of the fused projection `name`, a parameter, in their order and with the rows of each.

    Empty for a parameter that is no fused projection.
    """
    query = model.num_attention_heads * model.head_dim
    key_value = model.num_key_value_heads * model.head_dim
    match name.split(".")[-2]:
        case "qkv_proj":
            return {"q_proj": query, "k_proj": key_value, "v_proj": key_value}
        case "gate_up_proj":
            return {"gate_proj": model.intermediate_size, "up_proj": model.intermediate_size}
        case _:
            return {}


def _unfused(name: str, weight: Tensor, model: Model) -> Iterator[tuple[str, Tensor]]:
    """The stock name of a parameter and its weight; of a fused projection, those of each part."""
    stock_name = name if name.startswith("lm_head.") else f"model.{name}"
    parts = fused_parts(name, model)
    if not parts:
        yield stock_name, weight
        return
    rows = weight.split(list(parts.values()))
    for part, part_weight in zip(parts, rows, strict=True):
        yield stock_name.replace(name.split(".")[-2], part), part_weight


def stock_config(model: Model, parametrization: Parametrization) -> dict[str, Any]:
    """The plain content of config.json of the stock class, which there has to be."""
    architecture = stock_class(model, parametrization)
    assert architecture is not None, "this model has no stock class"
    return {
        "architectures": [architecture],
        "model_type": "qwen3" if architecture == "Qwen3ForCausalLM" else "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.head_dim,
        "max_position_embeddings": model.max_position_embeddings,
        "rms_norm_eps": model.rms_norm_eps,
        "tie_word_embeddings": model.tie_word_embeddings,
        "hidden_act": "silu",
        "attention_bias": False,
        # transformers 5 reads `rope_parameters`; older readers know only `rope_theta` and would otherwise
        # fall back to 10,000 without a word.
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "rope_theta": model.rope_theta,
        # Llama's defaults would be 1 and 2, ordinary tokens of our tokenizers.
        "bos_token_id": None,
        "eos_token_id": None,
    }
