"""Optimizers by role: the right rate and decay for each, and the same updates as PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from muon_reference import PublishedMuon

from flyweight.model import Decoder, Role, parameter_roles
from flyweight.recipe import Model, Parametrization, Training
from flyweight.training import OptimizerByRole

MODEL = Model(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, head_dim=16, max_position_embeddings=32,
)  # fmt: skip
XMODEL = Parametrization(kind="xmodel-2.5", init_std=0.1, scale_emb=12, scale_depth=1.4, dim_model_base=8)


def training(**more) -> Training:
    return Training.model_validate(
        {
            "tokens": 1000, "sequence_length": 8, "batch_size": 1,
            "mixture": [{"at": 0, "weights": {"a": 1.0}}], "learning_rate": 0.01, **more,
        }
    )  # fmt: skip


def decoder(parametrization: Parametrization | None = None) -> Decoder:
    return Decoder(MODEL, parametrization or Parametrization()).initialize(0)


def fill_gradients(model: Decoder, seed: int) -> None:
    for index, parameter in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(seed * 1000 + index)
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_updates_equal_one_torch_optimizer_per_parameter(kind):
    """Against torch.optim's AdamW and Muon's formula, parameter by parameter by its role, over three steps."""
    model, twin = decoder(), decoder()
    section = training()
    optimizer = OptimizerByRole(model, section, kind)
    roles = parameter_roles(twin)
    references = []
    for name, parameter in twin.named_parameters():
        role = roles[name]
        decay = 0.0 if role is Role.GAIN else 0.1
        if kind == "muon" and role in (Role.HIDDEN, Role.OUTPUT):
            references.append(PublishedMuon(parameter, rate=0.01, decay=decay))
        else:
            references.append(
                torch.optim.AdamW([parameter], lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)
            )
    for step in range(3):
        fill_gradients(model, step)
        fill_gradients(twin, step)
        optimizer.step(optimizer.rates(0), 0.1)
        for reference in references:
            reference.step()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)


def test_roles_get_their_rates_and_given_rates_replace_them():
    section = training(role_learning_rate={"gain": 0.5})
    rates = OptimizerByRole(decoder(XMODEL), section, "adamw").rates(0)
    assert rates[Role.EMBEDDING] == 0.01
    assert rates[Role.HIDDEN] == pytest.approx(0.01 / 4)  # width 32 over base width 8
    assert rates[Role.GAIN] == 0.5


def test_gains_are_never_decayed_and_everything_else_is():
    model = decoder()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = OptimizerByRole(model, training(), "adamw")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step(optimizer.rates(0), weight_decay=0.5)
    roles = parameter_roles(model)
    for name, value in model.named_parameters():
        factor = 1.0 if roles[name] is Role.GAIN else 1 - 0.01 * 0.5
        torch.testing.assert_close(value, before[name] * factor)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_goes_through_tensors_and_back(kind):
    one, two = decoder(), decoder()
    section = training()
    optimizer = OptimizerByRole(one, section, kind)
    fill_gradients(one, 1)
    optimizer.step(optimizer.rates(0), 0.1)
    two.load_state_dict(one.state_dict())
    restored = OptimizerByRole(two, section, kind)
    restored.load_state_tensors({name: value.clone() for name, value in optimizer.state_tensors().items()})
    for model, engine in ((one, optimizer), (two, restored)):
        fill_gradients(model, 2)
        engine.step(engine.rates(0), 0.1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
