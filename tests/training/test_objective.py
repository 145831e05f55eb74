"""The chunked loss equals PyTorch's own on full logits, value and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from flyweight.training import objective, training_loss


def reference(hidden, weight, targets, multiplier, z_coefficient):
    logits = (hidden.flatten(0, 1) @ weight.T * multiplier).float()
    z = logits.logsumexp(-1).square().sum()
    cross_entropy = F.cross_entropy(logits, targets.flatten(), reduction="sum")
    return cross_entropy + z_coefficient * z, cross_entropy, z


@pytest.mark.parametrize("multiplier", [1.0, 1 / 6])
@pytest.mark.parametrize("z_coefficient", [0.0, 1e-2])
@pytest.mark.parametrize("chunk_logits", [1, 700, 1 << 22])
def test_value_and_gradients_equal_full_logits(monkeypatch, multiplier, z_coefficient, chunk_logits):
    monkeypatch.setattr(objective, "CHUNK_LOGITS", chunk_logits)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 7, 16, generator=generator, requires_grad=True)
    weight = torch.randn(50, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (3, 7), generator=generator)
    loss = training_loss(hidden, weight, targets, logits_multiplier=multiplier, z_coefficient=z_coefficient)
    (loss.total / 21).backward()
    got = hidden.grad, weight.grad
    hidden.grad = weight.grad = None
    total, cross_entropy, z = reference(hidden, weight, targets, multiplier, z_coefficient)
    (total / 21).backward()
    torch.testing.assert_close(loss.total, total)
    torch.testing.assert_close(loss.cross_entropy, cross_entropy)
    torch.testing.assert_close(loss.z, z)
    torch.testing.assert_close(got[0], hidden.grad)
    torch.testing.assert_close(got[1], weight.grad)


def test_bfloat16_products_keep_a_float32_softmax():
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(4, 32, 64, generator=generator, requires_grad=True)
    weight = (torch.randn(300, 64, generator=generator) / 8).requires_grad_()
    targets = torch.randint(0, 300, (4, 32), generator=generator)
    loss = training_loss(hidden, weight, targets, compute_dtype=torch.bfloat16)
    loss.total.backward()
    assert loss.total.dtype == weight.grad.dtype == torch.float32
    got = weight.grad.clone()
    weight.grad = None
    total, *_ = reference(hidden, weight, targets, 1.0, 0.0)
    total.backward()
    assert abs(loss.total.item() / total.item() - 1) < 2e-3
    assert F.cosine_similarity(got.flatten(), weight.grad.flatten(), dim=0) > 0.999


def test_no_tensor_as_large_as_the_full_logits_exists(monkeypatch):
    """The largest allocation of a forward and backward pass stays near one chunk."""
    monkeypatch.setattr(objective, "CHUNK_LOGITS", 1 << 14)
    positions, vocabulary, width = 512, 4096, 8
    hidden = torch.randn(1, positions, width, requires_grad=True)
    weight = torch.randn(vocabulary, width, requires_grad=True)
    targets = torch.randint(0, vocabulary, (1, positions))
    with torch.profiler.profile(profile_memory=True) as profile:
        training_loss(hidden, weight, targets).total.backward()
    largest = max(event.self_cpu_memory_usage / max(1, event.count) for event in profile.key_averages())
    assert largest < positions * vocabulary * 4 / 8


def test_compiled_it_is_the_same_and_no_coefficient_is_compiled_in(monkeypatch):
    monkeypatch.setattr(objective, "CHUNK_LOGITS", 700)
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(2, 14, 16, generator=generator, requires_grad=True)
    weight = torch.randn(50, 16, generator=generator, requires_grad=True)
    targets = torch.randint(0, 50, (2, 14), generator=generator)
    graphs = torch._dynamo.utils.counters["stats"]
    compiled = []
    for z_coefficient in (1e-2, 1e-3, 0.0):
        options = {"logits_multiplier": 1 / 6, "z_coefficient": z_coefficient}
        results = []
        for fused in (False, True):
            loss = training_loss(hidden, weight, targets, compiled=fused, **options)
            results.append((*loss, *torch.autograd.grad(loss.total, (hidden, weight))))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other)
        compiled.append(graphs["unique_graphs"])
    assert len(set(compiled)) == 1
