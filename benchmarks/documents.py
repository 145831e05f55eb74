"""Attention with documents kept apart beside plain causal attention: forward and backward, in turns.

    python benchmarks/documents.py [--device cuda] [--precision bfloat16] [--document 200] [--rounds 9] [--out FILE]

Every kernel that works on the device is timed at the attention shapes of three models, on sequences that hold documents
of about `--document` tokens. The first column is what training without masking would use there.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flyweight.curriculum import begins_of
from flyweight.inference import Precision
from flyweight.model import AttentionKernel
from flyweight.model.attention import attend
from flyweight.model.block_attention import block_attention
from flyweight.model.documents import DocumentMask, Documents, attend_documents, document_mask, find_documents
from flyweight.recipe import load_recipe
from flyweight.training.document_tiers import kernel_works
from flyweight.training.tiers import choose_attention

SHAPES = (("gpt-s-5m", 4096, 512), ("gpt-x2-125m", 4096, 1024), ("xmodel-2.5-1.3b", 3712, 3712))
"""Recipe, tokens of a micro-batch, tokens of a sequence."""
KERNELS: tuple[AttentionKernel, ...] = ("sdpa", "blocks", "varlen", "flex")


def drawn(rows: int, length: int, document: int) -> Documents:
    """Documents of 1 to twice `document` tokens, the first of each sequence cut off where the window begins."""
    rng = np.random.default_rng(0)
    borders = []
    for _ in range(rows):
        ends = np.cumsum(rng.integers(1, 2 * document, length)) - int(rng.integers(document))
        borders.append(np.unique(ends[(ends > 0) & (ends <= length)]))
    return find_documents(begins_of(borders, length + 1))


def passes(
    documents: Documents, inputs: list[Tensor], plain: AttentionKernel, kernels: list[AttentionKernel]
) -> dict[str, Callable[[], object]]:
    """Forward and backward of each kernel; the mask is made before, as training makes one for all layers."""
    upper = torch.randn_like(inputs[0])

    def without() -> Tensor:
        return (block_attention if plain == "blocks" else attend)(*inputs, 0.2)  # type: ignore[arg-type]

    def of(kernel: AttentionKernel) -> Callable[[], Tensor]:
        mask = document_mask(documents, kernel)
        if isinstance(mask, DocumentMask):
            return lambda: attend_documents(*inputs, 0.2, mask)  # type: ignore[arg-type]
        return lambda: attend(*inputs, 0.2, mask)  # type: ignore[arg-type]

    forwards = {f"unmasked ({plain})": without, **{name: of(name) for name in kernels}}
    return {
        name: lambda forward=forward: torch.autograd.grad(forward(), inputs, upper)
        for name, forward in forwards.items()
    }


def measure(
    timed: dict[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Milliseconds of each, in turns; two rounds before do not count."""
    times: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(rounds + 2):
        for name, function in timed.items():
            begin = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_ > 1:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--document", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--models", nargs="+", default=[name for name, _, _ in SHAPES])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device, precision = torch.device(options.device), options.precision
    results: list[dict[str, Any]] = []
    for name, tokens, length in SHAPES:
        if name in options.models:
            results.append(one(name, tokens // length, length, precision, device, options))
    if options.out:
        about = {"torch": torch.__version__, "machine": platform.processor() or platform.machine()}
        if device.type == "cuda":
            about["gpu"] = torch.cuda.get_device_name(device)
        options.out.write_text(
            json.dumps({**about, "precision": precision, "results": results}, indent=1) + "\n"
        )


def one(
    name: str,
    rows: int,
    length: int,
    precision: Precision,
    device: torch.device,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Times of one model's attention, printed as they come."""
    model = load_recipe(name).model
    documents = drawn(rows, length, options.document).to(device)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    heads = (model.num_attention_heads, model.num_key_value_heads, model.num_key_value_heads)
    inputs = [
        torch.randn(rows, h, length, model.head_dim, device=device, dtype=dtype, requires_grad=True)
        for h in heads
    ]
    kernels = [
        kernel for kernel in KERNELS if kernel == "sdpa" or kernel_works(kernel, model, precision, device)
    ]
    if length > 1024:
        kernels = [kernel for kernel in kernels if kernel != "blocks"]
    times = measure(
        passes(documents, inputs, choose_attention(length, precision, device), kernels),
        options.rounds,
        device,
    )
    count = len(documents.offsets) - 1
    print(f"{name}: {rows} x {length}, {count} documents, {precision} on {device}")
    base = next(iter(times.values()))
    for kernel, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found, base, strict=True))
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(
            f"  {kernel:18} {statistics.median(found):8.1f} ms ({spread}), {ratio:.2f} of unmasked",
            flush=True,
        )
    return {"model": name, "rows": rows, "length": length, "documents": count, "milliseconds": times}


if __name__ == "__main__":
    main()
