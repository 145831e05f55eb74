"""The loss of GPT-S-5M's readout, forward and backward: our passes, the same compiled, and torch's own.

    python benchmarks/loss.py --threads 1 --out benchmarks/results/NAME.json

8 x 512 positions of width 192, 4,096 entries, products in bfloat16. All take turns; the first two turns do not count.
Each sum of the cross-entropy stands beside the one computed in float64. torch's `linear_cross_entropy` exists from
2.13 on.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from flyweight.base import write_json
from flyweight.training import training_loss, versions


def contenders(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> dict[str, Callable]:
    def ours(compiled: bool) -> torch.Tensor:
        loss = training_loss(hidden, weight, targets, compute_dtype=torch.bfloat16, compiled=compiled)
        loss.total.backward()
        return loss.cross_entropy

    def torchs() -> torch.Tensor:
        readout, flat = weight.to(torch.bfloat16), (hidden.flatten(0, 1), targets.flatten())
        options = torch.nn.LinearCrossEntropyOptions()  # type: ignore[attr-defined]
        loss = F.linear_cross_entropy(flat[0], readout, flat[1], reduction="sum", options=options)  # type: ignore[attr-defined]
        loss.backward()
        return loss.detach()

    found: dict[str, Callable] = {"in passes": lambda: ours(False), "compiled": lambda: ours(True)}
    if hasattr(F, "linear_cross_entropy"):
        found["torch's linear_cross_entropy"] = torchs
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    hidden = torch.randn(8, 512, 192).bfloat16().requires_grad_()
    weight = (0.05 * torch.randn(4096, 192)).requires_grad_()
    targets = torch.randint(0, 4096, (8, 512))
    logits = hidden.detach().double().flatten(0, 1) @ weight.detach().bfloat16().double().T
    result: dict[str, Any] = {
        "exact": F.cross_entropy(logits, targets.flatten(), reduction="sum").item(),
        "threads": options.threads,
        "versions": versions(),
    }
    times: dict[str, list[float]] = {}
    for _ in range(options.turns + 2):
        for name, run in contenders(hidden, weight, targets).items():
            begin = time.perf_counter()
            value = run()
            times.setdefault(name, []).append(1e3 * (time.perf_counter() - begin))
            result.setdefault(name, {})["cross-entropy"] = value.item()
            hidden.grad = weight.grad = None
    for name, taken in times.items():
        counted = taken[2:]
        result[name] |= {"ms": statistics.median(counted), "min": min(counted), "max": max(counted)}
        print(name, result[name])
    print("exact", result["exact"])
    write_json(options.out, result)


if __name__ == "__main__":
    main()
