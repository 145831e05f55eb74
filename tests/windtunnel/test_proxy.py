"""Values reach the recipe where they belong, and a proxy keeps what has to stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from windtunnel_setup import tunnel_recipe

from flyweight.base import UserError
from flyweight.recipe import Knob, Proxy, load_recipe, packaged_recipes
from flyweight.windtunnel.proxy import proxy_recipe, value_of, with_values


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_every_system_has_a_proxy(name: str):
    recipe = load_recipe(name)
    small = proxy_recipe(
        recipe, Proxy(num_hidden_layers=2, tokens=1_000_000, sequence_length=64, batch_size=8)
    )
    assert small.model.num_hidden_layers == 2
    assert small.training.tokens == 1_000_000
    assert small.parametrization == recipe.parametrization
    for key in ("tie_word_embeddings", "qk_norm", "exclusive_attention", "vocab_size", "head_dim"):
        assert getattr(small.model, key) == getattr(recipe.model, key)


def test_a_rate_scales_its_whole_timeline_and_those_given_outright():
    recipe = load_recipe("xmodel-2.5-1.3b")
    found = with_values(recipe, {"training.learning_rate": 0.005, "parametrization.scale_emb": 7})
    assert value_of(found, "training.learning_rate") == pytest.approx(0.005)
    factor = 0.005 / value_of(recipe, "training.learning_rate")
    for at in (10**9, 10**11, 10**12):
        assert found.training.learning_rate.at(at) == pytest.approx(
            recipe.training.learning_rate.at(at) * factor
        )
        for role, rate in recipe.training.role_learning_rate.items():
            assert found.training.role_learning_rate[role].at(at) == pytest.approx(rate.at(at) * factor)
    assert found.parametrization.scale_emb == 7
    assert (
        with_values(found, {"training.learning_rate": 0.01, "parametrization.scale_emb": 12}).training
        == recipe.training
    )


def test_keys_that_lead_nowhere(texts: Path):
    recipe = tunnel_recipe(texts)
    for key, message in (
        ("training.rate", "no such key"),
        ("training", "nothing that a knob can turn"),
        ("model.qk_norm", "nothing that a knob can turn"),
        ("training.z_loss", "0 throughout"),
    ):
        with pytest.raises(UserError, match=message):
            with_values(recipe, {key: 1.0})
    with pytest.raises(UserError, match="more than the recipe's own"):
        proxy_recipe(recipe, Proxy(tokens=10**9))


@pytest.mark.parametrize(
    "values",
    [
        {"low": 2, "high": 1}, {"low": 1}, {"low": 0, "high": 1, "log": True}, {"choices": [1]},
        {"low": 1, "high": 2, "choices": [1, 2]}, {"low": 1, "high": 2, "log": True, "step": 0.1}, {},
    ],
)  # fmt: skip
def test_knobs_that_make_no_sense(values: dict):
    with pytest.raises(ValidationError):
        Knob.model_validate(values)


def test_a_knob_counts_its_values():
    assert Knob(low=1, high=5, step=0.1).values() == 41
    assert Knob(choices=(32, 64)).values() == 2
    assert Knob(low=1, high=2).values() is None
