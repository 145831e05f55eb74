"""Memory and disk: against a case worked out by hand, and against what torch really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flyweight.curriculum import Schedule
from flyweight.model import Decoder, role_rules
from flyweight.planning.memory import activation_bytes, training_memory
from flyweight.planning.parameters import optimizer_values
from flyweight.planning.storage import disk_space
from flyweight.recipe import Model, Parametrization, Recipe, recipe_from_dict
from flyweight.training.optimizers import OptimizerByRole

PARAMETERS = (
    300 * 8 + 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16 + 2 * 8) + 8
)  # embedding, blocks, final norm


def test_memory_of_a_small_case_by_hand(tiny_recipe: Recipe):
    memory = training_memory(tiny_recipe, Schedule.of(tiny_recipe.training))
    assert memory.weights == memory.gradients == 4 * PARAMETERS
    tensors = 2 + 2 * 6  # each keeps two moments and a step count
    assert memory.optimizer == 4 * (2 * PARAMETERS + tensors)
    assert memory.compute_copies == 0
    assert (
        memory.readout == 16 * 300 * 8 + 4 * 300 * 8
    )  # 16 positions' logits and gradient; the weight's gradient
    assert (memory.micro_batch, memory.sequence_length, memory.precision) == (1, 16, "float32")
    assert memory.total == sum(
        (memory.weights, memory.gradients, memory.optimizer, memory.activations, memory.readout)
    )


def test_the_micro_batch_multiplies_activations(tiny: dict[str, Any]):
    def memory(micro_batch: int, precision: str) -> Any:
        tiny["execution"] = {"micro_batch": micro_batch, "precision": precision}
        recipe = recipe_from_dict(tiny)
        return training_memory(recipe, Schedule.of(recipe.training))

    one, four, many = memory(1, "float32"), memory(4, "float32"), memory(64, "float32")
    assert 3.9 < four.activations / one.activations <= 4
    assert many == four  # a step has four sequences, and a micro-batch no more
    half = memory(1, "bfloat16")
    assert half.activations < one.activations
    assert half.compute_copies == 2 * 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16)


def _kept_for_backward(model: Model, sequences: int, length: int, dtype: torch.dtype) -> int:
    """Bytes of the storages that torch keeps for the backward pass, weights and their copies left out."""
    decoder = Decoder(model, Parametrization()).initialize(0)
    weights = {parameter.untyped_storage().data_ptr() for parameter in decoder.parameters()}
    sizes = {parameter.numel() for parameter in decoder.parameters() if parameter.dim() == 2}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        copy = tensor.dtype == torch.bfloat16 and tensor.dim() == 2 and tensor.numel() in sizes
        if storage.data_ptr() not in weights and not copy:
            kept[storage.data_ptr()] = tensor  # held, so that its address is not given to another
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        decoder(torch.zeros(sequences, length, dtype=torch.int64))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("extra", [{}, {"qk_norm": True}, {"exclusive_attention": True}], ids=str)
def test_activations_are_what_torch_keeps(extra: dict[str, bool], dtype: torch.dtype):
    model = Model(
        vocab_size=100,
        hidden_size=48,
        intermediate_size=136,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        **extra,  # type: ignore[arg-type]
    )
    expected = activation_bytes(model, 3, 50, dtype.itemsize)
    # In bfloat16 the attention kernels of different devices keep different casts.
    tolerance = 0.001 if dtype == torch.float32 else 0.12
    assert _kept_for_backward(model, 3, 50, dtype) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_optimizer_state_is_what_the_optimizer_holds(tiny_recipe: Recipe, kind: str):
    decoder = Decoder(tiny_recipe.model, tiny_recipe.parametrization).initialize(0)
    optimizer = OptimizerByRole(decoder, tiny_recipe.training, kind)
    decoder(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    for parameter in decoder.parameters():
        assert parameter.grad is not None
    rules = role_rules(tiny_recipe.model, tiny_recipe.parametrization)
    optimizer.step(dict.fromkeys(rules, 1e-3), 0.0)
    held = sum(tensor.numel() for tensor in optimizer.state_tensors().values())
    assert held == optimizer_values(tiny_recipe, kind)


def test_the_larger_optimizer_of_a_run_counts(tiny: dict[str, Any]):
    def optimizer(*kinds: str) -> int:
        tiny["training"]["optimizer"] = [{"at": 100 * i, "kind": kind} for i, kind in enumerate(kinds)]
        recipe = recipe_from_dict(tiny)
        return training_memory(recipe, Schedule.of(recipe.training)).optimizer

    assert optimizer("muon") < optimizer("adamw") == optimizer("adamw", "muon")


def test_disk_of_a_small_case_by_hand(tiny_recipe: Recipe):
    schedule = Schedule.of(tiny_recipe.training)
    disk = disk_space(tiny_recipe, schedule, None)
    checkpoint = 4 * PARAMETERS + 4 * (2 * PARAMETERS + 14)
    assert disk.shards == 2 * 512
    assert disk.checkpoint_bytes == checkpoint
    assert (disk.checkpoints_kept, disk.checkpoints) == (1, checkpoint)  # one at the end, no other
    assert disk.export == 4 * PARAMETERS
    assert disk_space(tiny_recipe, schedule, {"a": 1000, "b": 500}).shards == 2 * 1500


def test_large_vocabularies_take_four_bytes_a_token(tiny: dict[str, Any]):
    tiny["model"]["vocab_size"] = tiny["tokenizer"]["vocab_size"] = 70_000
    recipe = recipe_from_dict(tiny)
    assert disk_space(recipe, Schedule.of(recipe.training), None).shards == 4 * 512


@pytest.mark.parametrize(
    ("execution", "kept", "at_once"),
    [
        ({"checkpoint_every": 64, "keep_checkpoints": 3}, 3, 4),  # and the one that is being written
        ({"checkpoint_every": 64, "keep_checkpoints": 8}, 8, 8),  # no more than are ever written
        ({"checkpoint_every": 256, "keep_checkpoints": 2}, 2, 2),
        ({"checkpoint_every": 64, "keep_checkpoints": 1, "milestones": [100, 300]}, 3, 4),
        ({"milestones": [100, 101, 9999]}, 2, 2),  # two in one step, one after the end
    ],
)
def test_checkpoints_that_are_kept(tiny: dict[str, Any], execution: dict[str, Any], kept: int, at_once: int):
    tiny["execution"] |= execution
    recipe = recipe_from_dict(tiny)
    disk = disk_space(recipe, Schedule.of(recipe.training), None)
    assert disk.checkpoints_kept == kept
    assert disk.checkpoints == at_once * disk.checkpoint_bytes
