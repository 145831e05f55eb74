"""Documents within training sequences: where they begin, and attention that stops at their borders.

With document masking a query sees the keys from its document's first token to itself. What says so depends on
the kernel: a mask for torch's own attention, where each document begins for the blocks of queries on CPUs, the
documents' offsets in one long row for FlashAttention, the blocks worth computing for FlexAttention. It is made
once for a batch, outside the compiled blocks, in shapes that do not depend on where the borders are.

Shapes: B (batch), T (sequence), H (query heads), K (key/value heads), C (head_dim), N (documents of all rows).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from flyweight.model.block_attention import LONGEST, block_attention

DocumentKernel = Literal["blocks", "varlen", "flex"]
"""The kernels that take documents as such; torch's plain attention takes a mask."""

FLEX_BLOCK = 128
"""Queries and keys of a block of FlexAttention's mask: its kernels' own."""


class Documents(NamedTuple):
    """Where the documents of a batch of sequences are."""

    begins: Tensor
    """(B, T) int32: the place in the sequence at which each input's document begins; 0 if it began before."""
    offsets: Tensor
    """(N+1,) int32: where each document begins in the B*T inputs as one row, and B*T."""
    scored: Tensor
    """(B, T) bool: whether an input's target, the token after it, is of the same document."""

    def to(self, device: torch.device) -> Documents:
        """The same on `device`."""
        return Documents(*(tensor.to(device, non_blocking=True) for tensor in self))


class DocumentMask(NamedTuple):
    """What a kernel other than torch's plain attention needs to keep documents apart."""

    kernel: DocumentKernel
    borders: Tensor | BlockMask
    """`blocks`: (B, T, T), added to the scores; `varlen`: Documents.offsets; `flex`: its own kind of mask."""


def find_documents(begins: Tensor) -> Documents:
    """The documents of sequences of T+1 tokens.

    Args:
        begins: (B, T+1) int32 on the CPU: the place in the sequence at which each token's document begins.
    """
    length = begins.shape[1] - 1
    places = torch.arange(length + 1, dtype=torch.int32)
    inputs = begins[:, :-1]
    firsts = (inputs == places[:-1]).flatten().nonzero().squeeze(1)
    offsets = torch.cat([firsts, torch.tensor([inputs.numel()])]).to(torch.int32)
    return Documents(inputs.contiguous(), offsets, begins[:, 1:] != places[1:])


def positions_of(documents: Documents) -> Tensor:
    """(B, T) int32: each input's position in its document, from 0; from the sequence's start if it began before."""
    length = documents.begins.shape[1]
    return torch.arange(length, device=documents.begins.device, dtype=torch.int32) - documents.begins


def visible_keys(begins: Tensor) -> Tensor:
    """True where a query may look, (B, 1, T, T): at its own document, up to itself. B*T*T bytes."""
    places = torch.arange(begins.shape[1], device=begins.device)
    return (places <= places[:, None]) & (places >= begins[:, None, :, None])


def document_mask(
    documents: Documents, kernel: str, weights: torch.dtype = torch.float32
) -> Tensor | DocumentMask:
    """What attention takes to keep `documents` apart, for all layers of a forward pass.

    Args:
        documents: of the batch.
        kernel: what computes attention in training; sequences that are too long for blocks of queries get a mask for
            torch's own attention.
        weights: type of the decoder's weights.

    On CPUs a mask is what is added to the scores: 2*B*T*T bytes for blocks of queries, 4*B*T*T for torch's own
    attention, which would make and keep one of a mask of True and False in every layer. Elsewhere it takes B*T*T bytes
    and what torch makes of it. The two other kernels take next to nothing.
    """
    if kernel == "varlen":
        # The number of documents is a length that torch.compile leaves open: no batch brings another compilation.
        torch._dynamo.maybe_mark_dynamic(documents.offsets, 0)
        return DocumentMask("varlen", documents.offsets)
    if kernel == "flex":
        return DocumentMask("flex", flex_mask(documents.begins))
    seen = visible_keys(documents.begins)
    if kernel == "blocks" and documents.begins.shape[1] <= LONGEST:
        return DocumentMask("blocks", _added(seen.squeeze(1), torch.bfloat16))
    # On CPUs `attend` computes in float32 at least, and torch reads a mask of another type than its queries' wrongly.
    return _added(seen, torch.promote_types(weights, torch.float32)) if seen.device.type == "cpu" else seen


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to be added to scores: 0 where a key is `seen`, -inf elsewhere."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


