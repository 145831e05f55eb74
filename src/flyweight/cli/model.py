"""Commands about finished models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flyweight.base import UserError
from flyweight.base.progress import StageProgress
from flyweight.cli.options import (
    CheckpointArgument,
    Device,
    MaxNewTokens,
    NoRepeatNgramSize,
    RepetitionPenalty,
    Seed,
    Temperature,
    TopK,
    TopP,
    Trust,
)

app = typer.Typer()


@app.command()
def generate(
    checkpoint: CheckpointArgument,
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    max_new_tokens: MaxNewTokens = 128,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    top_k: TopK = 0,
    repetition_penalty: RepetitionPenalty = 1.0,
    no_repeat_ngram_size: NoRepeatNgramSize = 0,
    seed: Seed = 0,
    device: Device = "auto",
    trust_remote_code: Trust = False,
) -> None:
    """Write text."""
    from flyweight.inference import generate_stream, load_model

    model = load_model(checkpoint, device, trust_remote_code=trust_remote_code)
    print(prompt, end="", flush=True)
    pieces = generate_stream(
        model,
        prompt,
        max_new_tokens,
        temperature,
        top_p,
        top_k,
        repetition_penalty,
        no_repeat_ngram_size,
        seed,
    )
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


TYPES = {"hf": ("float32", "bfloat16"), "gguf": ("f16", "f32", "bf16", "q8_0")}
"""By kind of export, how its weights may be stored; the first is what is taken."""


@app.command()
def export(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier export.")],
    to: Annotated[str, typer.Option(help="hf: a Hugging Face folder. gguf: a file for llama.cpp.")] = "hf",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of the weights. hf: float32, bfloat16; gguf: f16, f32, bf16, q8_0. The first if left out."
        ),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the model, for its card.")] = None,
) -> None:
    """Export to others' tools, load it back in a fresh process, compare, and write the model card."""
    if to not in TYPES:
        raise UserError(f"export --to {to}: expected {' or '.join(TYPES)}.")
    kind = dtype or TYPES[to][0]
    if kind not in TYPES[to]:
        raise UserError(f"export --to {to} --dtype {kind}: expected {', '.join(TYPES[to])}.")
    if to == "hf":
        _export_to_hugging_face(checkpoint, out, kind, licence)
    else:
        _export_to_gguf(checkpoint, out, kind)


def _export_to_hugging_face(checkpoint: str, out: Path, dtype: Any, licence: str | None) -> None:
    from flyweight.release import export as export_model
    from flyweight.report import card_for_export

    with StageProgress() as progress:
        done = export_model(checkpoint, out, dtype=dtype, progress=progress)
    card_for_export(checkpoint, done.folder, licence)
    print(
        f"{done.model_class}, largest difference of logits after loading back {done.maximum_difference:.1e}"
    )
    print(f"export: {done.folder}")


def _export_to_gguf(checkpoint: str, out: Path, kind: Any) -> None:
    from flyweight.release import export_gguf

    with StageProgress() as progress:
        done = export_gguf(checkpoint, out, kind=kind, progress=progress)
    if done.checks is None:
        print("not checked: llama.cpp is not installed here (pip install llama-cpp-python)")
    else:
        print(
            f"llama.cpp: largest difference of logits {done.checks.maximum_difference:.1e} (largest logit "
            f"{done.checks.largest_logit:.1f}), {done.checks.same_tokens} of {done.checks.generated_tokens} greedy "
            f"tokens the same, {done.checks.texts} texts with the same tokens"
        )
    print(f"file: {done.file} ({done.file.stat().st_size / 1e6:,.1f} MB)")
