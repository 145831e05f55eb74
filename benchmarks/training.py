"""Training speed of one architecture in our loop and in others', in turns: same weights, same batches, one run.

    pip install litgpt lightning
    python benchmarks/training.py --out benchmarks/results/NAME.json [--cases gpt-s-5m ...]

On a CPU GPT-S-5M's shape, on a GPU also GPT-X2-125M's and Xmodel-2.5-1.3B's, all with plain grouped-query attention and
one learning rate, which every peer has, in the precision that the machine computes fastest, on the text that is on
every machine. Rows that cannot run here are named. The contenders take turns of `--steps` steps, in another order each
time, so that a busy moment meets all of them; a turn of each comes first, untimed, which is where torch.compile does
its work. Each speed is that of whole steps: batch, forward, backward, clipping, update; passes are as large for the
peers as for us. A speed counts only if the loss of the last turn is the others'.

    flyweight             our loop as `flyweight train` runs it, blocks compiled
    flyweight eager       the same, not compiled
    flyweight fp8         compiled, linear layers in FP8 where that is faster (on GPUs that have it)
    transformers          a plain loop over transformers' Llama or Qwen3, autocast
    transformers compile  the same, torch.compile of the model
    Trainer               Hugging Face's Trainer
    litgpt                litgpt's model, compiled, in Lightning's Fabric, as its pretraining does (if installed; no
                          QK-norm of one gain a layer there, so not for GPT-X2-125M)
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from peers import peer, stock_model, stock_optimizer

from flyweight.base import write_json
from flyweight.corpus import OpenCorpus, prepare
from flyweight.curriculum import read_batch
from flyweight.events import EventWriter, StepDone
from flyweight.inference import autocast
from flyweight.model import flops_per_token
from flyweight.recipe import Recipe, load_recipe, recipe_from_dict
from flyweight.training.folder import open_run
from flyweight.training.hardware import keep_freed_memory, measure_peak
from flyweight.training.interrupt import Interruption
from flyweight.training.loop import Trainer
from flyweight.training.plan import apply_plan, resolve_plan
from flyweight.training.run import versions
from flyweight.training.sinks import Sinks


@dataclass(frozen=True)
class Case:
    """One architecture at one size of step."""

    recipe: str
    sequences: int
    length: int
    fp8: bool = False


CASES = {
    "cpu": (Case("gpt-s-5m", 8, 512),),
    "cuda": (
        Case("gpt-s-5m", 512, 512),
        Case("gpt-x2-125m", 128, 1024),
        Case("xmodel-2.5-1.3b", 32, 3712, fp8=True),
    ),
}

LOSS_TOLERANCE = 0.05
"""Nats by which the mean loss of the last turn may differ: other orders of the same sums."""

Train = Callable[[int, int], float]
"""Takes the first step and the number of steps; returns the mean loss over them."""


class _Losses:
    def __init__(self) -> None:
        self.last = 0.0

    def handle(self, event: Any) -> None:
        if isinstance(event, StepDone):
            self.last = event.loss

    def close(self) -> None:
        pass


def case_recipe(case: Case, steps: int, log_every: int) -> Recipe:
    """The case's architecture over `steps` steps of builtin text; the tokenizer may be smaller than the model's."""
    values = load_recipe(case.recipe).to_dict()
    values["sources"] = {
        name: {"kind": "builtin", "builtin": name, "limit": "3MB"} for name in ("english", "python")
    }
    values["tokenizer"] = {"kind": "bpe", "vocab_size": 4096, "sample": "3MB"}
    values["model"]["exclusive_attention"] = False
    values["parametrization"] = {"kind": "standard"}
    values["corpus"] = {"held_out": 0.02, "held_out_limit": "400KB"}
    values["training"] = {
        "tokens": steps * case.sequences * case.length,
        "sequence_length": case.length,
        "batch_size": case.sequences,
        "mixture": [{"at": 0, "weights": {"english": 0.6, "python": 0.4}}],
        "learning_rate": 3e-4,
    }
    values["evaluation"]["every"] = 0
    values["execution"] = {"precision": "auto", "log_every": log_every, "trackers": []}
    if case.fp8:
        values["execution"]["fp8"] = {"scaling": "delayed", "layers": "auto"}
    return recipe_from_dict(values)


def our_loop(recipe: Recipe, corpus: OpenCorpus, run: Path, **changes: Any) -> tuple[Trainer, Train]:
    """A run of ours that goes on for as many steps as it is told; `changes` of its plan."""
    run.mkdir(parents=True)
    plan = replace(resolve_plan(recipe), **changes)
    apply_plan(plan)
    losses = _Losses()
    sinks = Sinks(EventWriter(run, "benchmark"), [losses]).__enter__()
    ours = Trainer(recipe, corpus, run, plan, open_run(run, recipe, corpus), sinks)

    def train(first: int, steps: int) -> float:
        ours.train(Interruption(), stop_after=ours.schedule.step(first + steps).clock)
        return losses.last

    return ours, train


def passes(ours: Trainer) -> int:
    """Sequences in one pass of ours, and so of the peers."""
    first = ours.schedule.segments[0]
    return ours.plan.micro_batch_for(first.batch_size, first.sequence_length)


def plain_loop(
    ours: Trainer,
    model: Any,
    forward: Callable[[torch.Tensor], torch.Tensor],
    backward: Callable = torch.Tensor.backward,
) -> Train:
    """The loop that everybody writes, with our batches, AdamW's settings and learning rates."""
    optimizer, rate = stock_optimizer(ours, model)

    def train(first: int, steps: int) -> float:
        losses = []
        for step in range(first, first + steps):
            sequences = ours.order.step_sequences(ours.schedule.step(step))
            tokens, total = read_batch(sequences, ours.corpus.train).tokens, 0.0
            for rows in tokens.split(passes(ours)):
                loss = forward(rows.to(ours.device)) * (len(rows) / len(tokens))
                backward(loss)
                total = total + loss.detach()
            torch.nn.utils.clip_grad_norm_(model.parameters(), ours.recipe.training.gradient_clip)
            optimizer.step()
            rate.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(total)
        return float(torch.stack(losses).mean())

    return train


