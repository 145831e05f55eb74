"""Delayed scaling: what enters the history, what scales follow from it, and that it survives a checkpoint."""

from __future__ import annotations

import pytest
import torch
import torch.multiprocessing
from float8_setup import INPUTS, OUTPUTS, backward, make_layer

from flyweight.training.precision.scaling import HISTORY, max_over_ranks


def step(layer, float8, *sizes: float, gradient: float = 1.0) -> None:
    """A step of one micro-batch for each size of the input."""
    for size in sizes:
        backward(layer, torch.full((16, INPUTS), size), torch.full((16, OUTPUTS), gradient).bfloat16())
    float8.end_step()


def scales(float8) -> list[float]:
    return float8.state_tensors()["one/scale"].tolist()


def history(float8, index: int = 0) -> list[float]:
    return float8.state_tensors()["one/history"][:, index].tolist()


def test_the_history_rolls_once_a_step_with_the_largest_of_its_micro_batches():
    layer, float8 = make_layer(delayed=True)
    step(layer, float8, 1.0, 4.0, 2.0, gradient=8.0)
    assert history(float8)[:2] == [4.0, 0.0]
    assert scales(float8) == [448 / 4, float(448 / layer.weight.detach().abs().max()), 57344 / 8]
    step(layer, float8, 2.0)
    assert history(float8)[:3] == [2.0, 4.0, 0.0]
    assert scales(float8)[0] == 448 / 4  # the larger one is still in the history


def test_an_amax_counts_for_128_steps():
    layer, float8 = make_layer(delayed=True)
    step(layer, float8, 4.0)
    for _ in range(HISTORY - 1):
        step(layer, float8, 2.0)
    assert scales(float8)[0] == 448 / 4
    step(layer, float8, 2.0)
    assert scales(float8)[0] == 448 / 2


def test_a_scale_follows_the_amaxes_of_steps_before_and_not_of_this_one():
    layer, float8 = make_layer(delayed=True)
    step(layer, float8, 1.0)
    x = torch.zeros(16, INPUTS)
    x[0, 0] = 1.0
    x[1, 0] = 2.0  # more than was ever seen: it saturates at 1
    y, _, _ = backward(layer, x, torch.ones(16, OUTPUTS).bfloat16())
    assert torch.equal(y[0], y[1])
    float8.end_step()
    y, _, _ = backward(layer, x, torch.ones(16, OUTPUTS).bfloat16())
    assert torch.equal(2 * y[0], y[1])


def test_zero_and_what_is_not_finite_leave_the_scale_as_it_is():
    layer, float8 = make_layer(delayed=True)
    step(layer, float8, 4.0, gradient=2.0)
    before = scales(float8)
    for size in (0.0, float("inf"), float("nan")):
        step(layer, float8, size, gradient=size)
        assert history(float8)[0] == history(float8, 2)[0] == 0.0
        assert scales(float8) == before
    for _ in range(HISTORY):  # until nothing but zeros is left in the history
        step(layer, float8, 0.0, gradient=0.0)
    assert not any(history(float8))
    assert scales(float8)[0] == before[0]
    step(layer, float8, 8.0)  # and it goes on from there
    assert scales(float8)[0] == 448 / 8


def test_before_anything_is_known_the_scale_is_that_of_the_tensor_itself():
    """Also for the gradients, which at a scale of 1 would all be 0."""
    dynamic, delayed = make_layer(delayed=False)[0], make_layer(delayed=True)[0]
    x, gradient = torch.randn(16, INPUTS), 1e-9 * torch.randn(16, OUTPUTS).bfloat16()
    for mine, theirs in zip(backward(delayed, x, gradient), backward(dynamic, x, gradient), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.any()


def test_a_tensor_that_was_zero_so_far_gets_its_scale_when_it_is_not():
    layer, float8 = make_layer(delayed=True)
    step(layer, float8, 1.0, gradient=0.0)
    assert scales(float8)[2] == 0
    _, dx, _ = backward(layer, torch.ones(16, INPUTS), torch.full((16, OUTPUTS), 1e-9).bfloat16())
    assert dx.any()


def test_a_discarded_step_leaves_no_trace():
    layer, float8 = make_layer(delayed=True)
    step(layer, float8, 4.0)
    before = float8.state_tensors()
    backward(layer, torch.full((16, INPUTS), 100.0), torch.ones(16, OUTPUTS).bfloat16())
    float8.discard_step()
    step(layer, float8, 1.0)
    assert history(float8)[:3] == [1.0, 4.0, 0.0]
    assert scales(float8)[0] == before["one/scale"][0]


def test_the_state_goes_on_bit_for_bit_in_another_layer():
    layer, float8 = make_layer(delayed=True)
    for size in (3.0, 5.0, 2.0):
        step(layer, float8, size)
    copied, other = make_layer(delayed=True)
    other.load_state_tensors({name: value.clone() for name, value in float8.state_tensors().items()})
    x, gradient = torch.randn(16, INPUTS), torch.randn(16, OUTPUTS).bfloat16()
    for mine, theirs in zip(backward(copied, x, gradient), backward(layer, x, gradient), strict=True):
        assert torch.equal(mine, theirs)
    other.end_step()
    float8.end_step()
    assert all(
        torch.equal(value, other.state_tensors()[name]) for name, value in float8.state_tensors().items()
    )


def test_without_delayed_scaling_there_is_no_state():
    layer, float8 = make_layer(delayed=False)
    step(layer, float8, 1.0)
    assert float8.state_tensors() == {}


def _rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    layer, float8 = make_layer(delayed=True)
    step(layer, float8, 1.0 + rank, gradient=float("inf") if rank else 4.0)
    torch.save(float8.state_tensors(), f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_the_largest_amax(tmp_path):
    assert max_over_ranks(torch.ones(2)).tolist() == [1, 1]  # without any process group
    torch.multiprocessing.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    one, two = (torch.load(tmp_path / str(rank)) for rank in range(2))
    assert torch.equal(one["one/history"], two["one/history"])
    assert one["one/history"][0, 0] == 2.0
    assert (
        one["one/history"][0, 2] == 4.0
    )  # what one process found infinite does not hide what the other found
    assert one["one/scale"][0] == two["one/scale"][0] == 224
