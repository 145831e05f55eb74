"""A full-size model exported both ways: time, and the most memory that each process held.

    python benchmarks/export_size.py --work FOLDER --out benchmarks/results/NAME.json [--recipe gpt-x2-125m]

The weights are random: what an export takes does not depend on them. Memory is the resident set of the process that
exports and of the fresh one that loads the result, with everything they import; beside it stands what a process holds
that has only imported the libraries. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from flyweight.base import write_json
from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.model import Decoder
from flyweight.recipe import load_recipe
from flyweight.training.run import versions

KINDS = [("hf", "float32"), ("hf", "bfloat16"), ("gguf", "f32"), ("gguf", "f16"), ("gguf", "q8_0")]


def peak_mb(process: str) -> int:
    """The most that a process has held; 0 where it is gone. (`getrusage` would count what a child's parent held.)"""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return round(int(found[1]) * 1024 / 1e6) if found else 0


class Children(threading.Thread):
    """Looks at the processes that this one starts, until it is told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.stopped = 0, threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            for task in Path("/proc/self/task").iterdir():
                for child in (task / "children").read_text().split():
                    self.peak = max(self.peak, peak_mb(child))


def write_checkpoint(name: str, folder: Path) -> int:
    """A checkpoint with random weights and a tokenizer of the sources of this project; returns its parameters."""
    recipe = load_recipe(name)
    sources = (Path(__file__).resolve().parents[1] / "src").rglob("*.py")
    text = [file.read_text(encoding="utf-8") for file in sources]
    tokenizer = train_bpe(text, 8192, "qwen2", recipe.tokenizer.end_of_text)
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(0)
    folder.mkdir(parents=True)
    save_file(decoder.state_dict(), folder / "model.safetensors")
    write_json(folder / "recipe.json", recipe.to_dict())
    write_json(folder / "state.json", {"format": 1, "clock": 262_144, "step": 1})
    tokenizer.save(folder)
    return sum(parameter.numel() for parameter in decoder.parameters())


def in_this_process(what: str, kind: str, checkpoint: Path, out: Path) -> dict[str, Any]:
    """The figures of one export; `what` is hf, gguf or, for what importing alone takes, imports."""
    from flyweight.inference import load_decoder  # noqa: F401
    from flyweight.release import export, export_gguf

    children = Children()
    children.start()
    started = time.perf_counter()
    found: dict[str, Any] = {}
    if what == "hf":
        done = export(checkpoint, out, dtype=kind)  # type: ignore[arg-type]
        found["largest difference"] = done.maximum_difference
    elif what == "gguf":
        made = export_gguf(checkpoint, out, kind=kind)  # type: ignore[arg-type]
        found["checked by llama.cpp"] = made.checks is not None
        if made.checks is not None:
            found["largest difference"] = made.checks.maximum_difference
    found["seconds"] = round(time.perf_counter() - started, 1)
    children.stopped.set()
    found["peak MB"] = {"exporting": peak_mb("self"), "loading back": children.peak}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="gpt-x2-125m")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    checkpoint = options.work / "run" / "checkpoints" / "tokens-000000000262144"
    if options.only:
        what, kind = options.only
        print(json.dumps(in_this_process(what, kind, checkpoint, options.work / f"{what}-{kind}")))
        return
    parameters = write_checkpoint(options.recipe, checkpoint)
    rows = {}
    for what, kind in (("imports", ""), *KINDS):
        command = [sys.executable, __file__, *sys.argv[1:], "--only", what, kind]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows[f"{what} {kind}".strip()] = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{what} {kind}", rows[f"{what} {kind}".strip()], flush=True)
    about = {"recipe": options.recipe, "parameters": parameters, "weights MB": round(4 * parameters / 1e6)}
    write_json(options.out, about | {"exports": rows, "versions": versions()})


if __name__ == "__main__":
    main()
