from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from flyweight.model import Decoder
from flyweight.model.decoder import Block
from flyweight.recipe import Model, Parametrization

MUP = Parametrization(kind="minicpm", init_std=0.1, scale_emb=12, scale_depth=1.4, dim_model_base=16)


def test_parameter_names_are_the_ones_checkpoints_hold(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder(num_hidden_layers=1, qk_norm=True, tie_word_embeddings=False)
    assert {name: tuple(parameter.shape) for name, parameter in decoder.named_parameters()} == {
        "embed_tokens.weight": (97, 48),
        "layers.0.input_layernorm.weight": (48,),
        "layers.0.self_attn.qkv_proj.weight": ((6 + 2 + 2) * 16, 48),
        "layers.0.self_attn.o_proj.weight": (48, 6 * 16),
        "layers.0.self_attn.q_norm.weight": (16,),
        "layers.0.self_attn.k_norm.weight": (16,),
        "layers.0.post_attention_layernorm.weight": (48,),
        "layers.0.mlp.gate_up_proj.weight": (2 * 80, 48),
        "layers.0.mlp.down_proj.weight": (48, 80),
        "norm.weight": (48,),
        "lm_head.weight": (97, 48),
    }
    assert list(decoder.state_dict()) == [name for name, _ in decoder.named_parameters()]


def test_a_tied_model_reads_out_with_its_embedding(make_decoder: Callable[..., Decoder]):
    tied, untied = make_decoder(), make_decoder(tie_word_embeddings=False)
    assert tied.readout_weight is tied.embed_tokens.weight
    assert untied.readout_weight is not untied.embed_tokens.weight
    assert set(untied.state_dict()) - set(tied.state_dict()) == {"lm_head.weight"}


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("position", [0, 9, 22])
@torch.inference_mode()
def test_a_token_never_changes_what_came_before_it(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor, position: int, exclusive: bool
):
    decoder = make_decoder(exclusive_attention=exclusive, qk_norm=True)
    changed = tokens.clone()
    changed[:, position] = (changed[:, position] + 1) % 97
    before, after = decoder(tokens), decoder(changed)
    assert torch.equal(before[:, :position], after[:, :position])
    assert ((before - after)[:, position:].abs().amax(-1) > 1e-6).all()


@torch.inference_mode()
def test_rows_of_a_batch_do_not_see_each_other(make_decoder: Callable[..., Decoder], tokens: torch.Tensor):
    decoder = make_decoder(exclusive_attention=True)
    assert torch.allclose(decoder(tokens)[1:], decoder(tokens[1:]), atol=1e-5)


@torch.inference_mode()
def test_the_embedding_multiplier_scales_the_input_and_not_the_readout(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor
):
    plain, scaled = make_decoder(), make_decoder(scale_embedding=True)
    assert scaled.multipliers.embedding == math.sqrt(48)
    assert torch.equal(scaled.logits(torch.ones(48)), plain.logits(torch.ones(48)))
    # An embedding that is already larger, under a readout that stays, is the same model.
    untied = make_decoder(tie_word_embeddings=False)
    untied.load_state_dict({**plain.state_dict(), "lm_head.weight": plain.embed_tokens.weight})
    untied.embed_tokens.weight *= math.sqrt(48)
    assert torch.allclose(untied.logits(untied(tokens)), scaled.logits(scaled(tokens)), atol=1e-4)
    assert not torch.allclose(plain(tokens), scaled(tokens), atol=0.1)


@torch.inference_mode()
def test_the_residual_multiplier_scales_every_branch(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor
):
    decoder = make_decoder(MUP)
    residual = 1.4 / math.sqrt(3)
    rotary = torch.ones(23, 8), torch.zeros(23, 8)
    for block in decoder.layers:
        assert isinstance(block, Block)
        x = decoder.embed_tokens(tokens)
        middle = x + residual * block.self_attn(block.input_layernorm(x), rotary)
        expected = middle + residual * block.mlp(block.post_attention_layernorm(middle))
        assert torch.allclose(block(x, rotary, None, None), expected, atol=1e-5)


@torch.inference_mode()
def test_the_logits_multiplier_scales_the_logits(make_decoder: Callable[..., Decoder]):
    plain, mup = make_decoder(), make_decoder(MUP)
    mup.load_state_dict(plain.state_dict())
    hidden = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(mup.logits(hidden), plain.logits(hidden) / 3, atol=1e-6)


@torch.inference_mode()
def test_the_attention_multiplier_reaches_the_scores(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor
):
    by_root, by_dim = (
        make_decoder(MUP.model_copy(update={"kind": kind})) for kind in ("minicpm", "xmodel-2.5")
    )
    state = dict(by_root.state_dict())
    by_dim.load_state_dict(state)
    assert not torch.allclose(by_dim(tokens), by_root(tokens), atol=1e-3)
    for name, weight in state.items():
        if "qkv_proj" in name:
            weight[: 6 * 16] *= math.sqrt(16)  # queries so much larger make 1/C the same as 1/sqrt(C)
    by_dim.load_state_dict(state)
    by_root = make_decoder(MUP)
    assert torch.allclose(by_dim(tokens), by_root(tokens), atol=1e-4)


@pytest.mark.parametrize("exclusive", [False, True])
def test_under_bfloat16_autocast_it_trains_on_a_float32_residual_stream(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor, exclusive: bool
):
    decoder = make_decoder(MUP, exclusive_attention=exclusive, qk_norm=True)
    exact = decoder.logits(decoder(tokens))
    with torch.autocast("cpu", torch.bfloat16):
        hidden = decoder(tokens)
        logits = decoder.logits(hidden)
    assert (hidden.dtype, logits.dtype) == (torch.float32, torch.bfloat16)
    assert 1e-5 < (logits - exact).abs().max() < 0.1
    logits.float().logsumexp(-1).mean().backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@torch.inference_mode()
def test_a_decoder_in_bfloat16_stays_in_bfloat16_and_close(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor
):
    decoder = make_decoder(exclusive_attention=True)
    exact = decoder(tokens)
    hidden = decoder.to(torch.bfloat16)(tokens)
    assert hidden.dtype == torch.bfloat16
    assert (hidden.float() - exact).abs().max() < 0.2


def test_it_compiles_as_one_graph(make_decoder: Callable[..., Decoder], tokens: torch.Tensor):
    decoder = make_decoder(MUP, exclusive_attention=True, qk_norm=True)
    compiled = torch.compile(decoder, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(tokens), decoder(tokens), atol=1e-6)


def test_initialisation_is_a_function_of_the_seed(make_config: Callable[..., Model]):
    def state(seed: int) -> dict[str, torch.Tensor]:
        return Decoder(make_config(), Parametrization()).initialize(seed).state_dict()

    first, again, other = state(1), state(1), state(2)
    for name, weight in first.items():
        assert torch.equal(weight, again[name]), name
        assert torch.equal(weight, other[name]) == ("norm" in name), name


def test_initialisation_of_a_parameter_does_not_depend_on_the_others(make_config: Callable[..., Model]):
    """Neither on how many there are, nor on what else drew random numbers."""
    small = Decoder(make_config(), Parametrization(init_std=0.1)).initialize(3)
    torch.rand(5)
    changes = {"num_hidden_layers": 5, "qk_norm": True, "intermediate_size": 96, "tie_word_embeddings": False}
    large = Decoder(make_config(**changes), Parametrization(init_std=0.1)).initialize(3)
    for name in ("embed_tokens.weight", "layers.2.self_attn.qkv_proj.weight"):
        assert torch.equal(small.get_parameter(name), large.get_parameter(name))
    first, second = (small.get_parameter(f"layers.{layer}.self_attn.qkv_proj.weight") for layer in (0, 1))
    assert not torch.equal(first, second)


def test_initialisation_leaves_the_global_generator_alone(make_config: Callable[..., Model]):
    before = torch.random.get_rng_state()
    Decoder(make_config(), Parametrization()).initialize(3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", [False, True])
@torch.inference_mode()
def test_cuda_agrees_with_the_cpu(make_decoder: Callable[..., Decoder], tokens: torch.Tensor, autocast: bool):
    decoder = make_decoder(MUP, exclusive_attention=True, qk_norm=True)
    expected = decoder.logits(decoder(tokens))
    decoder, tokens = decoder.cuda(), tokens.cuda()
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        logits = decoder.logits(decoder(tokens))
    assert torch.allclose(logits.float().cpu(), expected, atol=0.1 if autocast else 1e-3)
