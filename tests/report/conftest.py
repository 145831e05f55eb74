"""A run folder as training leaves it, written through the events' own writer, without training anything."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flyweight.base import write_json
from flyweight.corpus import OpenCorpus, prepare
from flyweight.curriculum import Mixture, Schedule, read_batch
from flyweight.evaluation.calibration import calibrate
from flyweight.evaluation.context_law import fit_context_law
from flyweight.evaluation.context_losses import PositionLosses
from flyweight.events import (
    CheckpointSaved,
    Evaluated,
    EventWriter,
    Notice,
    RunFinished,
    RunStarted,
    Sampled,
    StageEntered,
    StepDone,
    Validated,
)
from flyweight.inference import layout
from flyweight.model import parameter_counts
from flyweight.recipe import Recipe, identity_hash, recipe_from_dict
from flyweight.report.sections import recipe_yaml
from flyweight.training import train

HOSTILE = "<script>alert('x')</script> & \"quoted\" | ``` #"


def tiny_recipe(name: str = "tiny", seed: int = 7) -> Recipe:
    return recipe_from_dict(
        {
            "name": name,
            "description": f"A model for tests {HOSTILE}",
            "seed": seed,
            "model": {
                "vocab_size": 300,
                "hidden_size": 16,
                "intermediate_size": 40,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "head_dim": 4,
                "max_position_embeddings": 64,
                "exclusive_attention": True,
            },
            "tokenizer": {"vocab_size": 300},
            "sources": {
                "english": {"kind": "builtin", "builtin": "english"},
                "mine": {"kind": "files", "path": "/home/somebody/secret/notes.txt", "licence": "mit"},
            },
            "training": {
                "tokens": 64 * 256,
                "sequence_length": 32,
                "batch_size": 8,
                "mixture": [
                    {"at": 0, "weights": {"english": 0.75, "mine": 0.25}},
                    {"at": "50%", "weights": {"english": 0.5, "mine": 0.5}},
                ],
                "learning_rate": {"wsd": {"peak": 0.002, "warmup": "10%", "decay_start": "75%"}},
                "optimizer": [{"at": 0, "kind": "adamw"}, {"at": "50%", "kind": "muon"}],
            },
        }
    )


def write_run(folder: Path, recipe: Recipe, *, until: float = 1.0, loss_at_end: float = 2.0) -> Path:
    """Two attempts at `recipe`: the first is killed at half time, the second resumes from a quarter."""
    folder.mkdir(parents=True)
    schedule = Schedule.of(recipe.training)
    (folder / "recipe.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
    plan = {
        "device": "cpu",
        "precision": "float32",
        "micro_batch": None,
        "micro_tokens": 4096,
        "threads": 2,
        "deterministic": False,
        "peak_flops": 1e11,
        "hardware": "Test CPU <9000>, 2 threads",
    }
    corpus = {
        name: {
            "kind": source.kind,
            "licence": source.licence,
            "documents": 1234,
            "tokens": 2_000,
            "bytes": 8_000,
        }
        for name, source in recipe.sources.items()
    }
    write_json(folder / "plan.json", {"execution": {}, "plan": plan, "corpus": corpus})
    half, quarter = schedule.steps // 2, schedule.steps // 4
    end = round(schedule.steps * until)
    first = EventWriter(folder, "a1")
    first.write(_started(recipe, schedule, None, plan))
    first.write(Notice(f"a note {HOSTILE}"))
    _write_steps(first, recipe, schedule, 0, half, 99.0)  # what the second attempt undoes is far off
    first.close()
    second = EventWriter(folder, "a2")
    second.write(_started(recipe, schedule, schedule.step(quarter).clock, plan))
    _write_steps(second, recipe, schedule, quarter, end, loss_at_end)
    clock = schedule.step(end).clock
    second.write(RunFinished(end, clock, "finished" if until == 1.0 else "interrupted", 12.5))
    second.close()
    return folder


def _started(
    recipe: Recipe, schedule: Schedule, resumed_from: int | None, plan: dict[str, Any]
) -> RunStarted:
    return RunStarted(
        name=recipe.name,
        recipe_hash=identity_hash(recipe),
        resumed_from=resumed_from,
        steps=schedule.steps,
        tokens=schedule.tokens,
        parameters=parameter_counts(recipe.model)["total"],
        plan=plan,
        versions={"flyweight": "0.1.0", "torch": "2.13.0"},
    )


def _write_steps(
    out: EventWriter, recipe: Recipe, schedule: Schedule, begin: int, end: int, loss_at_end: float
) -> None:
    mixture = Mixture(recipe.training, schedule)
    for number in range(begin, end):
        step, after = schedule.step(number), schedule.step(number + 1)
        if number == begin:
            out.write(StageEntered(number, step.clock, step.batch_size, step.sequence_length, "adamw"))
        counts = mixture.counts_before(after.sequence)
        out.write(
            StepDone(
                step=number + 1,
                clock=after.clock,
                loss=(loss_at_end if 4 * after.clock > schedule.tokens else 2.0)
                + 4 * math.exp(-6 * after.clock / schedule.tokens) * (number + 1 < schedule.steps),
                z_loss=1.0,
                grad_norm=1.0 + number % 3,
                learning_rate=1e-3,
                weight_decay=0.1,
                z_loss_coefficient=0.0,
                batch_size=step.batch_size,
                sequence_length=step.sequence_length,
                seconds=0.5,
                tokens_per_second=512.0,
                share_of_peak=0.321,
                realised=dict(zip(mixture.sources, map(int, counts), strict=True)),
            )
        )
        last = number + 1 == schedule.steps
        if after.step % 16 == 0 or last:
            bits = {"english": 1.5 + 2 / after.step, "mine": 2.5 + 2 / after.step}
            out.write(Validated(after.step, after.clock, bits, bits, full=last, seconds=0.1))
            out.write(Sampled(after.clock, "", f"sample of {after.clock} {HOSTILE}"))
            out.write(Sampled(after.clock, "Once <b>", f" upon {after.clock}"))
            out.write(_evaluated(after.step, after.clock))
            out.write(
                CheckpointSaved(after.step, after.clock, f"checkpoints/tokens-{after.clock:015d}", False, 0.1)
            )


def _evaluated(step: int, clock: int) -> Evaluated:
    """Two tasks during training: a share, and a perplexity, of which less is better."""
    return Evaluated(
        step, clock, {"arc_easy": 0.25 + step / 1000, "wikitext": 90.0 - step}, {"arc_easy": 0.05, "wikitext": None},
        {"arc_easy": "acc_norm", "wikitext": "word_perplexity"}, {"arc_easy": 0.25, "wikitext": None},
        {"arc_easy": 60, "wikitext": 6}, 0.2,
    )  # fmt: skip


def calibration(seed: int = 0, items: int = 400) -> dict[str, Any]:
    """What `evaluate --calibration` writes, of made-up log-likelihoods."""
    random = np.random.default_rng(seed)
    return calibrate(random.normal(-3, 1, (items, 4)), random.integers(0, 4, items), resamples=50).to_json()


def context_law(floor: float = 2.0, length: int = 128, trained_length: int = 64) -> dict[str, Any]:
    """What `evaluate --context-law` writes, of made-up losses."""
    random = np.random.default_rng(1)
    positions = np.arange(1, length + 1)
    losses = floor + (positions / 20) ** -0.6 + random.normal(0, 0.3, (40, length))
    measured = PositionLosses(losses.astype(np.float32), trained_length, 0.3)
    return fit_context_law(measured, files=["folder/text.txt"], resamples=20).to_json()


RESULTS: dict[str, Any] = {
    "format": 2,
    "model": {"name": "tiny@16.38K"},
    "settings": {"limit": None},
    "tasks": {
        "arithmark-gen": {
            "metrics": {
                "acc,v1": {"value": 0.3125, "stderr": 0.0123, "n": 1400},
                "acc,v2": {"value": 0.415, "stderr": 0.021, "n": 600},
            },
            "chance": 0.25,
            "seconds": 3.5,
            "subsets": {
                "operands 2": {"acc,v2": {"value": 0.51, "stderr": 0.035, "n": 200}},
                "operands 3": {"acc,v2": {"value": 0.29, "stderr": None, "n": 200}},
            },
        },
        "blimp": {
            "metrics": {"acc": {"value": 0.7211, "stderr": 0.0017, "n": 67000}},
            "chance": 0.5,
            "subsets": {
                f"uid_{i}": {"acc": {"value": 0.5 + i / 100, "stderr": 0.01, "n": 1000}} for i in range(20)
            },
        },
        "other": {"metrics": {"perplexity": {"value": 12.345678, "stderr": 0.5, "n": 10}}},
    },
    "bits_per_byte": {
        "before": {"english": 6.123, "mine": 6.456},
        "after": {"english": 1.777, "mine": 2.888},
        "compressor": {"name": "zstd -19", "english": 2.345, "mine": 2.111},
        "lzma": {"english": 2.222, "mine": 2.099},
    },
    "sample": {"prompt": f"Once {HOSTILE}", "text": f" upon a time {HOSTILE}"},
}


@pytest.fixture
def recipe() -> Recipe:
    return tiny_recipe()


@pytest.fixture(scope="session")
def everything() -> dict[str, Any]:
    """Results with all that the report can show."""
    return {**RESULTS, "calibration": {"mmlu": calibration()}, "context_law": context_law()}


@pytest.fixture
def results() -> dict[str, Any]:
    return RESULTS


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with results, to be read only."""
    folder = write_run(tmp_path_factory.mktemp("finished") / "first", tiny_recipe())
    write_json(folder / "results.json", RESULTS)
    return folder


