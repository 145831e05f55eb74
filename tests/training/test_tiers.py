"""Which attention kernel trains, and when blocks are compiled."""

from __future__ import annotations

import pytest
import torch

from flyweight.base import UserError
from flyweight.model import Decoder
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training import tiers

CPU = torch.device("cpu")


def recipe(tokens: str, **execution: str) -> Recipe:
    values = load_recipe("gpt-s-5m").scaled(tokens).to_dict()
    values["execution"] |= execution
    return recipe_from_dict(values)


def test_auto_compiles_long_runs_and_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_compiler_problem", lambda device: None)
    compiled, why = tiers.choose_compile(recipe("200K"), CPU, 2e11)
    assert not compiled
    assert "pays from about 8 on" in why
    compiled, why = tiers.choose_compile(recipe("1B"), CPU, 2e11)
    assert compiled
    assert tiers.choose_compile(recipe("200K", compile="on"), CPU, 2e11)[0]
    assert not tiers.choose_compile(recipe("1B", compile="off"), CPU, 2e11)[0]


def test_the_rule_weighs_the_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_compiler_problem", lambda device: None)
    seconds, shapes = tiers._guess(recipe("1B"), 2e11)
    # 36.2 million operations a token (speed.md's figure for this model), a fifth of the peak.
    assert seconds == pytest.approx(1e9 * 36.2e6 / (0.2 * 2e11), rel=0.02)
    assert shapes == 1
    assert tiers._guess(load_recipe("xmodel-2.5-1.3b"), 1e12)[1] >= 3


def test_without_a_compiler_auto_goes_on_and_on_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_compiler_problem", lambda device: "no g++")
    assert tiers.choose_compile(recipe("1B"), CPU, 2e11) == (
        False,
        "not compiled: torch.compile does not work here (no g++)",
    )
    with pytest.raises(UserError, match=r"execution\.compile: .*no g\+\+"):
        tiers.choose_compile(recipe("1B", compile="on"), CPU, 2e11)


def test_the_kernel_goes_by_rule_so_that_twins_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tiers.choose_attention(512, "bfloat16", CPU) == "blocks"
    assert tiers.choose_attention(512, "float32", CPU) == "sdpa"
    assert tiers.choose_attention(4096, "bfloat16", CPU) == "sdpa"
    assert tiers.choose_attention(512, "bfloat16", torch.device("cuda")) == "sdpa"
    monkeypatch.setattr(tiers, "block_attention", lambda query, keys, values, scale: 2 * query)
    assert tiers.choose_attention(512, "bfloat16", CPU) == "sdpa"


def losses(decoder: Decoder, tokens: torch.Tensor) -> list[torch.Tensor]:
    hidden = decoder(tokens)
    gradients = torch.autograd.grad(hidden.square().sum(), list(decoder.parameters()))
    return [hidden.detach(), *gradients]


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_tier_computes_the_same(compiled: bool) -> None:
    values = recipe("2M").to_dict()
    values["model"] |= {"num_hidden_layers": 2, "vocab_size": 4096}
    small = recipe_from_dict(values)
    tokens = torch.randint(0, 4096, (2, 140))
    decoders = [Decoder(small.model, small.parametrization).initialize(3) for _ in range(2)]
    tiers.accelerate(decoders[1], "blocks", compiled)
    assert decoders[0].state_dict().keys() == decoders[1].state_dict().keys()
    for mine, theirs in zip(losses(decoders[1], tokens), losses(decoders[0], tokens), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))
    with torch.no_grad(), tiers.uncompiled():  # as it is in validation: torch's kernel, whatever the length
        for length in (1, 7, 33):
            assert torch.equal(decoders[1](tokens[:, :length]), decoders[0](tokens[:, :length]))
