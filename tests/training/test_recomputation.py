"""Activation checkpointing: the same numbers from less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_parallel import STEP, assert_same_course, changed, losses, run_on

from flyweight.model import Decoder
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training import train
from flyweight.training.objective import Objective
from flyweight.training.parallel import recompute_blocks
from flyweight.training.precision import convert_to_float8
from flyweight.training.tiers import accelerate


def test_losses_are_the_same_bits(recipe, corpus, tmp_path):
    short = changed(recipe, training={"tokens": 4 * STEP})
    train(short, corpus, tmp_path / "kept", sinks=[])
    train(changed(short, execution={"activation_checkpointing": True}), corpus, tmp_path / "again", sinks=[])
    assert losses(tmp_path / "kept") == losses(tmp_path / "again")


def small() -> Recipe:
    values = load_recipe("gpt-s-5m").scaled("2M").to_dict()
    values["model"] |= {"num_hidden_layers": 3, "vocab_size": 512}
    values["tokenizer"] |= {"vocab_size": 512}
    return recipe_from_dict(values)


def gradients(recomputing: bool, float8: str, compiled: bool) -> tuple[list[torch.Tensor], int]:
    """The loss and all gradients of a batch, and the bytes that the forward pass kept for the backward one."""
    recipe = small()
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(3)
    kinds = ("self_attn.qkv_proj", "mlp.gate_up_proj", "mlp.down_proj")
    layers = convert_to_float8(decoder, float8, kinds)  # type: ignore[arg-type]
    accelerate(decoder, "sdpa", compiled)
    if recomputing:
        recompute_blocks(decoder)
    objective = Objective(decoder, "bfloat16")
    tokens = torch.randint(0, 512, (2, 130), generator=torch.Generator().manual_seed(1))
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    for _ in range(2):  # the second step of delayed scaling has scales of its own
        kept = 0
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = objective(tokens, 1e-4).total
        decoder.zero_grad()
        loss.backward()
        layers.end_step()
    found: list[Any] = [loss.detach(), *(parameter.grad for parameter in decoder.parameters())]
    return found, kept


@pytest.mark.parametrize(
    ("float8", "compiled"),
    [
        ("off", False),
        ("delayed", False),
        ("dynamic", False),
        pytest.param("off", True, marks=pytest.mark.slow),
    ],
)
def test_gradients_are_the_same_and_less_is_kept(float8, compiled):
    kept, much = gradients(False, float8, compiled)
    again, little = gradients(True, float8, compiled)
    for mine, other in zip(again, kept, strict=True):
        if compiled:
            torch.testing.assert_close(mine, other, rtol=0.05, atol=0.02 * float(other.abs().max()))
        else:
            assert torch.equal(mine, other)
    assert little < much / 2


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_with_several_processes(recipe, corpus, tmp_path, parallel):
    short = changed(recipe, training={"tokens": 4 * STEP})
    train(short, corpus, tmp_path / "alone", sinks=[])
    spread = {"parallel": parallel, "activation_checkpointing": True}
    run_on(2, changed(short, execution=spread), corpus, tmp_path / "run")
    assert_same_course(tmp_path / "alone", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["dynamic", "delayed"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_float8_layers_over_several_processes(recipe, corpus, tmp_path, parallel, scaling):
    """FP8 rounds each micro-batch on its own scale, so that the losses are near each other and not equal."""
    float8 = changed(
        recipe,
        training={"tokens": 10 * STEP},
        execution={
            "precision": "bfloat16",
            "fp8": {"scaling": scaling, "layers": "all"},
            "parallel": parallel,
            "activation_checkpointing": True,
        },
    )
    train(float8, corpus, tmp_path / "alone", sinks=[])
    run_on(2, float8, corpus, tmp_path / "run")
    ours, theirs = losses(tmp_path / "run"), losses(tmp_path / "alone")
    assert list(ours.values()) == pytest.approx(list(theirs.values()), abs=0.03)
