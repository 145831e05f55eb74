from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from flyweight.model import (
    Decoder,
    Multipliers,
    OptimizerKind,
    Role,
    RoleRule,
    multipliers,
    parameter_roles,
    role_rules,
)
from flyweight.recipe import Model, Parametrization

XMODEL = Model(
    vocab_size=129_280,
    hidden_size=1536,
    intermediate_size=3840,
    num_hidden_layers=48,
    num_attention_heads=24,
    num_key_value_heads=8,
    head_dim=64,
    max_position_embeddings=4096,
)
STANDARD = Parametrization(init_std=0.02)
MINICPM = Parametrization(kind="minicpm", init_std=0.1, scale_emb=12, scale_depth=1.4, dim_model_base=256)
XMODEL_2_5 = MINICPM.model_copy(update={"kind": "xmodel-2.5"})
MUP = MINICPM.model_copy(update={"kind": "mup"})
ALL = pytest.mark.parametrize("parametrization", [STANDARD, MINICPM, XMODEL_2_5, MUP], ids=lambda p: p.kind)


def test_every_parameter_has_the_role_of_its_place(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder(num_hidden_layers=1, qk_norm=True, tie_word_embeddings=False)
    assert parameter_roles(decoder) == {
        "embed_tokens.weight": "embedding",
        "layers.0.input_layernorm.weight": "gain",
        "layers.0.self_attn.qkv_proj.weight": "hidden",
        "layers.0.self_attn.o_proj.weight": "output",
        "layers.0.self_attn.q_norm.weight": "gain",
        "layers.0.self_attn.k_norm.weight": "gain",
        "layers.0.post_attention_layernorm.weight": "gain",
        "layers.0.mlp.gate_up_proj.weight": "hidden",
        "layers.0.mlp.down_proj.weight": "output",
        "norm.weight": "gain",
        "lm_head.weight": "readout",
    }


def test_roles_survive_a_compiled_wrapper(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder()
    wrapped = torch.nn.ModuleDict({"_orig_mod": decoder})
    assert list(parameter_roles(wrapped).values()) == list(parameter_roles(decoder).values())


def test_the_standard_table():
    shallow = pytest.approx(0.02 / math.sqrt(96))
    assert role_rules(XMODEL, STANDARD) == {
        Role.EMBEDDING: RoleRule(0.02, 1, 1, is_matrix=False),
        Role.HIDDEN: RoleRule(0.02, 1, 1, is_matrix=True),
        Role.OUTPUT: RoleRule(shallow, 1, 1, is_matrix=True),  # pyright: ignore[reportArgumentType]
        Role.READOUT: RoleRule(0.02, 1, 1, is_matrix=False),
        Role.GAIN: RoleRule(0, 1, 0, is_matrix=False),
    }
    assert multipliers(XMODEL, STANDARD) == Multipliers(embedding=1, residual=1, attention=0.125, logits=1)


def test_the_minicpm_table_divides_every_matrix_by_the_width():
    rules = role_rules(XMODEL, MINICPM)
    found = {role: (round(rule.init_std, 6), rule.learning_rate_multiplier) for role, rule in rules.items()}
    assert found == {
        "embedding": (0.1, 1),
        "hidden": (0.040825, 1 / 6),
        "output": (0.040825, 1 / 6),
        "readout": (0.1, 1),
        "gain": (0, 1),
    }


def test_the_xmodel_2_5_table_has_the_numbers_of_its_training_code():
    rules = role_rules(XMODEL, XMODEL_2_5)
    stds = {role: round(rule.init_std, 4) for role, rule in rules.items()}
    assert stds == {"embedding": 0.1, "hidden": 0.0408, "output": 0.0102, "readout": 0.1, "gain": 0}
    rates = {role: round(0.01 * rule.learning_rate_multiplier, 7) for role, rule in rules.items()}
    low = 0.0016667
    assert rates == {"embedding": 0.01, "hidden": low, "output": low, "readout": 0.01, "gain": low}


@pytest.mark.parametrize(("optimizer", "factor"), [("adamw", 6), ("muon", math.sqrt(6))])
def test_strict_mup_keeps_the_product_of_rate_and_decay(optimizer: OptimizerKind, factor: float):
    rules = role_rules(XMODEL, MUP, optimizer)
    for role in (Role.HIDDEN, Role.OUTPUT):
        assert rules[role].learning_rate_multiplier == pytest.approx(1 / factor)
        assert rules[role].weight_decay_multiplier == pytest.approx(factor)
    assert multipliers(XMODEL, MUP).attention == 1 / 64


def test_muon_takes_over_the_rates_of_adamw_where_it_was_published_so():
    """Xmodel-2.5 switched with the same rates; elsewhere an update of Muon's size goes with the root of the width."""
    for rules in (role_rules(XMODEL, XMODEL_2_5, "muon"), role_rules(XMODEL, XMODEL_2_5, "adamw")):
        assert rules[Role.HIDDEN].learning_rate_multiplier == 1 / 6
    assert role_rules(XMODEL, MINICPM, "muon")[Role.OUTPUT].learning_rate_multiplier == 1 / math.sqrt(6)
    assert role_rules(XMODEL, MINICPM, "muon")[Role.EMBEDDING].learning_rate_multiplier == 1


@ALL
def test_decay_spares_the_gains_and_muon_takes_the_matrices_between_activations(
    parametrization: Parametrization,
):
    rules = role_rules(XMODEL, parametrization)
    assert set(rules) == set(Role)
    assert {role for role, rule in rules.items() if not rule.weight_decay_multiplier} == {Role.GAIN}
    assert {role for role, rule in rules.items() if rule.is_matrix} == {Role.HIDDEN, Role.OUTPUT}


def test_mup_multipliers_of_the_forward_pass():
    minicpm, xmodel = multipliers(XMODEL, MINICPM), multipliers(XMODEL, XMODEL_2_5)
    for found in (minicpm, xmodel):
        assert (found.embedding, round(found.residual, 4), found.logits) == (12, 0.2021, 1 / 6)
    assert (minicpm.attention, xmodel.attention) == (1 / 8, 1 / 64)


@ALL
def test_a_scaled_embedding_multiplies_whatever_the_parametrization_says(parametrization: Parametrization):
    scaled = XMODEL.model_copy(update={"scale_embedding": True})
    ratio = multipliers(scaled, parametrization).embedding / multipliers(XMODEL, parametrization).embedding
    assert ratio == pytest.approx(math.sqrt(1536))


@pytest.mark.parametrize("kind", ["minicpm", "xmodel-2.5", "mup"])
def test_at_the_base_width_nothing_depends_on_width(kind: str):
    at_base = MINICPM.model_copy(update={"kind": kind, "dim_model_base": 1536})
    rules = role_rules(XMODEL, at_base)
    assert {rule.learning_rate_multiplier for rule in rules.values()} == {1}
    assert rules[Role.HIDDEN].init_std == 0.1
    assert multipliers(XMODEL, at_base).logits == 1


@ALL
def test_initialisation_has_the_std_of_the_role(parametrization: Parametrization):
    config = Model(
        vocab_size=512,
        hidden_size=1024,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=16,
        tie_word_embeddings=False,
        qk_norm=True,
    )
    decoder = Decoder(config, parametrization).initialize(0)
    rules, roles = role_rules(config, parametrization), parameter_roles(decoder)
    assert set(roles.values()) == set(Role)
    for name, parameter in decoder.named_parameters():
        std = rules[roles[name]].init_std
        if roles[name] is Role.GAIN:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
            continue
        # Five standard errors: sqrt(1/2n) of a std, sqrt(1/n) of a mean.
        error = 5 / math.sqrt(parameter.numel())
        assert parameter.std().item() == pytest.approx(std, rel=error), name
        assert abs(parameter.mean().item()) < error * std, name
        within = (parameter.abs() < std).float().mean().item()
        assert within == pytest.approx(0.6827, abs=error), name  # a normal distribution, not a uniform one
