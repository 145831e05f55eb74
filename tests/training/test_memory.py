"""The memory of training: against what torch's allocator really handed out, and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from allocated import BASE, Steps, peak_on_cpu, recipe_of

from flyweight.base import UserError
from flyweight.curriculum import Schedule
from flyweight.model import Decoder, role_rules
from flyweight.recipe import Model, Parametrization, recipe_from_dict
from flyweight.training import room
from flyweight.training.activations import Carried, activation_bytes
from flyweight.training.memory import largest_micro_batch, step_memory, training_memory
from flyweight.training.optimizers import OptimizerByRole
from flyweight.training.parameters import optimizer_values
from flyweight.training.tiers import accelerate

ALL = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
EXTRAS = {"qk_norm": True, "exclusive_attention": True}
WIDE = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2, "vocab_size": 300}

QUICK = [
    ("float32", {}, {}, 4, 128, 1),
    ("bfloat16", {"attention": "blocks"}, EXTRAS, 4, 128, 2),
    ("bfloat16", {}, WIDE, 2, 256, 2),
    ("bfloat16", {"fp8_layers": ALL}, {}, 4, 128, 2),
]
GRID = [
    (precision, how, model, sequences, length, passes)
    for precision in ("float32", "bfloat16")
    for how, model, sequences, length, passes in (
        ({}, {}, 4, 128, 2),
        ({"attention": "blocks"}, {}, 4, 256, 2),
        ({}, {"exclusive_attention": True}, 8, 128, 1),
        ({}, {"tie_word_embeddings": False, "qk_norm": True}, 4, 128, 2),
        ({}, WIDE, 2, 64, 1),
        ({}, {"num_hidden_layers": 12, "hidden_size": 64, "intermediate_size": 192, "vocab_size": 300}, 8, 256, 1),
        ({}, {"vocab_size": 32768, "hidden_size": 64, "num_hidden_layers": 2}, 4, 256, 1),
    )
]  # fmt: skip
COMPILED = [
    ("bfloat16", {"attention": "blocks", "compiled": True}, {"vocab_size": 512}, 8, 256, 1),
    ("bfloat16", {"attention": "blocks", "compiled": True}, {"vocab_size": 512, **EXTRAS}, 8, 256, 2),
    ("float32", {"compiled": True}, {"vocab_size": 512}, 4, 256, 2),
]


def assert_predicted(precision, how, model, sequences, length, passes, optimizer="adamw") -> None:
    recipe = recipe_of(length, sequences, optimizer, **model)
    carried = Carried(precision, "cpu", **how)
    measured = peak_on_cpu(recipe, carried, sequences, length, passes)
    predicted = step_memory(recipe, carried, sequences, length, passes).total
    print(f"predicted / measured: {predicted / measured:.3f}", precision, how, optimizer)
    assert abs(predicted / measured - 1) < 0.15, (predicted, measured)


@pytest.mark.parametrize(("precision", "how", "model", "sequences", "length", "passes"), QUICK)
def test_the_prediction_is_what_the_allocator_handed_out(precision, how, model, sequences, length, passes):
    assert_predicted(precision, how, model, sequences, length, passes)


def test_the_prediction_holds_where_muons_update_is_the_fullest_moment():
    assert_predicted("bfloat16", {}, WIDE, 2, 32, 1, optimizer="muon")
    recipe = recipe_of(32, 2, "muon", **WIDE)
    assert step_memory(recipe, Carried("bfloat16", "cpu"), 2, 32, 1).moment == "update"


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(("precision", "how", "model", "sequences", "length", "passes"), GRID)
def test_the_prediction_holds_for_many_shapes(precision, how, model, sequences, length, passes, optimizer):
    assert_predicted(precision, how, model, sequences, length, passes, optimizer)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "how", "model", "sequences", "length", "passes"), COMPILED)
def test_the_prediction_holds_for_compiled_blocks(precision, how, model, sequences, length, passes):
    torch._dynamo.reset()
    assert_predicted(precision, how, model, sequences, length, passes)


@pytest.mark.gpu
@pytest.mark.parametrize("how", [{}, {"compiled": True}, {"fp8_layers": ALL}], ids=str)
@pytest.mark.parametrize("model", [{}, EXTRAS, {"tie_word_embeddings": False}], ids=str)
def test_the_prediction_holds_on_a_gpu(how: dict[str, Any], model: dict[str, Any]):
    if how.get("fp8_layers") and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU computes no FP8 products")
    larger = {
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
    }
    recipe = recipe_of(512, 32, **larger, **model)
    carried = Carried("bfloat16", "cuda", **how)
    torch._dynamo.reset()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    steps = Steps(recipe, carried, 32, 512, 2)
    steps.take()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    steps.take()
    measured = torch.cuda.max_memory_allocated() - before
    predicted = step_memory(recipe, carried, 32, 512, 2).total
    assert abs(predicted / measured - 1) < 0.15, (predicted, measured)


def kept_for_backward(model: Model, sequences: int, length: int, carried: Carried) -> int:
    """Bytes of the storages that torch keeps for the backward pass, weights and their copies left out."""
    decoder = Decoder(model, Parametrization()).initialize(0).train()
    accelerate(decoder, carried.attention, carried.compiled)
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
        torch.autocast("cpu", torch.bfloat16, enabled=carried.precision == "bfloat16"),
    ):
        decoder(torch.zeros(sequences, length, dtype=torch.int64))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def small_model(**extra: Any) -> Model:
    return Model(
        vocab_size=100,
        hidden_size=48,
        intermediate_size=136,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        **extra,
    )


@pytest.mark.parametrize("attention", ["sdpa", "blocks"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("extra", [{}, {"qk_norm": True}, {"exclusive_attention": True}, EXTRAS], ids=str)
def test_activations_are_what_torch_keeps(extra: dict[str, bool], precision, attention):
    model, carried = small_model(**extra), Carried(precision, "cpu", attention)
    expected = activation_bytes(model, 3, 50, carried)
    assert kept_for_backward(model, 3, 50, carried) == pytest.approx(expected, rel=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "blocks"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("extra", [{}, EXTRAS], ids=str)
def test_activations_of_compiled_blocks_are_what_torch_keeps(extra: dict[str, bool], precision, attention):
    torch._dynamo.reset()
    model, carried = small_model(**extra), Carried(precision, "cpu", attention, compiled=True)
    expected = activation_bytes(model, 3, 50, carried)
    assert kept_for_backward(model, 3, 50, carried) == pytest.approx(expected, rel=0.03)


def test_parts_of_a_small_case_by_hand():
    recipe = recipe_of(16, 4, vocab_size=300, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
                       num_attention_heads=2, num_key_value_heads=1, head_dim=4)  # fmt: skip
    memory = step_memory(recipe, Carried("float32", "cpu"), 1, 16, 4)
    parameters = 300 * 8 + 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16 + 2 * 8) + 8
    assert memory.moment == "loss"
    assert memory.weights == memory.gradients == 4 * parameters
    assert memory.optimizer == 4 * (
        2 * parameters + 14
    )  # two moments, and a step count for each of 14 tensors
    assert (memory.compute_copies, memory.working, memory.gathered) == (0, 0, 0)
    # 16 positions' logits; the gradients of the weight and of the hidden states; a product on its way to the former
    assert memory.readout == 4 * (16 * 300 + 300 * 8 + 16 * 8 + 300 * 8)
    parts = ("weights", "gradients", "optimizer", "activations", "readout")
    assert memory.total == sum(getattr(memory, part) for part in parts)


def test_what_makes_training_smaller_makes_the_prediction_smaller():
    recipe, plain = recipe_of(256, 8, num_hidden_layers=8, vocab_size=300), Carried("bfloat16")

    def total(carried: Carried, sequences: int = 8) -> int:
        return step_memory(recipe, carried, sequences, 256, 8 // sequences).total

    assert total(plain, 1) < total(plain, 4) < total(plain, 8)
    assert total(plain) < total(Carried("float32"))
    assert total(replace(plain, compiled=True)) < total(plain)
    assert total(replace(plain, checkpointed=True)) < 0.5 * total(plain)
    assert total(replace(plain, chunk_logits=1 << 10)) < total(plain)
    assert total(plain) < total(Carried("bfloat16", attention="blocks"))
    deep = recipe_of(64, 1, num_hidden_layers=32, vocab_size=300)
    alone, shared = (step_memory(deep, replace(plain, devices=n), 1, 64, 1) for n in (1, 8))
    assert shared.optimizer == pytest.approx(alone.optimizer / 8, abs=1)
    assert shared.total < 0.5 * alone.total


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_optimizer_state_is_what_the_optimizer_holds(kind: str):
    recipe = recipe_of(16, 4, vocab_size=300, num_hidden_layers=2)
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(0)
    optimizer = OptimizerByRole(decoder, recipe.training, kind)
    decoder(torch.zeros(1, 4, dtype=torch.int64)).sum().backward()
    for parameter in decoder.parameters():
        assert parameter.grad is not None
    rules = role_rules(recipe.model, recipe.parametrization)
    optimizer.step(dict.fromkeys(rules, 1e-3), 0.0)
    held = sum(tensor.numel() for tensor in optimizer.state_tensors().values())
    assert held == optimizer_values(recipe, kind)


def with_training(recipe, **values):
    data = recipe.to_dict()
    data["training"] |= values
    return recipe_from_dict(data)


def test_the_larger_optimizer_of_a_run_counts():
    def optimizer(*kinds: str) -> int:
        knots = [{"at": 1000 * i, "kind": kind} for i, kind in enumerate(kinds)]
        recipe = with_training(recipe_of(16, 4), optimizer=knots)
        return training_memory(recipe, Schedule.of(recipe.training), Carried("float32")).optimizer

    assert optimizer("muon") < optimizer("adamw") == optimizer("adamw", "muon")


def test_the_stretch_that_needs_most_counts():
    recipe = recipe_of(128, 4)
    longer = [{"at": 0, "value": 128}, {"at": 20 * 512, "value": 512}]
    long = with_training(recipe, sequence_length=longer)
    memory = training_memory(long, Schedule.of(long.training), Carried("float32"))
    assert (memory.sequence_length, memory.micro_batch) == (512, 1)
    most = training_memory(long, Schedule.of(long.training), Carried("float32"), 1024)
    assert (most.sequence_length, most.micro_batch) == (512, 2)


def test_the_micro_batch_is_the_largest_that_fits():
    recipe, carried = recipe_of(128, 24), Carried("float32")
    segment = Schedule.of(recipe.training).segments[0]

    def total(sequences: int) -> int:
        return step_memory(recipe, carried, sequences, 128, -(-24 // sequences)).total

    assert largest_micro_batch(recipe, carried, segment, total(6), 24) == 6
    assert largest_micro_batch(recipe, carried, segment, total(6) - 1, 24) == 5
    assert largest_micro_batch(recipe, carried, segment, total(8) - 1, 24) == 6  # 7 makes as many passes as 6
    assert largest_micro_batch(recipe, carried, segment, total(24), 10) == 8
    assert largest_micro_batch(recipe, carried, segment, total(1) - 1, 24) == 0


def test_auto_takes_what_fills_the_device_or_what_fits():
    recipe, carried = recipe_of(128, 64, vocab_size=300), Carried("float32", "cpu")
    assert room.micro_tokens(recipe, carried, None) == room.FILLS["cpu"]
    assert room.micro_tokens(recipe, carried, 1 << 40) == room.FILLS["cpu"]
    needed = step_memory(recipe, carried, 8, 128, 8).total
    assert room.micro_tokens(recipe, carried, int(needed / room.USABLE) + 1) == 8 * 128
    one = step_memory(recipe, carried, 1, 128, 64).total
    assert (
        room.micro_tokens(recipe, carried, one) == 128
    )  # not within what is planned with, but within what is free


def test_what_does_not_fit_is_told_with_what_helps():
    recipe = recipe_of(128, 64)
    with pytest.raises(UserError, match="one sequence of 128 tokens") as told:
        room.micro_tokens(recipe, Carried("bfloat16"), 1 << 20)
    for help in ("sequence_length", "activation checkpointing", "FSDP", "1.05MB are free"):
        assert help in str(told.value)
    with pytest.raises(UserError) as told:
        room.micro_tokens(recipe, Carried("bfloat16", checkpointed=True), 1 << 20)
    assert "activation checkpointing" not in str(told.value)


def test_this_machine_says_what_is_free():
    free = room.free_bytes(torch.device("cpu"))
    assert free is None or free > BASE["vocab_size"]


def test_a_moving_average_takes_four_bytes_a_parameter_for_good():
    recipe = recipe_of(16, 4)
    kept = recipe.model_copy(update={"execution": recipe.execution.model_copy(update={"ema_half_life": 100})})
    for devices in (1, 4):
        carried = Carried("bfloat16", "cpu", devices=devices)
        without, beside = (step_memory(one, carried, 1, 16, 4) for one in (recipe, kept))
        assert without.average == 0
        assert beside.average == beside.weights
        assert beside == replace(without, average=beside.average)
        assert beside.total == without.total + beside.weights
