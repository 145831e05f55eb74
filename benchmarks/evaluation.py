"""Our evaluation engine beside lm-eval's own model class: the same model, the same items, in turns.

    python benchmarks/evaluation.py CHECKPOINT --data FOLDER --out benchmarks/results/DATE-evaluation.json
    python benchmarks/evaluation.py CHECKPOINT --data FOLDER --tasks hellaswag:300,blimp:20   # so many a subset

For each task, and each side: the seconds from its name to its metrics (data read, prompts built, requests answered,
metrics computed), requests per second, and whether both give the same choice and log-likelihoods of every item. lm-eval
runs as it is installed, with datasets in memory and the best of several batch sizes. The bound is what the saved tokens
and readouts alone would give in a model of these sizes, where every product costs the same.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import torch
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from transformers import AutoTokenizer

from flyweight.evaluation.harness.catalogue import BENCHMARKS
from flyweight.evaluation.harness.loading import load_benchmark
from flyweight.evaluation.harness.local_data import LocalData
from flyweight.evaluation.harness.run import run_benchmark
from flyweight.evaluation.tasks.task import TaskInput
from flyweight.inference import LanguageModel, load_model
from flyweight.inference.huggingface import HuggingFaceModel

TASKS = ("hellaswag", "arc_easy", "arc_challenge", "piqa", "winogrande", "blimp")
NARROW = 2e-3
"""Items whose two best choices are nearer than this in lm-eval's own numbers may be chosen differently."""


class DatasetsInMemory(LocalData):
    """The same files as Hugging Face datasets, which is what lm-eval has without us."""

    def splits(self, subset: str | None = None) -> Any:
        return {name: datasets.Dataset.from_list(list(rows)) for name, rows in super().splits(subset).items()}


def theirs(lm: HFLM, name: str, data: Path, limit: int | None) -> tuple[float, dict[str, Any]]:
    begin = time.perf_counter()
    tasks = load_benchmark(name, DatasetsInMemory(name, BENCHMARKS[name], data), None)
    results = evaluate(lm=lm, task_dict=tasks, limit=limit, bootstrap_iters=1000)
    seconds = time.perf_counter() - begin
    assert results is not None
    return seconds, results["samples"]


def ours(model: LanguageModel, name: str, data: Path, limit: int | None) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = run_benchmark(name, TaskInput(model, data, limit, 0, None, None))
    return time.perf_counter() - begin, result


