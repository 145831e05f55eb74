"""Grouped-query attention with optional QK-norm and exclusive attention.

Shapes: B (batch), T (new positions), S (all positions so far), D (hidden), H (query heads), K (key/value
heads, each serving H/K query heads), C (head_dim).
"""

from __future__ import annotations

import functools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flyweight.model.block_attention import LONGEST, block_attention
from flyweight.model.cache import KVCache
from flyweight.model.documents import DocumentMask, attend_documents
from flyweight.model.layers import Linear, RMSNorm, rotate
from flyweight.recipe import Model

AttentionKernel = Literal["sdpa", "blocks", "varlen", "flex"]
"""What computes attention in training: torch's fused kernel, products over blocks of queries, or, with documents
apart, FlashAttention over documents of many lengths, or FlexAttention."""


class Attention(nn.Module):
    """Causal self-attention of one layer; query head h reads key/value head h*K//H (arXiv 2305.13245)."""

    def __init__(self, config: Model, scale: float, layer: int) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.key_value_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        self.exclusive = config.exclusive_attention
        self.scale = scale
        self.layer = layer
        self.kernel: AttentionKernel = "sdpa"
        width = self.heads * self.head_dim
        self.qkv_proj = Linear(config.hidden_size, width + 2 * self.key_value_heads * self.head_dim)
        self.o_proj = Linear(width, config.hidden_size)
        # One gain for the queries and one for the keys of a layer, shared by its heads, as in Qwen3.
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask: Tensor | DocumentMask | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(B, T, D) to (B, T, D).

        `rotary` holds the cosines and sines of the T positions. `mask` (T, S) is needed where several
        positions follow cached ones, see `cached_causal_mask`, and where documents are kept apart, see
        `document_mask`; without it attention is causal by itself.
        """
        batch, length, _ = x.shape
        groups = [self.heads, self.key_value_heads, self.key_value_heads]
        projected = self.qkv_proj(x).view(batch, length, sum(groups), self.head_dim).transpose(1, 2)
        query, key, value = projected.split(groups, dim=1)
        query = rotate(self.q_norm(query), *rotary)
        key = rotate(self.k_norm(key), *rotary).to(value.dtype)
        keys, values = (key, value) if cache is None else cache.append(self.layer, key, value)
        query = query.to(keys.dtype)
        if isinstance(mask, DocumentMask):
            y = attend_documents(query, keys, values, self.scale, mask)
        elif self.kernel == "blocks" and mask is None and cache is None and _trains_on(length):
            y = block_attention(query, keys, values, self.scale)
        else:
            y = attend(query, keys, values, self.scale, mask).to(value.dtype)
        if self.exclusive:
            y = exclude_own_value(y, value)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))


def _trains_on(length: int) -> bool:
    """Whether this pass keeps what blocks of queries keep, and that is not too much."""
    return length <= LONGEST and torch.is_grad_enabled()


def attend(query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """softmax(scale * query keys^T) values, (B, H, T, C), from keys and values (B, K, S, C).

    Without a mask, several queries see the keys up to their own position, and a single one sees them all.
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16:
        # torch's CPU kernel is about 1.7 times faster in float32, forward and backward, casts included.
        # Autocast would put the inputs back into bfloat16, so it is off here.
        with torch.autocast("cpu", enabled=False):
            return _attend(query.float(), keys.float(), values.float(), scale, mask).to(query.dtype)
    return _attend(query, keys, values, scale, mask)


def _attend(query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    grouped = query.shape[1] != keys.shape[1]
    if grouped and not _takes_grouped_heads(query.device.type, query.dtype):
        keys, values, grouped = _expand(keys, query.shape[1]), _expand(values, query.shape[1]), False
    causal = mask is None and query.shape[2] > 1
    return F.scaled_dot_product_attention(
        query, keys, values, attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=grouped
    )


def exclude_own_value(y: Tensor, value: Tensor) -> Tensor:
    """XGQA: z = y - (y.v) v / |v|^2, for every head of `y` (B, H, T, C), with v from `value` (B, K, T, C).

    Exclusive self-attention (arXiv 2603.09078, equation 2 and algorithm 1): attention brings a token only
    what is orthogonal to its own value, since what that says is in the residual stream already. Every
    query head takes the un-rotated value of its own key/value head. There are no parameters.
    """
    # In float32, since z.v = 0 is a difference of nearly equal numbers. A zero value leaves y as it is.
    direction = F.normalize(value.float(), dim=-1, eps=1e-12).unsqueeze(2)
    grouped = y.float().unflatten(1, (value.shape[1], -1))  # (B, K, H/K, T, C)
    z = grouped - (grouped * direction).sum(dim=-1, keepdim=True) * direction
    return z.flatten(1, 2).to(y.dtype)


def cached_causal_mask(past: int, length: int, device: torch.device) -> Tensor:
    """True where a query may look, (length, past + length): query i stands at position past + i.

    `is_causal` of torch's attention aligns the first query with the first key, which is wrong as soon as
    keys of the past stand before them.
    """
    keys = torch.arange(past + length, device=device)
    queries = torch.arange(past, past + length, device=device)
    return keys <= queries[:, None]


def _expand(x: Tensor, heads: int) -> Tensor:
    """Repeat each key/value head for the query heads of its group, (B, K, S, C) to (B, H, S, C)."""
    return x.unsqueeze(2).expand(-1, -1, heads // x.shape[1], -1, -1).flatten(1, 2)


def _takes_grouped_heads(device_type: str, dtype: torch.dtype) -> bool:
    """Whether torch's attention should be given grouped heads on this kind of device; tried once."""
    return _probe_grouped_heads(device_type, dtype)


# What torch.compiler.assume_constant_result does, but that imports the compiler: about two seconds.
_takes_grouped_heads._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache  # torch.compile looks through a cache, so that its mark needs the function above
def _probe_grouped_heads(device_type: str, dtype: torch.dtype) -> bool:
    if device_type == "cuda" and dtype == torch.float32:
        # The one fused CUDA kernel for float32 takes no groups; with them torch would fall back to a
        # kernel that holds all B*H*T*T scores.
        return False
    options = {"device": device_type, "dtype": dtype}
    query = torch.linspace(-1, 1, 4 * 3 * 8, **options).view(1, 4, 3, 8)
    key_value = torch.linspace(-2, 1, 2 * 3 * 8, **options).view(1, 2, 3, 8)
    expanded = _expand(key_value, 4)
    try:
        found = F.scaled_dot_product_attention(query, key_value, key_value, is_causal=True, enable_gqa=True)
    except RuntimeError:
        return False
    expected = F.scaled_dot_product_attention(query, expanded, expanded, is_causal=True)
    return device_type == "meta" or torch.allclose(found.float(), expected.float(), atol=0.02)
