from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from flyweight.model import Decoder, attention
from flyweight.model.attention import Attention, attend, cached_causal_mask, exclude_own_value
from flyweight.model.layers import RMSNorm, rotary_tables, rotate

B, H, K, T, C = 2, 6, 2, 11, 16


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def own_values(value: torch.Tensor) -> torch.Tensor:
    """The value of every query head's own group, (B, H, T, C)."""
    return value.repeat_interleave(H // K, dim=1)


def naive_attention(module: Attention, x: torch.Tensor, theta: float) -> torch.Tensor:
    """The same attention, one head and one position at a time, in float64."""
    q_rows, kv_rows = module.heads * module.head_dim, module.key_value_heads * module.head_dim
    q_weight, k_weight, v_weight = module.qkv_proj.weight.double().split([q_rows, kv_rows, kv_rows])
    places = [
        [table.double() for table in rotary_tables(torch.tensor([p]), module.head_dim, theta)]
        for p in range(x.shape[1])
    ]

    def head(weight: torch.Tensor, index: int, norm: torch.nn.Module | None) -> torch.Tensor:
        rows = weight[index * module.head_dim : (index + 1) * module.head_dim]
        states = x.double() @ rows.T
        if not isinstance(norm, RMSNorm):
            return states
        return states / (states.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight.double()

    def turned(state: torch.Tensor, position: int) -> torch.Tensor:
        return rotate(state[None, None, None], *places[position])[0, 0, 0].double()

    out = torch.zeros(x.shape[0], x.shape[1], q_rows, dtype=torch.float64)
    for row in range(x.shape[0]):
        for h in range(module.heads):
            group = h * module.key_value_heads // module.heads
            queries = head(q_weight, h, module.q_norm)[row]
            keys = head(k_weight, group, module.k_norm)[row]
            values = head(v_weight, group, None)[row]
            for i in range(x.shape[1]):
                scores = torch.stack([turned(queries[i], i) @ turned(keys[j], j) for j in range(i + 1)])
                y = torch.softmax(module.scale * scores, 0) @ values[: i + 1]
                if module.exclusive:
                    y = y - (y @ values[i]) * values[i] / (values[i] @ values[i])
                out[row, i, h * module.head_dim : (h + 1) * module.head_dim] = y
    return out @ module.o_proj.weight.double().T


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_attention_equals_a_loop_over_heads_and_positions(
    make_decoder: Callable[..., Decoder], exclusive: bool, qk_norm: bool
):
    decoder = make_decoder(exclusive_attention=exclusive, qk_norm=qk_norm, rope_theta=500.0)
    module = decoder.layers[1].self_attn
    assert isinstance(module, Attention)
    x = normal(B, 7, 48)
    with torch.no_grad():
        found = module(x, rotary_tables(torch.arange(7), 16, 500.0))
        expected = naive_attention(module, x, 500.0)
    assert expected.abs().mean() > 0.01
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_the_scale_multiplies_the_scores():
    query, key, value = normal(1, 1, 3, 4), normal(1, 1, 3, 4, seed=1), normal(1, 1, 3, 4, seed=2)
    assert torch.allclose(attend(query, key, value, 0.3), attend(0.3 * query, key, value, 1.0), atol=1e-6)
    # With a scale of nearly zero everyone looks evenly at all that came before.
    mean = value.cumsum(2) / torch.arange(1.0, 4.0)[:, None]
    assert torch.allclose(attend(query, key, value, 1e-9), mean, atol=1e-6)


def test_each_query_head_reads_its_own_group():
    query, key = normal(1, H, T, C), normal(1, K, T, C, seed=1)
    value = torch.arange(float(K)).view(1, K, 1, 1).expand(1, K, T, C)
    heads = attend(query, key, value, 1.0)[0, :, 0, 0]
    assert torch.allclose(heads, torch.tensor([h * K // H for h in range(H)]).float())


@pytest.mark.parametrize("past", [0, 5])
def test_devices_without_grouped_heads_get_the_same_from_expanded_ones(
    monkeypatch: pytest.MonkeyPatch, past: int
):
    query, key, value = normal(B, H, T, C), normal(B, K, T + past, C), normal(B, K, T + past, C, seed=2)
    mask = cached_causal_mask(past, T, query.device) if past else None
    grouped = attend(query, key, value, 0.25, mask)
    monkeypatch.setattr(attention, "_takes_grouped_heads", lambda *_: False)
    assert torch.allclose(attend(query, key, value, 0.25, mask), grouped, atol=1e-6)


def test_the_probe_finds_a_device_that_refuses_groups_and_one_that_gets_them_wrong(
    monkeypatch: pytest.MonkeyPatch,
):
    probe = attention._probe_grouped_heads.__wrapped__
    assert probe("cpu", torch.float32)
    assert probe("cpu", torch.bfloat16)
    original = F.scaled_dot_product_attention

    def refuses(*args, enable_gqa: bool = False, **kwargs):
        if enable_gqa:
            raise RuntimeError("enable_gqa is not supported on this device")
        return original(*args, **kwargs)

    def interleaves_wrongly(query, key, value, enable_gqa: bool = False, **kwargs):
        if enable_gqa:
            key, value = key.repeat(1, 2, 1, 1), value.flip(1).repeat(1, 2, 1, 1)
        return original(query, key, value, **kwargs)

    for broken in (refuses, interleaves_wrongly):
        monkeypatch.setattr(F, "scaled_dot_product_attention", broken)
        assert not probe("cpu", torch.float32)


def test_the_cached_mask_lets_each_query_see_its_past_and_itself():
    mask = cached_causal_mask(2, 3, torch.device("cpu"))
    assert mask.tolist() == [
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, True, True, True],
    ]


def test_exclusive_output_is_orthogonal_to_the_own_value():
    y, value = 5 * normal(B, H, T, C), normal(B, K, T, C, seed=1)
    z = exclude_own_value(y, value)
    assert z.shape == y.shape
    assert F.cosine_similarity(z, own_values(value), dim=-1).abs().max() < 1e-6
    assert (z - y).abs().max() > 0.1


def test_exclusive_output_forgets_what_lies_along_the_own_value():
    y, value = normal(B, H, T, C), normal(B, K, T, C, seed=1)
    amounts = 10 * normal(B, H, T, 1, seed=2)
    shifted = exclude_own_value(y + amounts * own_values(value), value)
    assert torch.allclose(shifted, exclude_own_value(y, value), atol=1e-4)


def test_exclusive_output_depends_on_the_direction_of_the_value_only():
    y, value = normal(B, H, T, C), normal(B, K, T, C, seed=1)
    lengths = 0.01 + 100 * normal(B, K, T, 1, seed=2).abs()
    assert torch.allclose(exclude_own_value(y, lengths * value), exclude_own_value(y, value), atol=1e-5)


def test_exclusive_output_at_position_zero_is_zero():
    query, key, value = normal(B, H, T, C), normal(B, K, T, C, seed=1), normal(B, K, T, C, seed=2)
    z = exclude_own_value(attend(query, key, value, 0.25), value)
    assert z[:, :, 0].abs().max() < 1e-6
    assert z[:, :, 1:].abs().amax(-1).min() > 1e-3


def test_exclusive_output_of_a_zero_value_is_the_plain_one_with_finite_gradients():
    y, value = normal(1, 2, 3, 4).requires_grad_(), torch.zeros(1, 1, 3, 4, requires_grad=True)
    z = exclude_own_value(y, value)
    assert torch.equal(z, y)
    z.pow(2).sum().backward()
    assert value.grad is not None
    assert value.grad.isfinite().all()


def test_exclusive_gradients_are_those_of_the_formula():
    y, value = (
        normal(1, 2, 3, 4).double().requires_grad_(),
        normal(1, 1, 3, 4, seed=1).double().requires_grad_(),
    )
    found = torch.autograd.grad((exclude_own_value(y, value) ** 3).sum(), (y, value))
    v = value.expand(1, 2, 3, 4)
    z = y - (y * v).sum(-1, keepdim=True) * v / v.pow(2).sum(-1, keepdim=True)
    expected = torch.autograd.grad((z**3).sum(), (y, value))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_exclusive_attention_has_no_parameters(make_decoder: Callable[..., Decoder]):
    plain, exclusive = make_decoder(), make_decoder(exclusive_attention=True)
    shapes = [{n: p.shape for n, p in decoder.named_parameters()} for decoder in (plain, exclusive)]
    assert shapes[0] == shapes[1]