def transformers_loop(ours: Trainer, compiled: bool) -> Train:
    """transformers' Llama under autocast."""
    model = stock_model(ours).train()
    run = torch.compile(model) if compiled else model

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        with autocast(ours.device, ours.plan.precision):
            return run(input_ids=tokens, labels=tokens, use_cache=False).loss

    return plain_loop(ours, model, forward)


def litgpt_loop(ours: Trainer) -> Train:
    """litgpt's model in Lightning's Fabric, compiled, with its chunked cross-entropy."""
    import lightning  # pyright: ignore[reportMissingImports]
    from litgpt import GPT, Config  # pyright: ignore[reportMissingImports]
    from litgpt.scripts.convert_hf_checkpoint import (  # pyright: ignore[reportMissingImports]
        copy_weights_hf_llama,
    )
    from litgpt.utils import chunked_cross_entropy  # pyright: ignore[reportMissingImports]

    shape = ours.recipe.model
    config = Config(
        name="benchmark",
        block_size=int(ours.recipe.training.sequence_length.maximum),
        n_layer=shape.num_hidden_layers,
        n_head=shape.num_attention_heads,
        n_query_groups=shape.num_key_value_heads,
        head_size=shape.head_dim,
        n_embd=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        padded_vocab_size=shape.vocab_size,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=shape.rms_norm_eps,
        mlp_class_name="LLaMAMLP",
        rope_base=int(shape.rope_theta),
    )
    model = GPT(config)
    state: dict[str, torch.Tensor] = {}
    copy_weights_hf_llama(config, {}, state, dict(stock_model(ours).state_dict()))
    model.load_state_dict(state)
    model.transformer.wte.weight = model.lm_head.weight
    precision = "bf16-mixed" if ours.plan.precision == "bfloat16" else "32-true"
    fabric = lightning.Fabric(accelerator=ours.device.type, devices=1, precision=precision)
    run = fabric.setup(torch.compile(model))

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        return chunked_cross_entropy(run(tokens[:, :-1]), tokens[:, 1:], chunk_size=0)

    return plain_loop(ours, model, forward, fabric.backward)


