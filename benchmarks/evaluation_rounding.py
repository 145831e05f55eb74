"""How far float32 is from float64 on the longest answers of PIQA: no comparison of log-likelihoods sees below that.

    python benchmarks/evaluation_rounding.py MODEL --data FOLDER

MODEL is a Hugging Face folder or a .gguf file; transformers runs it, once each request alone and once in batches of 8.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from flyweight.inference import HuggingFaceModel

ITEMS, LONGEST, TOGETHER = 200, 40, 8


def requests(model: HuggingFaceModel, file: Path) -> list[tuple[list[int], int]]:
    """The longest requests of the first ITEMS items: tokens of context and answer, and where the answer begins."""
    found = []
    with file.open(encoding="utf-8") as lines:
        for _, line in zip(range(ITEMS), lines, strict=False):
            item = json.loads(line)
            context = f"Question: {item['goal']}\nAnswer:"
            begin = len(model.tokenizer.encode(context))
            found += [(model.tokenizer.encode(f"{context} {item[key]}"), begin) for key in ("sol1", "sol2")]
    return sorted(found, key=lambda request: -len(request[0]))[:LONGEST]


@torch.no_grad()
def log_likelihoods(model: Any, batch: Sequence[tuple[list[int], int]]) -> list[float]:
    """The sums of log-probabilities of the answers, rows padded on the right."""
    tokens = torch.zeros(len(batch), max(len(row) for row, _ in batch), dtype=torch.int64)
    for place, (row, _) in enumerate(batch):
        tokens[place, : len(row)] = torch.tensor(row)
    log_probs = model(input_ids=tokens).logits.log_softmax(-1)
    return [
        log_probs[place, torch.arange(begin - 1, len(row) - 1), torch.tensor(row[begin:])].sum().item()
        for place, (row, begin) in enumerate(batch)
    ]


def apart(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    model = HuggingFaceModel(options.model)
    asked = requests(model, options.data / "piqa" / "validation.jsonl")
    alone = [value for request in asked for value in log_likelihoods(model.model, [request])]
    parts = [asked[start : start + TOGETHER] for start in range(0, len(asked), TOGETHER)]
    together = [value for part in parts for value in log_likelihoods(model.model, part)]
    exact = [value for request in asked for value in log_likelihoods(model.model.double(), [request])]
    print(f"largest log-likelihood {max(map(abs, exact)):.1f}")
    print(f"float32 alone, from float64: {apart(alone, exact):.1e}")
    print(f"float32 in batches of {TOGETHER}, from float64: {apart(together, exact):.1e}")
    print(f"alone, from batches of {TOGETHER}: {apart(alone, together):.1e}")


if __name__ == "__main__":
    main()
