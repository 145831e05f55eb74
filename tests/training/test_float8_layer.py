"""The FP8 layer: near a float32 layer, equal to its own arithmetic written out, ordinary in eval mode."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from float8_setup import INPUTS, OUTPUTS, backward, make_layer

from flyweight.training.precision.formats import E4M3, E5M2, cast, product, scale_from_amax, why_not_float8


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    found, expected = found.double(), expected.double()  # squares of 1e-24 are 0 in float32
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e9])
def test_near_float32_at_any_size_of_the_numbers(delayed, size):
    """E4M3 rounds by 2^-4 at most, 2.6 % in the mean square, E5M2 by twice that; two such errors add in squares."""
    layer, _ = make_layer(delayed)
    x, gradient = torch.randn(5, 32, INPUTS) * size, torch.randn(5, 32, OUTPUTS) * size
    y, dx, dw = backward(layer, x, gradient)
    assert (y.dtype, dx.dtype, dw.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    weight = layer.weight.detach()
    rows, gradients = x.flatten(0, 1), gradient.flatten(0, 1)
    # Not below 2 % either: then it would not have been FP8 at all.
    assert 0.02 < relative(y.flatten(0, 1), rows @ weight.T) < 0.05
    assert 0.04 < relative(dx.flatten(0, 1), gradients @ weight) < 0.08
    assert 0.04 < relative(dw, gradients.T @ rows) < 0.08


@pytest.mark.parametrize("rows", [32, 21])
def test_equal_to_its_arithmetic_written_out(rows):
    """Cast by the same scales, taken back, multiplied in float32: only the order of sums may differ."""
    layer, _ = make_layer(delayed=False)
    x, gradient = torch.randn(rows, INPUTS), torch.randn(rows, OUTPUTS)
    y, dx, dw = backward(layer, x, gradient.bfloat16())

    def there_and_back(tensor: torch.Tensor, dtype: torch.dtype, largest: float) -> torch.Tensor:
        scale = largest / tensor.abs().max()
        return (tensor * scale).clamp(-largest, largest).to(dtype).float() / scale

    x8 = there_and_back(x, E4M3, 448)
    w8 = there_and_back(layer.weight.detach(), E4M3, 448)
    g8 = there_and_back(gradient.bfloat16().float(), E5M2, 57344)
    assert torch.allclose(dw, g8.T @ x8, rtol=1e-5, atol=1e-5)
    # One rounding to bfloat16, of 2^-9 at most and twice that where float32 sums fall on either side.
    assert torch.allclose(y.float(), x8 @ w8.T, rtol=2**-8, atol=1e-5)
    assert torch.allclose(dx, g8 @ w8, rtol=2**-8, atol=1e-5)


def test_what_is_too_large_saturates_and_nan_stays_nan():
    one = torch.ones(())
    wild = torch.tensor([1e9, -1e9, float("inf"), -float("inf"), float("nan"), 3.0])
    for dtype, largest in ((E4M3, 448.0), (E5M2, 57344.0)):
        found = cast(wild, one, dtype).float()
        assert found[:4].tolist() == [largest, -largest, largest, -largest]
        assert found[4].isnan()
        assert found[5] == 3.0


def test_a_delayed_scale_that_is_far_too_large_saturates_in_every_product():
    layer, float8 = make_layer(delayed=True)
    backward(layer, torch.ones(16, INPUTS), torch.ones(16, OUTPUTS).bfloat16())
    float8.end_step()
    y, dx, dw = backward(layer, torch.full((16, INPUTS), 1e4), torch.full((16, OUTPUTS), 1e4).bfloat16())
    assert all(bool(tensor.isfinite().all()) for tensor in (y, dx, dw))
    # Every 1e4 counts as the 1 that was the largest until then.
    assert torch.allclose(dw, torch.full_like(dw, 16.0), rtol=1e-3)
    float8.end_step()
    _, _, dw = backward(layer, torch.full((16, INPUTS), 1e4), torch.full((16, OUTPUTS), 1e4).bfloat16())
    assert torch.allclose(dw, torch.full_like(dw, 16e8), rtol=1e-2)


def test_nan_is_not_hidden():
    layer, _ = make_layer(delayed=False)
    x = torch.randn(16, INPUTS)
    x[3, 5] = float("nan")
    y, _, dw = backward(layer, x, torch.ones(16, OUTPUTS).bfloat16())
    assert bool(y[3].isnan().all())
    assert not bool(y[4].isnan().any())
    assert bool(dw[:, 5].isnan().all())


def test_zeros_stay_zeros():
    layer, float8 = make_layer(delayed=True)
    for _ in range(2):
        y, dx, dw = backward(layer, torch.zeros(16, INPUTS), torch.zeros(16, OUTPUTS).bfloat16())
        assert not bool(y.any() or dx.any() or dw.any())
        float8.end_step()


def test_scales():
    amaxes = torch.tensor([2.0, 0.0, float("inf"), float("nan"), 1e-40])
    assert scale_from_amax(amaxes, 448.0, 7.0).tolist() == [224.0, 7.0, 7.0, 7.0, 2.0**100]


def test_in_eval_mode_it_is_the_ordinary_layer():
    layer, _ = make_layer(delayed=True)
    layer.eval()
    x = torch.randn(3, 5, INPUTS)
    assert torch.equal(layer(x), F.linear(x, layer.weight))
    assert list(layer.state_dict()) == ["weight"]
    assert float(layer.input_amax) == 0  # nothing was noted


def test_the_weight_is_cast_once_a_step_and_never_stale():
    layer, float8 = make_layer(delayed=False)
    x, gradient = torch.randn(16, INPUTS), torch.randn(16, OUTPUTS).bfloat16()
    backward(layer, x, gradient)
    kept = layer._cast
    backward(layer, x, gradient)
    assert layer._cast is kept
    with torch.no_grad():
        layer.weight.mul_(2)  # without `end_step`: as when another checkpoint is loaded
    assert backward(layer, x, gradient)[0].float().norm() > 1.5 * F.linear(x, layer.weight / 2).norm()
    kept = layer._cast
    float8.end_step()
    backward(layer, x, gradient)
    assert layer._cast is not kept


def test_compiled_it_gives_the_same_and_compiles_once_for_all_steps():
    x, gradient = torch.randn(2, 16, INPUTS), torch.randn(2, 16, OUTPUTS).bfloat16()

    def steps(layer, float8, run) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for step in range(4):
            for micro_batch in range(2):
                found += backward(run, x * (1 + step + micro_batch), gradient)
            with torch.no_grad():
                layer.weight.mul_(1.5)
            float8.end_step()
            graphs.append(len(compiled_graphs))
        return found

    compiled_graphs, graphs = [], []

    def backend(graph, inputs):
        from torch._dynamo.backends.debugging import aot_eager

        compiled_graphs.append(graph)
        return aot_eager(graph, inputs)

    layer, float8 = make_layer(delayed=True)
    expected = steps(layer, float8, layer)
    layer, float8 = make_layer(delayed=True)
    torch._dynamo.reset()
    graphs.clear()
    found = steps(layer, float8, torch.compile(layer, backend=backend, fullgraph=True, dynamic=False))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert graphs[1] == graphs[3]  # nothing new once the first scales are known


def test_products_of_mixed_formats():
    a, b = torch.randn(16, 32), torch.randn(48, 32)
    half = torch.tensor(0.5)
    for dtype in (E4M3, E5M2):
        found = product(a.to(dtype), b.to(E4M3), half, half, torch.float32)
        assert torch.allclose(found, a.to(dtype).float() @ b.to(E4M3).float().T / 4, atol=1e-4)


def test_a_device_without_fp8_products_is_found_out(monkeypatch):
    assert why_not_float8(torch.device("cpu")) is None

    def refuse(*_, **__):
        raise RuntimeError(
            "torch._scaled_mm is only supported on devices with capability >= 8.9\nat somewhere"
        )

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    assert "only supported on devices with capability >= 8.9)" in (why_not_float8(torch.device("cpu")) or "")
    monkeypatch.setattr(torch, "_scaled_mm", lambda a, b, **_: torch.zeros(a.shape[0], b.shape[1]))
    assert "wrongly" in (why_not_float8(torch.device("cpu")) or "")


def test_against_torchao():
    """The same casts by the same scales, so that only the last bit of bfloat16 may differ, or a tie in a cast."""
    float8 = pytest.importorskip("torchao.float8")
    layer, _ = make_layer(delayed=False)
    theirs = torch.nn.Sequential(torch.nn.Linear(INPUTS, OUTPUTS, bias=False))
    with torch.no_grad():
        theirs[0].weight.copy_(layer.weight)
        layer.weight.copy_(layer.weight.bfloat16())
    theirs = float8.convert_to_float8_training(theirs.bfloat16())
    x, gradient = torch.randn(32, INPUTS).bfloat16(), torch.randn(32, OUTPUTS).bfloat16()
    y, dx, dw = backward(layer, x, gradient)
    mine = x.clone().requires_grad_()
    expected = theirs(mine)
    expected.backward(gradient)
    assert relative(y, expected.detach().float()) < 0.005
    assert relative(dx, mine.grad.float()) < 0.005
    assert relative(dw, theirs[0].weight.grad.float()) < 0.005


@pytest.mark.gpu
@pytest.mark.parametrize("rows", [256, 37])
def test_on_a_gpu_as_on_a_cpu(rows):
    reason = why_not_float8(torch.device("cuda"))
    if reason is not None:
        pytest.skip(reason)
    layer, _ = make_layer(delayed=False)
    x, gradient = torch.randn(rows, INPUTS), torch.randn(rows, OUTPUTS).bfloat16()
    expected = backward(layer, x, gradient)
    layer.forget_weight()
    found = backward(layer.to("cuda"), x.cuda(), gradient.cuda())
    for mine, theirs in zip(found, expected, strict=True):
        assert relative(mine.cpu(), theirs.float()) < 0.005
