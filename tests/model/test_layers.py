from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from flyweight.model.layers import Linear, RMSNorm, SwiGLU, rotary_tables, rotate, scaled


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rms_norm_makes_the_root_mean_square_one_and_then_applies_the_gain():
    norm = RMSNorm(64, eps=1e-6)
    x = 37 * normal(5, 64)
    assert torch.allclose(norm(x).pow(2).mean(-1), torch.ones(5), atol=1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(64.0))
    assert torch.allclose(norm(x), x / x.pow(2).mean(-1, keepdim=True).sqrt() * torch.arange(64.0), rtol=1e-5)


def test_rms_norm_counts_its_epsilon_inside_the_root():
    x = torch.full((1, 8), 1e-3)
    expected = 1e-3 / math.sqrt(1e-6 + 3e-6)
    assert torch.allclose(RMSNorm(8, eps=3e-6)(x), torch.full((1, 8), expected))


def test_rms_norm_of_bfloat16_is_computed_in_float32():
    norm = RMSNorm(512, eps=1e-6).to(torch.bfloat16)
    x = (1e4 * normal(4, 512)).to(torch.bfloat16)
    exact = F.normalize(x.double(), dim=-1) * math.sqrt(512)
    assert norm(x).dtype == torch.bfloat16
    # One rounding to bfloat16 (8 bits) and no more.
    assert ((norm(x).double() - exact).abs() <= exact.abs() * 2**-8).all()


def test_swiglu_gates_with_the_first_half_of_its_fused_matrix():
    mlp = SwiGLU(6, 10)
    with torch.no_grad():
        mlp.gate_up_proj.weight.copy_(normal(20, 6))
        mlp.down_proj.weight.copy_(normal(6, 10, seed=1))
    x = normal(2, 3, 6, seed=2)
    gate, up = x @ mlp.gate_up_proj.weight[:10].T, x @ mlp.gate_up_proj.weight[10:].T
    expected = (gate * torch.sigmoid(gate) * up) @ mlp.down_proj.weight.T
    assert torch.allclose(mlp(x), expected, atol=1e-5)


def test_making_a_layer_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    Linear(64, 64)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_rotation_keeps_lengths_and_leaves_position_zero_as_it_is():
    cosine, sine = rotary_tables(torch.arange(50), 16, 10_000.0)
    x = normal(1, 2, 50, 16)
    rotated = rotate(x, cosine, sine)
    assert torch.allclose(rotated.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(rotated[:, :, 0], x[:, :, 0])
    assert not torch.allclose(rotated[:, :, 1], x[:, :, 1], atol=0.1)


@pytest.mark.parametrize("shift", [1, 17, 400])
def test_rotated_products_depend_on_the_distance_of_positions_alone(shift: int):
    query, key = normal(1, 1, 1, 32), normal(1, 1, 1, 32, seed=1)

    def product(query_position: int, key_position: int) -> torch.Tensor:
        place = [rotary_tables(torch.tensor([p]), 32, 500.0) for p in (query_position, key_position)]
        return (rotate(query, *place[0]) * rotate(key, *place[1])).sum()

    assert torch.allclose(product(9 + shift, 4 + shift), product(9, 4), atol=1e-3)
    assert not torch.allclose(product(9 + shift, 4), product(9, 4), atol=1e-2)


def test_rotation_turns_complex_pairs_by_position_times_frequency():
    theta, head_dim, position = 2_500.0, 8, 5
    x = normal(1, 1, 1, head_dim)
    rotated = rotate(x, *rotary_tables(torch.tensor([position]), head_dim, theta))[0, 0, 0]
    for pair in range(head_dim // 2):
        number = complex(x[0, 0, 0, pair], x[0, 0, 0, pair + head_dim // 2])
        angle = position * theta ** (-2 * pair / head_dim)
        expected = number * complex(math.cos(angle), math.sin(angle))
        found = complex(rotated[pair], rotated[pair + head_dim // 2])
        assert abs(found - expected) < 1e-5


def test_late_positions_stay_apart_in_bfloat16():
    tables = rotary_tables(torch.tensor([1000, 1001]), 16, 10_000.0)
    rotated = rotate(torch.ones(1, 1, 2, 16, dtype=torch.bfloat16), *tables)
    assert rotated.dtype == torch.float32
    assert (rotated[0, 0, 0] - rotated[0, 0, 1]).abs().max() > 0.3


def test_scaling_by_one_is_no_work():
    x = normal(3)
    assert scaled(x, 1.0) is x
    assert torch.equal(scaled(x, 3.0), 3 * x)
