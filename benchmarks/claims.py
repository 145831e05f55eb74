"""Three claims of the four systems, tried on a small model and real text: equal tokens, several seeds.

    python benchmarks/claims.py --corpora FOLDER --work FOLDER --out benchmarks/results/NAME.json

    muon   Xmodel-2.5: a decay with Muon ends lower than one with AdamW. Each seed trains once with AdamW; from the
           checkpoint where the decay begins a second run goes on with Muon, at the same rates.
    xgqa   GPT-S-5M: exclusive grouped-query attention ends lower than plain one.
    fp8    Xmodel-2.5: FP8 products cost nothing in the end. All linear layers of the blocks, with delayed scaling,
           from the first step; over a third of the tokens, since CPUs have no FP8 units.

A seed decides initial weights and the order of the data, so that two runs of one seed differ in what is compared and
in nothing else; the difference is taken seed by seed. Each figure is the mean over the sources of bits per byte on
all held-out text. A run that was broken off goes on where it stopped when the command is given again.

FOLDER of --corpora holds textbooks, books, math and python_docs as .jsonl.zst.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from peers import SHARES

from flyweight.base import write_json
from flyweight.corpus import OpenCorpus, prepare
from flyweight.events import read_events
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training import train
from flyweight.training.run import versions

STEP = 16 * 256
"""Tokens."""


def small_recipe(corpora: Path, steps: int, seed: int, **changes: Any) -> Recipe:
    """GPT-S-5M with six layers of width 128: 1.6M parameters, a warm-up of 2 % and a decay of 20 %."""
    values = load_recipe("gpt-s-5m").to_dict()
    values |= {"name": "small", "seed": seed}
    values["sources"] = {
        name: {"kind": "files", "path": str(corpora / f"{name}.jsonl.zst"), "limit": "12MB"}
        for name in SHARES
    }
    values["corpus"] |= {"held_out": 0.02, "held_out_limit": "150KB"}
    values["model"] |= {"hidden_size": 128, "num_hidden_layers": 6, "intermediate_size": 352}
    values["model"] |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256}
    total, decay = steps * STEP, round(steps * 0.8) * STEP
    values["training"] |= {
        "tokens": total,
        "sequence_length": 256,
        "batch_size": STEP // 256,
        "mixture": [{"at": 0, "weights": SHARES}],
        "learning_rate": {
            "wsd": {
                "peak": 3e-3,
                "warmup": round(steps * 0.02) * STEP,
                "decay_start": decay,
                "decay": "linear",
                "final": 0,
            }
        },
        "weight_decay": 0.1,
        **changes.pop("training", {}),
    }
    values["model"] |= changes.pop("model", {})
    values["execution"] |= {"precision": "bfloat16", "compile": "on", "trackers": []}
    values["execution"] |= {"checkpoint_every": 100 * STEP, "milestones": [decay], "log_every": 20}
    values["execution"] |= changes.pop("execution", {})
    values["evaluation"] |= {"every": 0}
    assert not changes
    return recipe_from_dict(values)


def bits(recipe: Recipe, corpus: OpenCorpus, run: Path, start_from: str | None = None) -> float:
    """Train to the end, and the mean over the sources of bits per byte on all held-out text."""
    train(recipe, corpus, run, start_from=start_from)
    *_, last = (e for e in read_events(run) if e["kind"] == "validated" and e["full"])
    return statistics.mean(last["bits_per_byte"].values())


def trial(
    claim: str, corpora: Path, corpus: OpenCorpus, work: Path, steps: int, seed: int
) -> dict[str, float]:
    """Both sides of one claim with one seed."""

    def run(name: str, length: int = steps, start_from: str | None = None, **changes: Any) -> float:
        recipe = small_recipe(corpora, length, seed, **changes)
        return bits(recipe, corpus, work / f"{name}-{length}-seed{seed}", start_from)

    decay = round(steps * 0.8) * STEP
    if claim == "muon":
        knots = [{"at": 0, "kind": "adamw"}, {"at": decay, "kind": "muon"}]
        stable = work / f"adamw-{steps}-seed{seed}"
        return {
            "AdamW": run("adamw"),
            "Muon": run("muon", start_from=f"{stable}@{decay}", training={"optimizer": knots}),
        }
    if claim == "xgqa":
        return {"plain": run("gqa", model={"exclusive_attention": False}), "exclusive": run("adamw")}
    plain = {"compile": "off"}  # FP8 layers are not compiled on CPUs
    fp8 = {"fp8": {"scaling": "delayed", "layers": "all"}}
    third = steps // 3
    return {
        "bfloat16": run("bfloat16", third, execution=plain),
        "FP8": run("fp8", third, execution=plain | fp8),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where the runs lie")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--claims", nargs="+", default=["muon", "xgqa", "fp8"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help=f"of {STEP:,} tokens")
    options = parser.parse_args()
    corpus = prepare(small_recipe(options.corpora, options.steps, 0), options.work / "corpus")
    result: dict[str, Any] = {
        "tokens": options.steps * STEP,
        "tokens of fp8": options.steps // 3 * STEP,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "claims": {},
    }
    for claim in options.claims:
        rows = [
            trial(claim, options.corpora, corpus, options.work, options.steps, seed)
            for seed in range(options.seeds)
        ]
        before, after = rows[0]
        differences = [row[after] - row[before] for row in rows]
        result["claims"][claim] = {
            name: {"mean": statistics.mean(v), "deviation": statistics.stdev(v), "by seed": v}
            for name in rows[0]
            for v in [[row[name] for row in rows]]
        } | {"difference": {"mean": statistics.mean(differences), "by seed": differences}}
        print(claim, result["claims"][claim], flush=True)
        write_json(options.out, result)


if __name__ == "__main__":
    main()