def compared(result: Any, samples: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How the two sides' items differ."""
    single = len(samples) == 1
    reference = {
        (str(one["doc_id"]) if single else f"{leaf}/{one['doc_id']}"): [
            answer[0][0] for answer in one["resps"]
        ]
        for leaf, some in samples.items()
        for one in some
    }
    accuracies = {key for key in result.items if key in ("acc", "acc_norm")}
    judged = {
        (str(one["doc_id"]) if single else f"{leaf}/{one['doc_id']}"): {key: one[key] for key in accuracies}
        for leaf, some in samples.items()
        for one in some
    }
    differences, chosen_otherwise, narrow, judged_otherwise = [], 0, 0, 0
    for row, (item, values) in enumerate(
        zip(result.items["id"], result.items["loglikelihoods"], strict=True)
    ):
        expected = reference.pop(item)
        judged_otherwise += any(result.items[key][row] != judged[item][key] for key in accuracies)
        differences += [abs(a - b) for a, b in zip(values, expected, strict=True)]
        if values.index(max(values)) != expected.index(max(expected)):
            best, second = sorted(expected)[:-3:-1]
            narrow += best - second < NARROW
            chosen_otherwise += best - second >= NARROW
    assert not reference, "items that only lm-eval has"
    return {
        "items": len(result.items["id"]),
        "largest difference": max(differences),
        "above 1e-3": sum(difference > 1e-3 for difference in differences),
        "chosen otherwise": chosen_otherwise,
        "chosen otherwise, margin below 2e-3": narrow,
        "acc or acc_norm differs": judged_otherwise,
    }


def sizes(model: LanguageModel) -> tuple[int, int]:
    """Parameters that a token is multiplied with in the layers, and in the readout."""
    if isinstance(model, HuggingFaceModel):
        readout = model.model.get_output_embeddings().weight.numel()
        return sum(p.numel() for p in model.model.parameters()) - readout, readout
    decoder: Any = model.decoder  # type: ignore[attr-defined]
    readout = decoder.readout_weight.numel()
    return sum(p.numel() for p in decoder.parameters()) - readout, readout


def bound(model: LanguageModel, work: dict[str, int]) -> float:
    """How many times less is multiplied: saved tokens in the layers, saved readouts."""
    layers, readout = sizes(model)
    return work["tokens_alone"] * (layers + readout) / (work["tokens"] * layers + work["readouts"] * readout)


def best_batch(lm: HFLM, data: Path, sizes: list[int], limit: int) -> tuple[int, dict[int, float]]:
    seconds = {}
    for size in sizes:
        lm.batch_size_per_gpu = size
        seconds[size] = sum(theirs(lm, name, data, limit)[0] for name in ("hellaswag", "arc_easy"))
    return min(seconds, key=seconds.__getitem__), seconds


def peer(checkpoint: str, model: LanguageModel, folder: Path) -> HFLM:
    """lm-eval's model class with the same weights: of an export, or the very model that ours holds."""
    options: Any = {"device": "cpu", "dtype": "float32", "batch_size": 8}
    if isinstance(model, HuggingFaceModel):
        path = Path(checkpoint)
        gguf = {"gguf_file": path.name} if path.is_file() else {}
        tokenizer = AutoTokenizer.from_pretrained(path.parent if gguf else path, **gguf)
        return HFLM(pretrained=model.model, tokenizer=tokenizer, **options)
    from flyweight.release import export

    # Ours reads no further than training did, which can be less than the configuration allows.
    options |= {"max_length": model.max_length, "trust_remote_code": True}
    return HFLM(pretrained=str(export(checkpoint, folder).folder), **options)


def arguments(about: str | None, tasks: Sequence[str]) -> argparse.ArgumentParser:
    """What every comparison with lm-eval's own engine takes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(tasks))
    parser.add_argument("--out", type=Path)
    return parser


def quiet() -> None:
    """Leave warnings and bars of the libraries out of the output."""
    logging.disable(logging.WARNING)
    datasets.disable_progress_bars()


def main() -> None:
    parser = arguments(__doc__, TASKS)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--batch-sizes", default="8,32,64")
    parser.add_argument("--tried-items", type=int, default=60, help="of two tasks, with each batch size")
    options = parser.parse_args()
    quiet()
    model = load_model(options.checkpoint, "cpu")
    with tempfile.TemporaryDirectory() as place:
        lm = peer(options.checkpoint, model, Path(place) / "export")
        tried_sizes = [int(one) for one in options.batch_sizes.split(",")]
        size, tried = best_batch(lm, options.data, tried_sizes, options.tried_items)
        lm.batch_size_per_gpu = size
        rows: dict[str, Any] = {}
        for entry in options.tasks.split(","):
            name, _, own_limit = entry.partition(":")
            limit = int(own_limit) if own_limit else options.limit
            row: dict[str, Any] = {"limit": limit, "ours": [], "lm-eval": []}
            for _ in range(options.repeats):
                seconds, result = ours(model, name, options.data, limit)
                row["ours"].append(seconds)
                seconds, samples = theirs(lm, name, options.data, limit)
                row["lm-eval"].append(seconds)
                gc.collect()
            requests = result.fit["requests"]
            row |= {
                "requests": requests,
                "requests per second": {side: requests / median(row[side]) for side in ("ours", "lm-eval")},
                "ratio": median(b / a for a, b in zip(row["ours"], row["lm-eval"], strict=True)),
                "bound": bound(model, result.details["work"]),
                "parity": compared(result, samples),
                "work": result.details["work"],
            }
            rows[name] = row
            print(
                name,
                json.dumps({key: row[key] for key in ("requests per second", "ratio", "bound", "parity")}),
                flush=True,
            )
    whole = {side: sum(median(row[side]) for row in rows.values()) for side in ("ours", "lm-eval")}
    requests = sum(row["requests"] for row in rows.values())
    work = {
        key: sum(row["work"][key] for row in rows.values()) for key in ("tokens", "readouts", "tokens_alone")
    }
    summary = {
        "checkpoint": model.name,
        "parameters": sum(sizes(model)),
        "requests": requests,
        "requests per second": {side: requests / seconds for side, seconds in whole.items()},
        "ratio": whole["lm-eval"] / whole["ours"],
        "bound": bound(model, work),
        "batch size of lm-eval": size,
        "seconds by batch size": tried,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {name: version(name) for name in ("torch", "transformers", "lm-eval", "datasets")},
        "tasks": rows,
    }
    print(json.dumps({key: summary[key] for key in ("requests", "requests per second", "ratio", "bound")}))
    if options.out:
        options.out.write_text(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()