@pytest.fixture
def run(tmp_path: Path, finished_run: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / "first"))


@pytest.fixture
def other_run(tmp_path: Path) -> Path:
    """A run of the same name and another seed, stopped at three quarters, without results."""
    return write_run(tmp_path / "runs" / "second", tiny_recipe(seed=8), until=0.75, loss_at_end=2.5)


@pytest.fixture(scope="session")
def two_runs(
    tmp_path_factory: pytest.TempPathFactory, finished_run: Path, everything: dict[str, Any]
) -> tuple[Path, Path]:
    """A finished run with all that can be measured, and one that was stopped; to be read only."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(finished_run, folder / "first")
    write_json(folder / "first" / "results.json", everything)
    return folder / "first", write_run(folder / "second", tiny_recipe(seed=8), until=0.75, loss_at_end=2.5)


def write_export(folder: Path, recipe: Recipe, clock: int, *, custom_code: bool = True) -> Path:
    """The record of an export, as release leaves it."""
    write_json(
        folder / "flyweight_export.json",
        {
            "format": 1,
            "name": recipe.name,
            "model_class": "FlyweightForCausalLM" if custom_code else "LlamaForCausalLM",
            "custom_code": custom_code,
            "dtype": "float32",
            "source": {"run": "first", "checkpoint": f"tokens-{clock:015d}", "clock": clock},
            "recipe_hash": identity_hash(recipe),
            "checks": {"maximum_difference": 3.2e-6},
        },
    )
    return folder


@pytest.fixture
def export_record() -> Callable[..., Path]:
    return write_export


@pytest.fixture
def checkpoint(recipe: Recipe) -> Callable[[Path], Path]:
    """Write what a card reads of a checkpoint: its recipe and its clock."""

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True)
        clock = layout.checkpoint_clock(folder.name)
        write_json(folder / layout.STATE_FILE, {"format": layout.CHECKPOINT_FORMAT, "clock": clock})
        write_json(folder / layout.RECIPE_FILE, recipe.to_dict())
        for name in (layout.TOKENIZER_FILE, layout.MODEL_FILE):
            (folder / name).touch()
        return folder

    return write


WORDS = ("a", "small", "model", "learns", "from", "text", "that", "people", "wrote", "word", "after", "word")


@dataclass(frozen=True)
class RealRun:
    """A run that was really trained, and what it read."""

    folder: Path
    corpus: OpenCorpus
    recipe: Recipe
    batches: list[list[list[int]]]
    """The tokens of every step, row by row, as training read them."""


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    """Prepared and trained for a few steps, with changes of batch, length and mixture on the way."""
    folder = tmp_path_factory.mktemp("real")
    rng = random.Random(0)
    for name in ("one", "two"):
        documents = [" ".join(rng.choices(WORDS, k=40)) + f" {rng.random()}" for _ in range(120)]
        lines = [json.dumps({"text": f"{text} \x1b[31m"}) for text in documents]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = recipe_from_dict(
        {
            "name": "real",
            "model": {
                "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
                "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 16,
                "max_position_embeddings": 64,
            },
            "tokenizer": {"vocab_size": 300},
            "sources": {
                name: {"kind": "files", "path": str(folder / f"{name}.jsonl")} for name in ("one", "two")
            },
            "corpus": {"held_out": 0.05},
            "training": {
                "tokens": 4_000,
                "sequence_length": [{"at": 0, "value": 16}, {"at": 1_500, "value": 40}],
                "batch_size": [{"at": 0, "value": 4}, {"at": 600, "value": 6}],
                "mixture": [
                    {"at": 0, "weights": {"one": 0.8, "two": 0.2}},
                    {"at": "60%", "weights": {"one": 0.3, "two": 0.7}, "shape": "linear"},
                ],
                "learning_rate": {"wsd": {"peak": 1e-2, "warmup": "10%", "decay_start": "70%"}},
            },
            "execution": {
                "device": "cpu", "precision": "float32", "threads": 1, "log_every": 3, "trackers": [],
                "checkpoint_every": 1_000, "keep_checkpoints": 9,
            },
        }
    )  # fmt: skip
    corpus = prepare(recipe, folder / "corpus")
    batches: list[list[list[int]]] = []

    def read(*arguments: Any, **options: Any) -> Any:
        batch = read_batch(*arguments, **options)
        batches.append(batch.tokens.tolist())
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flyweight.training.loop.read_batch", read)
        train(recipe, corpus, folder / "run", sinks=[])
    return RealRun(folder / "run", corpus, recipe, batches)