def attend_documents(query: Tensor, keys: Tensor, values: Tensor, scale: float, mask: DocumentMask) -> Tensor:
    """softmax(scale * query keys^T) values over each query's own document, (B, H, T, C), as `attend` does it.

    Args:
        query: (B, H, T, C).
        keys: (B, K, T, C).
        values: (B, K, T, C).
        scale: factor of the scores.
        mask: the documents, for the kernel that it names.
    """
    if mask.kernel == "blocks":
        assert isinstance(mask.borders, Tensor)
        return block_attention(query, keys, values, scale, mask.borders)
    if mask.kernel == "varlen":
        assert isinstance(mask.borders, Tensor)
        return _attend_packed(query, keys, values, scale, mask.borders)
    assert isinstance(mask.borders, BlockMask)
    grouped = query.shape[1] != keys.shape[1]
    # A fused kernel only where it is compiled, by itself or within a compiled block; on CPUs it has no backward pass.
    alone = query.is_cuda and not torch.compiler.is_compiling()
    kernel = _compiled_flex_attention() if alone else flex_attention
    return kernel(query, keys, values, block_mask=mask.borders, scale=scale, enable_gqa=grouped)


def _attend_packed(query: Tensor, keys: Tensor, values: Tensor, scale: float, offsets: Tensor) -> Tensor:
    """FlashAttention over all documents of all rows as one row of documents of many lengths."""
    from torch.nn.attention.varlen import varlen_attn  # brings all of torch.compile, for seconds

    batch, heads, length, size = query.shape
    packed = [x.transpose(1, 2).reshape(batch * length, x.shape[1], size) for x in (query, keys, values)]
    y = varlen_attn(
        packed[0],
        packed[1],
        packed[2],
        offsets,
        offsets,
        length,
        length,
        scale=scale,
        window_size=(-1, 0),  # causal
        enable_gqa=heads != keys.shape[1],
    )
    assert isinstance(y, Tensor)
    return y.view(batch, length, heads, size).transpose(1, 2)


def varlen_is_known() -> bool:
    """Whether this torch's varlen_attn has the parameters that are used here."""
    from torch.nn.attention.varlen import varlen_attn

    return {"scale", "window_size", "enable_gqa"} <= inspect.signature(varlen_attn).parameters.keys()


@functools.cache
def _compiled_flex_attention() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False)


def flex_mask(begins: Tensor) -> BlockMask:
    """FlexAttention's mask for documents that begin at `begins` (B, T).

    Built from the borders alone, without the T*T values that `create_block_mask` goes through and without waiting
    for the device: since `begins` never falls along a row, a block of queries sees the blocks of keys from its
    first query's document on, and wholly those that lie before it and after its last query's document's begin.
    """
    length = begins.shape[1]
    blocks = torch.arange(-(-length // FLEX_BLOCK), device=begins.device)
    lasts = (blocks * FLEX_BLOCK + FLEX_BLOCK - 1).clamp(max=length - 1)
    least, most = begins[:, blocks * FLEX_BLOCK], begins[:, lasts]  # (B, blocks of queries)
    reached = (blocks <= blocks[:, None]) & (blocks >= (least // FLEX_BLOCK)[..., None])
    whole = (blocks < blocks[:, None]) & (blocks * FLEX_BLOCK >= most[..., None])
    partial = reached & ~whole

    def visible(b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (k <= q) & (k >= begins[b, q])

    return BlockMask.from_kv_blocks(
        *_ordered(partial),
        *_ordered(whole),
        BLOCK_SIZE=FLEX_BLOCK,
        mask_mod=visible,
        seq_lengths=(length, length),
    )


def _ordered(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks of keys each block of queries has, (B, 1, Q), and their numbers, first in (B, 1, Q, K)."""
    chosen = chosen.unsqueeze(1).to(torch.int32)
    return chosen.sum(dim=-1, dtype=torch.int32), chosen.argsort(dim=-1, descending=True, stable=True).int()
