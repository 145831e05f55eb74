"""Which attention kernel keeps documents apart: by a rule, and a trial that it works here.

The kernels, best first: on CUDA in bfloat16 FlashAttention over documents of many lengths, then FlexAttention;
on CPUs in bfloat16 products over blocks of queries; everywhere torch's plain attention with a mask of B*T*T
bytes. The first two compute nothing across borders, so documents much shorter than the sequence save time; the
others compute it and throw it away.

Which of those that work is fastest is no race, which two runs of one recipe might see end differently.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from flyweight.inference import Precision
from flyweight.model import AttentionKernel
from flyweight.model.attention import attend
from flyweight.model.block_attention import LONGEST
from flyweight.model.documents import (
    DocumentMask,
    Documents,
    attend_documents,
    document_mask,
    find_documents,
    varlen_is_known,
    visible_keys,
)
from flyweight.recipe import Model

DOCUMENT_REASONS: dict[AttentionKernel, str] = {
    "sdpa": "attention: torch's scaled_dot_product_attention, with a mask that keeps documents apart",
    "blocks": "attention: products over blocks of queries, documents kept apart by a mask",
    "varlen": "attention: FlashAttention over documents of many lengths; nothing is computed across their borders",
    "flex": "attention: FlexAttention, documents kept apart; blocks across their borders are not computed",
}

_TRIAL_LENGTH = 300
"""No multiple of any kernel's block."""


def choose_document_attention(
    model: Model, length: int, precision: Precision, device: torch.device
) -> AttentionKernel:
    """The kernel for training `model` on sequences of `length` whose documents are kept apart."""
    for kernel in _candidates(length, precision, device.type):
        if kernel_works(kernel, model, precision, device):
            return kernel
    return "sdpa"


def _candidates(length: int, precision: Precision, device_type: str) -> list[AttentionKernel]:
    if device_type == "cuda":
        # FlashAttention takes no float32.
        return ["varlen", "flex"] if precision == "bfloat16" and varlen_is_known() else ["flex"]
    # In float32 torch's kernel is faster on CPUs than blocks, see `choose_attention`.
    return ["blocks"] if device_type == "cpu" and precision == "bfloat16" and length <= LONGEST else []


def kernel_works(kernel: AttentionKernel, model: Model, precision: Precision, device: torch.device) -> bool:
    """Whether `kernel` gives what torch's masked attention gives with this model's heads, forward and backward."""
    documents = _trial_documents().to(device)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    inputs = _trial_inputs(model, device, dtype)
    plain = visible_keys(documents.begins)

    def expected(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return attend(query, keys, values, 0.3, plain)

    def found(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        mask = document_mask(documents, kernel)
        assert isinstance(mask, DocumentMask)
        return attend_documents(query, keys, values, 0.3, mask)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mine = _with_gradients(found, inputs)
    except (RuntimeError, TypeError, ValueError):  # no such kernel for this device, dtype or size of a head
        return False
    theirs = _with_gradients(expected, inputs)
    return all(
        torch.allclose(a.float(), b.float(), rtol=0.0, atol=0.05 * float(b.abs().max()))
        for a, b in zip(mine, theirs, strict=True)
    )


def _trial_documents() -> Documents:
    """Two sequences: of a long document and short ones, and of a single one."""
    begins = torch.zeros(2, _TRIAL_LENGTH + 1, dtype=torch.int32)
    for place in (170, 171, 190, 257):
        begins[0, place:] = place
    return find_documents(begins)


def _trial_inputs(model: Model, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator("cpu").manual_seed(0)
    groups = (model.num_attention_heads, model.num_key_value_heads, model.num_key_value_heads)
    shapes = [(2, heads, _TRIAL_LENGTH, model.head_dim) for heads in groups]
    return [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]


def _with_gradients(kernel: Callable[[Tensor, Tensor, Tensor], Tensor], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    y = kernel(*leaves)
    return [y.detach(), *torch.autograd.grad(y.float().square().sum(), leaves)]