class TrainerThread(transformers.TrainerCallback):
    """Hugging Face's Trainer in a thread of its own, which stops after each turn and waits for the next."""

    def __init__(self, ours: Trainer, folder: Path) -> None:
        _, self._trainer = peer(ours, folder, passes(ours))
        self._trainer.add_callback(self)
        self._threads = ours.plan.threads
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._until = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # OpenMP's number of threads belongs to the thread
        self._go.acquire()
        self._trainer.train()
        self._done.release()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self._until:
            self._done.release()
            self._go.acquire()

    def train(self, first: int, steps: int) -> float:
        """A turn; the loss is the mean since the last line of the Trainer's log."""
        self._until = first + steps
        if not self._thread.is_alive():
            self._thread.start()
        self._go.release()
        self._done.acquire()
        logged = [entry["loss"] for entry in self._trainer.state.log_history if "loss" in entry]
        return float(logged[-1]) if logged else float("nan")


def contenders(recipe: Recipe, corpus: OpenCorpus, folder: Path) -> tuple[Trainer, dict[str, Train]]:
    """All that can run here, each with the same initial weights."""
    plain: dict[str, Any] = {"fp8_scaling": "off", "fp8_layers": ()}
    ours, train = our_loop(recipe, corpus, folder / "ours", compiled=True, **plain)
    found = {"flyweight": train}
    found["flyweight eager"] = our_loop(recipe, corpus, folder / "eager", compiled=False, **plain)[1]
    if recipe.execution.fp8.scaling != "off":
        quantized, train = our_loop(recipe, corpus, folder / "fp8", compiled=True)
        if quantized.plan.fp8_layers:
            found["flyweight fp8"] = train
        print(*quantized.plan.reasons, sep="\n", flush=True)
    found["transformers"] = transformers_loop(ours, compiled=False)
    found["transformers compile"] = transformers_loop(ours, compiled=True)
    found["Trainer"] = TrainerThread(ours, folder / "trainer").train
    if importlib.util.find_spec("litgpt") and not recipe.model.qk_norm:
        found["litgpt"] = litgpt_loop(ours)
    return ours, found


