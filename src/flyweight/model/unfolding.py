"""From a Hugging Face model's weights to a decoder's: the way back from `to_stock`, and from our own export.

Every factor that `to_stock` pushed into a weight is taken out again. Where it is a power of two, or 1, the weights
come back bit for bit. Any other factor cost one rounding on the way out, so that two neighbouring float32 numbers may
have become one: what comes back then is one that gives the very same export.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from flyweight.model.decoder import Decoder
from flyweight.model.mapping import folded_factors, fused_parts
from flyweight.model.parametrization import multipliers
from flyweight.recipe import Model, Parametrization

_SHAPE = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)


def why_not_ours(config: Mapping[str, Any], model: Model, parametrization: Parametrization) -> list[str]:
    """In what a Hugging Face configuration is another model than the recipe's; empty where it is the same.

    `max_position_embeddings` is left out: a recipe may ask for longer sequences than the model was trained on.
    """
    kind = config.get("model_type")
    if kind == "flyweight":
        return _differences(config, model) + _other_multipliers(config, model, parametrization)
    if kind not in ("llama", "qwen3"):
        return [f"model_type is {kind!r}; expected llama, qwen3 or an export of Flyweight"]
    odd = [
        f"{key} is {config[key]!r}; expected keys and values"
        for key in ("rope_parameters", "rope_scaling")
        if not isinstance(config.get(key) or {}, Mapping)
    ]
    if odd:
        return odd
    found = {
        **config,
        "rope_theta": (config.get("rope_parameters") or {}).get(
            "rope_theta", config.get("rope_theta", 10_000.0)
        ),
        "head_dim": config.get("head_dim") or _default_head_dim(config),
        "num_key_value_heads": config.get("num_key_value_heads") or config.get("num_attention_heads"),
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
        "rms_norm_eps": config.get("rms_norm_eps", 1e-6),
        "qk_norm": kind == "qwen3",
        "exclusive_attention": False,
    }
    return _differences(found, model) + _unknown_features(config)


def _default_head_dim(config: Mapping[str, Any]) -> int | None:
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else None


def _differences(config: Mapping[str, Any], model: Model) -> list[str]:
    keys = (*_SHAPE, "rope_theta", "rms_norm_eps", "tie_word_embeddings", "qk_norm", "exclusive_attention")
    return [
        f"model.{key} is {getattr(model, key)!r} in the recipe, {config.get(key)!r} there"
        for key in keys
        if config.get(key) != getattr(model, key)
    ]


def _other_multipliers(
    config: Mapping[str, Any], model: Model, parametrization: Parametrization
) -> list[str]:
    """The multipliers that an export of our own class names, where the recipe's are others."""
    own = multipliers(model, parametrization)
    pairs = {
        "embedding_multiplier": own.embedding,
        "residual_multiplier": own.residual,
        "attention_multiplier": own.attention,
        "logit_scale": own.logits,
    }
    return [
        f"its {name} is {found!r}, the recipe's parametrization makes it {value:.6g}"
        for name, value in pairs.items()
        if not isinstance(found := config.get(name), int | float)
        or not math.isclose(found, value, rel_tol=1e-9)
    ]


def _unknown_features(config: Mapping[str, Any]) -> list[str]:
    """What a stock class may do and our decoder does not."""
    odd = [
        f"{key} is {config[key]!r}"
        for key in ("attention_bias", "mlp_bias", "use_sliding_window")
        if config.get(key)
    ]
    if config.get("hidden_act", "silu") != "silu":
        odd.append(f"hidden_act is {config['hidden_act']!r}")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        odd.append(f"its positions are scaled ({kind})")
    return [f"{what}, which Flyweight's decoder does not have" for what in odd]


def from_stock(
    weights: Mapping[str, Tensor], model: Model, parametrization: Parametrization, *, own_class: bool = False
) -> dict[str, Tensor]:
    """A `Decoder`'s float32 state from the weights of a stock class, or of our own exported one.

    Args:
        weights: by their names in the Hugging Face model, in any floating-point type.
        model: the recipe's; the configuration must agree with it, see `why_not_ours`.
        parametrization: whose multipliers are taken out of the weights.
        own_class: the weights are those of our own class, in which nothing is folded.

    Raises:
        ValueError: a weight is missing, has another shape, or is one that the decoder does not have.
    """
    with torch.device("meta"):
        wanted = {
            name: tuple(value.shape) for name, value in Decoder(model, parametrization).state_dict().items()
        }
    factors = {} if own_class else folded_factors(model, parametrization)
    left = dict(weights)
    if model.tie_word_embeddings:
        left.pop("lm_head.weight", None)  # some readers write the tied readout as well
    state = {}
    for name, shape in wanted.items():
        stock_name = name if name.startswith("lm_head.") else f"model.{name}"
        module = name.split(".")[-2]
        parts = [] if own_class else list(fused_parts(name, model))
        names = [stock_name.replace(module, part) for part in parts] or [stock_name]
        missing = [part for part in names if part not in left]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        rows = [_unfolded(left.pop(part), factors.get(part.split(".")[-2], 1.0)) for part in names]
        state[name] = torch.cat(rows) if len(rows) > 1 else rows[0]
        if tuple(state[name].shape) != shape:
            raise ValueError(f"{name} is {tuple(state[name].shape)}, expected {shape}")
    left = {name: value for name, value in left.items() if not name.endswith("rotary_emb.inv_freq")}
    if left:
        raise ValueError(f"{min(left)} has no place in Flyweight's decoder")
    return state


def _unfolded(weight: Tensor, factor: float) -> Tensor:
    """The float32 number that times `factor` rounds to `weight`; the nearest to the quotient, where several do."""
    folded = weight.to(torch.float32)
    if factor == 1.0:
        return folded.clone()
    quotient = (folded.double() / factor).float()
    found = quotient.clone()
    for direction in (float("inf"), float("-inf")):
        neighbour = torch.nextafter(quotient, torch.full_like(quotient, direction))
        wrong = (found.double() * factor).float() != folded
        right = (neighbour.double() * factor).float() == folded
        found = torch.where(wrong & right, neighbour, found)
    return found
