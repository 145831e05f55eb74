"""Every parameter has a role, and one table says what each parametrization does with it.

Initialisation, forward multipliers, learning rates, weight decay and the choice of optimizer are all read
from here; nothing else in the house knows about width or depth scaling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from torch import nn

from flyweight.recipe import Model, Parametrization

OptimizerKind = Literal["adamw", "muon"]


class Role(StrEnum):
    """What a parameter does in the model."""

    EMBEDDING = "embedding"
    """The table of token vectors, also where it is the readout as well (tied)."""
    HIDDEN = "hidden"
    """A matrix that reads the residual stream: the fused query-key-value and gate-up projections."""
    OUTPUT = "output"
    """A matrix that writes to the residual stream: the last of an attention or feed-forward branch."""
    READOUT = "readout"
    """The matrix from hidden states to logits, where it is not the embedding (untied)."""
    GAIN = "gain"
    """The gain vector of a norm."""


@dataclass(frozen=True)
class RoleRule:
    """What a parametrization does with the parameters of one role."""

    init_std: float
    """Standard deviation of the initialisation around zero; 0 for gains, which start at exactly 1."""
    learning_rate_multiplier: float
    """What the recipe's learning rate is multiplied by."""
    weight_decay_multiplier: float
    """What the recipe's weight decay is multiplied by, before the rate does; 0 for gains, which never decay."""
    is_matrix: bool
    """Whether it is a matrix between hidden activations: what Muon takes."""


@dataclass(frozen=True)
class Multipliers:
    """The constants of the forward pass."""

    embedding: float
    """Times the embedding's output."""
    residual: float
    """Times the output of each attention and feed-forward branch."""
    attention: float
    """Times the product of query and key."""
    logits: float
    """Times the logits."""


def multipliers(model: Model, parametrization: Parametrization) -> Multipliers:
    """The constants of the forward pass.

    MiniCPM: arXiv 2404.06395, table 7. Xmodel-2.5: its training code, which differs in the attention, 1/C as
    in Tensor Programs V (arXiv 2203.03466, definition 4.1) instead of 1/sqrt(C); so does `mup`.
    """
    embedding = parametrization.scale_emb * (math.sqrt(model.hidden_size) if model.scale_embedding else 1.0)
    residual = parametrization.scale_depth / math.sqrt(model.num_hidden_layers)
    width = _width_multiplier(model, parametrization)
    match parametrization.kind:
        case "standard":
            return Multipliers(embedding, residual=1.0, attention=model.head_dim**-0.5, logits=1.0)
        case "minicpm":
            return Multipliers(embedding, residual, attention=model.head_dim**-0.5, logits=1.0 / width)
        case "mup" | "xmodel-2.5":
            return Multipliers(embedding, residual, attention=1.0 / model.head_dim, logits=1.0 / width)


def role_rules(
    model: Model, parametrization: Parametrization, optimizer: OptimizerKind = "adamw"
) -> dict[Role, RoleRule]:
    """The table: initialisation, learning rate, decay and kind of each role, under AdamW or Muon.

    MiniCPM: arXiv 2404.06395, table 7. Xmodel-2.5: its training code, where the output projections keep the
    depth-scaled initialisation of `standard` with no factor of width, every rate but the embedding's is divided by
    the width multiplier, the gains' included, and Muon takes over AdamW's rates. `mup`: arXiv 2203.03466, table 8,
    for AdamW.

    Rates of matrices under Muon, for `minicpm` and `mup`, whose sources have no Muon: an update is an orthogonal
    matrix times 0.2 sqrt(max(rows, columns)) (arXiv 2502.16982, section 2.2). It changes activations of size 1 by
    about sqrt(width), not by width as AdamW's does, so the rate is divided by sqrt(m) (arXiv 2310.17813,
    condition 1: the spectral norm of an update goes with sqrt(fan-out / fan-in)).

    Weight decay: each step shrinks a weight by rate times decay. Where the rate falls with width, so does that, but
    for `mup`, which multiplies the decay back, so that the horizon of the average which AdamW takes over its updates
    stays the same in steps (arXiv 2405.13698).

    Choices that the sources leave open: the tied embedding is two-dimensional, but as a table of vectors it
    counts as vector-like, with the plain std and the base rate (Xmodel-2.5's code does this; MiniCPM and
    Xmodel-2 do not say). An untied readout is treated the same: under muP (arXiv 2203.03466, table 8) an
    output matrix whose logits are already multiplied by 1/width has a std and an Adam rate free of width, so
    that tied and untied models start with logits of the same size. Gains are never decayed, embeddings are.
    """
    std = parametrization.init_std
    width = _width_multiplier(model, parametrization)
    narrow = std / math.sqrt(width)
    shallow = std / math.sqrt(2 * model.num_hidden_layers)
    slow = 1.0 / width if optimizer == "adamw" else 1.0 / math.sqrt(width)
    # Of each role: the std of its initialisation, and the multiplier of its learning rate.
    mup = {
        Role.EMBEDDING: (std, 1.0),
        Role.HIDDEN: (narrow, slow),
        Role.OUTPUT: (narrow, slow),
        Role.READOUT: (std, 1.0),
        Role.GAIN: (0.0, 1.0),
    }
    table: dict[str, dict[Role, tuple[float, float]]] = {
        "standard": {
            Role.EMBEDDING: (std, 1.0),
            Role.HIDDEN: (std, 1.0),
            Role.OUTPUT: (shallow, 1.0),
            Role.READOUT: (std, 1.0),
            Role.GAIN: (0.0, 1.0),
        },
        "minicpm": mup,
        "mup": mup,
        "xmodel-2.5": {
            Role.EMBEDDING: (std, 1.0),
            Role.HIDDEN: (narrow, 1.0 / width),
            Role.OUTPUT: (shallow, 1.0 / width),
            Role.READOUT: (std, 1.0),
            Role.GAIN: (0.0, 1.0 / width),
        },
    }
    constant_horizon = parametrization.kind == "mup"
    return {
        role: RoleRule(
            init_std,
            rate,
            weight_decay_multiplier=0.0 if role is Role.GAIN else 1.0 / rate if constant_horizon else 1.0,
            is_matrix=role in (Role.HIDDEN, Role.OUTPUT),
        )
        for role, (init_std, rate) in table[parametrization.kind].items()
    }


_ROLE_OF_MODULE = {
    "embed_tokens": Role.EMBEDDING,
    "qkv_proj": Role.HIDDEN,
    "gate_up_proj": Role.HIDDEN,
    "o_proj": Role.OUTPUT,
    "down_proj": Role.OUTPUT,
    "lm_head": Role.READOUT,
    "input_layernorm": Role.GAIN,
    "post_attention_layernorm": Role.GAIN,
    "q_norm": Role.GAIN,
    "k_norm": Role.GAIN,
    "norm": Role.GAIN,
}


def parameter_roles(decoder: nn.Module) -> dict[str, Role]:
    """The role of every parameter of a `Decoder`, by name, in the order of `named_parameters`."""
    return {name: _ROLE_OF_MODULE[name.split(".")[-2]] for name, _ in decoder.named_parameters()}


def _width_multiplier(model: Model, parametrization: Parametrization) -> float:
    """How many times wider the model is than the width at which nothing is scaled."""
    return model.hidden_size / (parametrization.dim_model_base or model.hidden_size)
