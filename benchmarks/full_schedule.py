"""The whole schedule of Xmodel-2.5, scaled down, in one run that is broken off and continued inside each stage.

    python benchmarks/full_schedule.py --corpora FOLDER --work FOLDER --plot docs/images/NAME.png --out NAME.json

Warm-up and stable stage in two batch sizes with AdamW, the decay with Muon and FP8 products, two stages of long
context: the recipe xmodel-2.5-1.3b, narrower, shallower and over 3M tokens, on text of the same kinds. Each attempt is
a process of its own, so the stages are gone through by six of them. FP8 is an execution key, which an attempt may
change: it begins with the decay here, since CPUs have no FP8 units.

FOLDER of --corpora holds textbooks, python_code, math, books, python_docs and instructions as .jsonl.zst.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from flyweight.base import write_json
from flyweight.corpus import prepare
from flyweight.curriculum import Schedule
from flyweight.events import read_events
from flyweight.planning import timeline_panels
from flyweight.plots import Panel, binned, panel_grid, to_png
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training import train
from flyweight.training.run import versions

TOKENS = "3M"
STABLE = {
    "textbooks": 0.41,
    "python_code": 0.26,
    "math": 0.13,
    "books": 0.1,
    "python_docs": 0.1,
    "instructions": 0,
}
DECAY = {
    "textbooks": 0.19,
    "python_code": 0.03,
    "math": 0.04,
    "books": 0.03,
    "python_docs": 0.04,
    "instructions": 0.67,
}


def small_recipe(corpora: Path, fp8: bool) -> Recipe:
    """xmodel-2.5-1.3b at an eighth of its width and depth, with sources and a tokenizer of this size."""
    values = load_recipe("xmodel-2.5-1.3b").scaled(TOKENS, 8).to_dict()
    training = values["training"]
    values["tokenizer"] = {"kind": "bpe", "vocab_size": 4096, "sample": "20MB"}
    values["tokenizer"]["special_tokens"] = ["<|im_start|>", "<|im_end|>"]
    values["model"] |= {"vocab_size": 4096, "max_position_embeddings": 4096}
    values["sources"] = {
        name: {"kind": "files", "path": str(corpora / f"{name}.jsonl.zst"), "limit": "12MB"}
        for name in STABLE
    }
    values["sources"]["instructions"]["messages_field"] = "messages"
    values["corpus"] = {"held_out": 0.02, "held_out_limit": "100KB"}
    first, decay = (knot["at"] for knot in training["mixture"])
    training["mixture"] = [{"at": first, "weights": STABLE}, {"at": decay, "weights": DECAY}]
    # Small steps, so that each stage has enough of them; the doubling and the quartering stay.
    sizes = (6, 12, 3)
    for knot, size in zip(training["batch_size"]["knots"], sizes, strict=True):
        knot["value"] = size
    values["evaluation"] |= {"every": 300_000, "tokens": 20_000}
    values["execution"] |= {"precision": "bfloat16", "compile": "off", "trackers": [], "log_every": 5}
    values["execution"] |= {"checkpoint_every": 250_000}
    values["execution"]["fp8"] = {"scaling": "delayed", "layers": "all"} if fp8 else {"scaling": "off"}
    return recipe_from_dict(values)


def stops(recipe: Recipe) -> list[int]:
    """The clocks at which attempts are broken off: in the middle of each stage, and before the decay."""
    segments = Schedule.of(recipe.training).segments
    decay = next(knot.at for knot in recipe.training.optimizer if knot.kind == "muon")
    middles = [s.first_clock + s.steps // 2 * s.step_tokens for s in segments]
    return sorted({*middles, decay})


def plot(recipe: Recipe, run: Path, path: Path) -> None:
    """The loss and every timeline over tokens, as the report of Xmodel-2.5 draws them."""
    steps = [event for event in read_events(run) if event["kind"] == "step"]
    attempts = [e["resumed_from"] for e in read_events(run) if e["kind"] == "run_started"]
    loss = binned("loss", [e["clock"] for e in steps], [e["loss"] for e in steps])
    end = float(Schedule.of(recipe.training).tokens)
    panels = [Panel("Training loss (nats per token)", [loss]), *timeline_panels(recipe)]
    resumed = ", ".join(f"{clock / 1e6:.2f}M" for clock in attempts if clock)
    figure = panel_grid(
        panels, end, title=f"Xmodel-2.5's schedule over {TOKENS} tokens; continued at {resumed}"
    )
    path.write_bytes(to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--plot", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--attempt", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    recipe, run = small_recipe(options.corpora, fp8=False), options.work / "run"
    clocks = [*stops(recipe), 0]  # 0: to the end
    decay = next(knot.at for knot in recipe.training.optimizer if knot.kind == "muon")
    if options.attempt >= 0:
        began = options.attempt and clocks[options.attempt - 1] >= decay
        recipe = small_recipe(options.corpora, fp8=bool(began))
        corpus = prepare(recipe, options.work / "corpus")
        train(recipe, corpus, run, stop_after=clocks[options.attempt] or None)
        return
    for attempt in range(len(clocks)):
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--attempt", str(attempt)], check=True)
    plot(recipe, run, options.plot)
    events = list(read_events(run))
    steps = [event for event in events if event["kind"] == "step"]
    write_json(
        options.out,
        {
            "attempts resumed from": [e["resumed_from"] for e in events if e["kind"] == "run_started"],
            "stages": [
                {key: e[key] for key in ("clock", "batch_size", "sequence_length", "optimizer")}
                | {"loss": float(np.mean([s["loss"] for s in steps if e["clock"] < s["clock"]][:20]))}
                for e in events
                if e["kind"] == "stage_entered"
            ],
            "bits per byte": [
                {"clock": e["clock"], **e["bits_per_byte"]} for e in events if e["kind"] == "validated"
            ],
            "skipped steps": sum(e["kind"] == "step_skipped" for e in events),
            "versions": versions(),
        },
    )


if __name__ == "__main__":
    main()
