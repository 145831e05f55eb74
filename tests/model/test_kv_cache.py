from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from flyweight.model import Decoder, KVCache

VARIANTS = [
    {"exclusive_attention": exclusive, "qk_norm": qk_norm}
    for exclusive in (False, True)
    for qk_norm in (False, True)
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize(
    "chunks", [[1] * 23, [9] + [1] * 14, [7, 5, 11], [1, 22], [23]], ids=lambda c: f"{len(c)}_chunks"
)
@torch.inference_mode()
def test_cached_equals_full_forward(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor, variant: dict[str, bool], chunks: list[int]
):
    decoder = make_decoder(**variant)
    cache = KVCache(decoder.config, batch=2, max_length=30)
    pieces = [decoder(piece, cache) for piece in tokens.split(chunks, dim=1)]
    assert cache.length == 23
    assert torch.allclose(torch.cat(pieces, dim=1), decoder(tokens), atol=1e-5)


@torch.inference_mode()
def test_greedy_generation_is_the_same_with_and_without_cache(make_decoder: Callable[..., Decoder]):
    decoder = make_decoder(exclusive_attention=True, qk_norm=True)
    full = torch.tensor([[5, 17, 80]])
    cache = KVCache(decoder.config, batch=1, max_length=40)
    fresh = full
    for _ in range(30):
        cached = decoder.logits(decoder(fresh, cache)[:, -1])
        plain = decoder.logits(decoder(full)[:, -1])
        assert torch.allclose(cached, plain, atol=1e-4)
        fresh = plain.argmax(-1, keepdim=True)
        full = torch.cat([full, fresh], dim=1)
    assert len(set(full[0].tolist())) > 3


@torch.inference_mode()
def test_a_length_set_back_forgets_what_came_after(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor
):
    decoder = make_decoder()
    cache = KVCache(decoder.config, batch=2, max_length=23)
    decoder(tokens, cache)
    cache.length = 10
    other = tokens.flip(1)[:, :6]
    expected = decoder(torch.cat([tokens[:, :10], other], dim=1))[:, 10:]
    assert torch.allclose(decoder(other, cache), expected, atol=1e-5)


@torch.inference_mode()
def test_a_bfloat16_cache_serves_a_float32_decoder_nearly_as_well(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor
):
    decoder = make_decoder(exclusive_attention=True)
    cache = KVCache(decoder.config, batch=2, max_length=23, dtype=torch.bfloat16)
    hidden = torch.cat([decoder(piece, cache) for piece in tokens.split(6, dim=1)], dim=1)
    full = decoder(tokens)
    assert hidden.dtype == torch.float32
    assert 1e-5 < (hidden - full).abs().max() < 0.1


@torch.inference_mode()
def test_a_cache_refuses_more_positions_or_another_batch(
    make_decoder: Callable[..., Decoder], tokens: torch.Tensor
):
    decoder = make_decoder()
    with pytest.raises(AssertionError, match="22 positions was asked for 23"):
        decoder(tokens, KVCache(decoder.config, batch=2, max_length=22))
    with pytest.raises(AssertionError, match="4 rows got 2"):
        decoder(tokens, KVCache(decoder.config, batch=4, max_length=30))
