"""What each fault costs: provoked for real on a tiny recipe, in processes of their own.

    python benchmarks/faults.py --out benchmarks/results/NAME.json

Each fault is put into a run of 60 steps that saves every 10, and the run is then continued to its end. `steps lost`
are steps that were taken and had to be taken again, `skipped` those that were passed over without an update;
`seconds to saved` is from a signal to the checkpoint, `seconds to end` from the fault to the end of the process
that met it, `seconds to go on` from the start of the next process to its first step beyond where the first one
stood, its imports among them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from flyweight.base import UserError, write_json
from flyweight.corpus import open_corpus, prepare, shards
from flyweight.events import read_events
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.training import objective, train
from flyweight.training.objective import Loss
from flyweight.training.plan import resolve_plan

STEPS, EVERY, AT = 60, 10, 37
"""Steps of the run, steps between two saves, and the step after which the fault comes."""

FAULTS = {
    "none": "no fault",
    "nan": "the loss of one batch is not a number",
    "nan-row": "that of three batches in a row is not",
    "spike-skip": "a loss spike, `spike: skip`",
    "spike-rollback": "a loss spike, `spike: rollback`",
    "sigterm": "SIGTERM",
    "sigkill": "SIGKILL between two saves",
    "sigkill-save": "SIGKILL in the middle of a save",
    "disk": "the disk takes no more in the middle of a save",
    "shard": "a shard vanishes",
}


def make_recipe(folder: Path, fault: str) -> Recipe:
    """About 460,000 parameters on one small source; written once, read by every process."""
    text = folder / "text.jsonl"
    if not text.exists():
        rng = random.Random(0)
        words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(300)]
        lines = [json.dumps({"text": " ".join(rng.choices(words, k=80))}) for _ in range(3000)]
        text.write_text("\n".join(lines))
    spike = fault.removeprefix("spike-") if fault.startswith("spike") else "ignore"
    return recipe_from_dict(
        {
            "name": "faults",
            "model": {
                "vocab_size": 512, "hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24, "max_position_embeddings": 128,
            },
            "tokenizer": {"vocab_size": 512},
            "sources": {"text": {"kind": "files", "path": str(text)}},
            "training": {
                "tokens": STEPS * 1024, "sequence_length": 128, "batch_size": 8,
                "mixture": [{"at": 0, "weights": {"text": 1.0}}],
                "learning_rate": {"wsd": {"peak": 3e-3, "warmup": "10%", "decay_start": "80%"}},
                "guard": {"spike": spike, "spike_window": 16},
            },
            "evaluation": {"tokens": 2000},
            "execution": {
                "device": "cpu", "precision": "float32", "threads": 1, "log_every": 1, "trackers": [],
                "checkpoint_every": EVERY * 1024,
            },
        }
    )  # fmt: skip


class Provoke:
    """A view of the run that brings the fault about after step AT, and notes when."""

    def __init__(self, fault: str, folder: Path):
        self.fault, self.folder = fault, folder

    def handle(self, event: Any) -> None:
        """Bring it about."""
        if event.kind != "step" or event.step != AT:
            return
        (self.folder / "moment").write_text(str(time.time()))
        if self.fault == "sigterm":
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.fault == "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.fault == "sigkill-save":
            _in_the_middle_of_a_save(lambda: os.kill(os.getpid(), signal.SIGKILL))
        elif self.fault == "disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        elif self.fault == "shard":
            shards._recently_mapped.cache_clear()
            file = _shard(self.folder)
            file.rename(file.with_suffix(".away"))

    def close(self) -> None:
        """Nothing to close."""


def _shard(folder: Path) -> Path:
    manifest = json.loads((folder / "corpus" / "manifest.json").read_text())
    return folder / "corpus" / manifest["sources"]["text"]["train"]["shards"][0]["tokens"]["name"]


def _in_the_middle_of_a_save(act: Any) -> None:
    from flyweight.training import checkpoint

    original = checkpoint.save_file

    def torn(tensors: Any, path: Path) -> None:
        original(tensors, path)
        if path.name.startswith("optimizer"):
            act()

    checkpoint.save_file = torn


def _spoil(fault: str) -> None:
    """The loss of the batches from number AT on goes wrong, once each; they are counted as they are drawn."""
    original, drawn = objective.training_loss, [-1]  # the first pass of a process is a warm-up
    bad = range(AT, AT + (3 if fault == "nan-row" else 1))

    def spoilt(*args: Any, **options: Any) -> Loss:
        loss = original(*args, **options)
        drawn[0] += 1
        if drawn[0] - 1 not in bad:
            return loss
        if fault.startswith("nan"):
            return Loss(loss.total * float("nan"), loss.cross_entropy * float("nan"), loss.z)
        return Loss(loss.total, loss.cross_entropy * 5, loss.z)

    objective.training_loss = spoilt


def attempt(fault: str, folder: Path) -> None:
    """One process of a run."""
    recipe = make_recipe(folder, fault)
    if fault.startswith(("nan", "spike")):
        _spoil(fault)
    if fault == "disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    views = [Provoke(fault, folder)] if fault not in ("none",) else []
    try:
        train(recipe, open_corpus(folder / "corpus"), folder / fault / "run", sinks=views)
    except UserError as error:
        sys.exit(f"flyweight: {error}")


def _process(fault: str, folder: Path, injected: str) -> tuple[int, str, float, float]:
    begin = time.time()
    command = [sys.executable, __file__, "--attempt", injected, "--folder", str(folder), "--of", fault]
    done = subprocess.run(command, capture_output=True, text=True)
    return (
        done.returncode,
        done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "",
        begin,
        time.time(),
    )


def measure(fault: str, folder: Path) -> dict[str, Any]:
    """Provoke a fault, go on to the end, and say what it cost."""
    (folder / "moment").unlink(missing_ok=True)
    code, said, _, ended = _process(fault, folder, fault)
    run = folder / fault / "run"
    moment = float((folder / "moment").read_text()) if (folder / "moment").exists() else None
    if fault == "shard":
        away = _shard(folder).with_suffix(".away")
        away.rename(_shard(folder))
    lines = [
        json.loads(line) for line in (run / "events.jsonl").read_text().splitlines() if line.startswith("{")
    ]
    stood = max(line["step"] for line in lines if line["kind"] == "step")
    result: dict[str, Any] = {
        "fault": FAULTS[fault],
        "exit_code": code,
        "said": said.replace(str(folder), "...") if code > 0 else "",
        "seconds_to_end": round(ended - moment, 2)
        if moment and fault in ("sigterm", "disk", "shard")
        else None,
    }
    if fault == "sigterm" and moment:
        saved = [
            line["time"] for line in lines if line["kind"] == "checkpoint_saved" and line["time"] > moment
        ]
        result["seconds_to_saved"] = round(saved[0] - moment, 3)
    went_on = None
    finished = any(line["kind"] == "run_finished" and line["reason"] == "finished" for line in lines)
    if not finished:
        code, said, begin, _ = _process(fault, folder, "none")
        assert code == 0, said
        lines = [
            json.loads(line)
            for line in (run / "events.jsonl").read_text().splitlines()
            if line.startswith("{")
        ]
        after = [
            line["time"]
            for line in lines
            if line["kind"] == "step" and line["time"] > begin and line["step"] > stood
        ]
        went_on = round(after[0] - begin, 2)
    taken = sum(line["kind"] == "step" for line in lines)
    back = [event for event in read_events(run) if event["kind"] == "rolled_back"]
    return result | {
        "seconds_to_go_on": went_on,
        "steps_lost": taken - STEPS,
        "steps_skipped": len({line["first"] for line in lines if line["kind"] == "step_skipped"}),
        "seconds_to_go_back": round(sum(event["seconds"] for event in back), 3) if back else None,
        "finished": any(line["kind"] == "run_finished" and line["reason"] == "finished" for line in lines),
    }


def main() -> None:
    """Measure all faults, or be one process of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=FAULTS, nargs="+", default=list(FAULTS))
    parser.add_argument("--attempt")
    parser.add_argument("--of")
    parser.add_argument("--folder", type=Path)
    words = parser.parse_args()
    if words.attempt:
        recipe_fault = words.of
        if words.attempt == "none":
            train(
                make_recipe(words.folder, recipe_fault),
                open_corpus(words.folder / "corpus"),
                words.folder / recipe_fault / "run",
                sinks=[],
            )
        else:
            attempt(words.attempt, words.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = make_recipe(folder, "none")
        hardware = {
            "cpu": resolve_plan(recipe).hardware,
            "machine": platform.machine(),
            "torch": torch.__version__,
        }
        prepare(recipe, folder / "corpus")
        rows: dict[str, Any] = {}
        for fault in words.only:
            rows[fault] = measure(fault, folder)
            print(fault, json.dumps(rows[fault]), flush=True)
    if words.out:
        settings = {"steps": STEPS, "checkpoint_every_steps": EVERY, "fault_after_step": AT}
        write_json(words.out, {"hardware": hardware, "settings": settings, "faults": rows})


if __name__ == "__main__":
    main()
