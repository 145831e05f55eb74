"""Greedy text of our engine and of lm-eval's own model class, for the same prompts of the same tasks.

    python benchmarks/evaluation_generation.py CHECKPOINT --data FOLDER --items 50 --new-tokens 128 --out RESULTS.json

Both sides get the very same requests, with the same limit of new tokens: lm-eval stops where a task's own limit would
fill the model. Texts that differ are written a third time by lm-eval's model, alone and without padding, and the
smallest margin between its two likeliest tokens up to the first difference says whether rounding can decide it.
"""

from __future__ import annotations

import json
import math
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from evaluation import NARROW, DatasetsInMemory, arguments, peer, quiet, sizes
from flyweight.evaluation.harness.adapter import HarnessModel
from flyweight.evaluation.harness.catalogue import BENCHMARKS
from flyweight.evaluation.harness.code import code_runs
from flyweight.evaluation.harness.loading import load_benchmark, quick_and_quiet
from flyweight.inference import load_model

TASKS = ("gsm8k@5", "bbh", "minerva_math500", "humaneval", "mbpp@3")


def requests_of(entry: str, data: Path, items: int, new_tokens: int) -> list[Instance]:
    """At least `items` requests of a task, the same number of each of its subsets."""
    name, _, shots = entry.partition("@")
    benchmark = BENCHMARKS[name]
    with quick_and_quiet(), code_runs(benchmark.runs_code, False):
        tasks = load_benchmark(name, DatasetsInMemory(name, benchmark, data), int(shots) if shots else None)
        leaves = list(tasks["tasks"].values())
        found = []
        for leaf in leaves:
            leaf.build_all_requests(limit=math.ceil(items / len(leaves)))
            found += leaf.instances
    for request in found:
        context, options = request.arguments
        request.arguments = (context, options | {"max_gen_toks": new_tokens})
    return found


@torch.no_grad()
def margin(lm: HFLM, request: Instance, ours: str, theirs: str) -> float:
    """The smallest margin of lm-eval's model, in logits, up to the first token after which the texts differ."""
    context, options = request.arguments
    tokens = lm.tok_encode(context)[-(lm.max_length - options["max_gen_toks"]) :]
    same = len(common(ours, theirs))
    written: list[int] = []
    smallest = math.inf
    while len(written) < options["max_gen_toks"]:
        logits = lm.model(torch.tensor([tokens + written])).logits[0, -1]
        best, second = logits.topk(2).values.tolist()
        smallest = min(smallest, best - second)
        written.append(int(logits.argmax()))
        if len(lm.tokenizer.decode(written)) > same:
            break
    return smallest


def common(a: str, b: str) -> str:
    """What both begin with."""
    length = next(
        (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    return a[:length]


def main() -> None:
    parser = arguments(__doc__, TASKS)
    parser.add_argument("--items", type=int, default=50)
    parser.add_argument("--new-tokens", type=int, default=128)
    options = parser.parse_args()
    quiet()
    model = load_model(options.checkpoint, "cpu")
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        lm = peer(options.checkpoint, model, Path(place) / "export")
        for entry in options.tasks.split(","):
            requests = requests_of(entry, options.data, options.items, options.new_tokens)
            begin = time.perf_counter()
            ours = HarnessModel(model).generate_until(requests)
            middle = time.perf_counter()
            theirs = lm.generate_until(requests, disable_tqdm=True)
            end = time.perf_counter()
            margins = [
                margin(lm, request, a, b)
                for request, a, b in zip(requests, ours, theirs, strict=True)
                if a != b
            ]
            rows[entry] = {
                "items": len(requests),
                "same text": sum(a == b for a, b in zip(ours, theirs, strict=True)),
                "differ, margin below 2e-3": sum(one < NARROW for one in margins),
                "differ otherwise": sum(one >= NARROW for one in margins),
                "margins where they differ": margins,
                "characters": sum(map(len, ours)),
                "seconds": {"ours": middle - begin, "lm-eval": end - middle},
            }
            print(entry, json.dumps(rows[entry]), flush=True)
    summary = {
        "checkpoint": model.name,
        "parameters": sum(sizes(model)),
        "new tokens": options.new_tokens,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {name: version(name) for name in ("torch", "transformers", "lm-eval", "datasets")},
        "tasks": rows,
    }
    if options.out:
        options.out.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