def measure(ours: Trainer, found: dict[str, Train], turns: int, steps: int) -> dict[str, Any]:
    """Let all take turns, and sum up."""
    speeds: dict[str, list[float]] = {name: [] for name in found}
    losses: dict[str, float] = {}
    first_turn: dict[str, float] = {}
    peaks = []
    tokens = steps * ours.schedule.segments[0].step_tokens
    dtype = torch.bfloat16 if ours.plan.precision == "bfloat16" else torch.float32
    gone: dict[str, str] = {}
    for turn in range(turns + 1):
        names = [name for name in found if name not in gone]
        names = names[turn % len(names) :] + names[: turn % len(names)]
        for name in names:
            # Freed memory is kept by our loop, by which the peers would gain too: they take turns without.
            keep_freed_memory(ours.device.type == "cpu" and name.startswith("flyweight"))
            wait_for(ours.device)
            begin = time.perf_counter()
            try:
                losses[name] = found[name](turn * steps, steps)
            except torch.OutOfMemoryError as error:
                gone[name] = str(error).splitlines()[0]
                print(f"{name}: {gone[name]}", flush=True)
                continue
            wait_for(ours.device)
            seconds = time.perf_counter() - begin
            if turn:
                speeds[name].append(tokens / seconds)
            else:
                first_turn[name] = seconds
        peaks.append(measure_peak(ours.device, dtype))
        print(f"turn {turn}:", {name: round(s[-1]) if s else None for name, s in speeds.items()}, flush=True)
    length = ours.schedule.segments[0].sequence_length
    peak = statistics.median(peaks)
    for name in gone:
        del speeds[name]
    peers = {name: s for name, s in speeds.items() if not name.startswith("flyweight")}
    fastest = max(peers, key=lambda name: statistics.median(peers[name]))
    result: dict[str, Any] = {
        "fastest peer": fastest,
        "measured peak GFLOP/s": peak / 1e9,
        "peak of the plan GFLOP/s": ours.plan.peak_flops / 1e9,
        "peak of the plan from": ours.plan.peak_from,
        "out of memory": gone,
        "contenders": {},
    }
    for name, values in speeds.items():
        ratios = [a / b for a, b in zip(values, speeds[fastest], strict=True)]
        differs = not abs(losses[name] - losses["flyweight eager"]) <= LOSS_TOLERANCE  # not a number differs
        result["contenders"][name] = {
            "tokens per second": None if differs else _spread(values),
            "of the fastest peer": None if differs else _spread(ratios),
            "share of the matrix-product peak": statistics.median(values)
            * flops_per_token(ours.recipe.model, length)
            / peak,
            "model FLOPs utilisation": statistics.median(values)
            * flops_per_token(ours.recipe.model, length)
            / ours.plan.peak_flops,
            "loss of the last turn": losses[name],
            "first turn, s": first_turn[name],
        }
        if differs:
            print(f"{name}: the loss {losses[name]:.4f} is not that of the others; its speed does not count")
    return result


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="steps of a turn")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--cases", nargs="+", help="names of recipes; all that this machine is for when left out"
    )
    parser.add_argument("--only", nargs="+", help="of the contenders, these and `flyweight eager`")
    options = parser.parse_args()
    if options.only and all(name.startswith("flyweight") for name in options.only):
        parser.error("--only needs a peer to compare with")
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    names = [case.recipe for case in CASES["cuda"]]
    if odd := set(options.cases or ()) - set(names):
        parser.error(f"no such case: {', '.join(sorted(odd))}; known are {', '.join(names)}")
    wanted = [case for case in CASES[kind] if not options.cases or case.recipe in options.cases]
    result: dict[str, Any] = {"versions": versions(), "cases": {}}
    result["not run: no CUDA GPU here"] = [] if kind == "cuda" else [
        f"{case.recipe}, {case.sequences} x {case.length} tokens a step" + (", bfloat16 and FP8" * case.fp8)
        for case in CASES["cuda"]
    ]  # fmt: skip
    for case in wanted:
        steps = (options.turns + 2) * options.steps
        recipe = case_recipe(case, steps, options.steps)
        with tempfile.TemporaryDirectory() as folder:
            corpus = prepare(recipe, Path(folder) / "corpus")
            ours, found = contenders(recipe, corpus, Path(folder))
            if options.only:
                if odd := set(options.only) - set(found):
                    parser.error(
                        f"no such contender here: {', '.join(sorted(odd))}; there are {', '.join(found)}"
                    )
                wanted_names = {*options.only, "flyweight eager"}
                found = {name: train for name, train in found.items() if name in wanted_names}
            measured = measure(ours, found, options.turns, options.steps)
            result["cases"][case.recipe] = {
                "tokens a step": case.sequences * case.length,
                "sequences in a pass": passes(ours),
                "precision": ours.plan.precision,
                "threads": ours.plan.threads,
                "hardware": ours.plan.hardware,
                **measured,
            }
        write_json(options.out, result)
        for name, row in measured["contenders"].items():
            print(case.recipe, name, row)
    for row in result["not run: no CUDA GPU here"]:
        print("not run, since there is no CUDA GPU here:", row)


if __name__ == "__main__":
    main()
