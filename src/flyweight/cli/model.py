"""Commands about finished models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flyweight.base import UserError
from flyweight.base.progress import StageProgress
from flyweight.cli.options import CheckpointArgument, Device, Trust

app = typer.Typer()


@app.command()
def generate(
    checkpoint: CheckpointArgument,
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    max_new_tokens: Annotated[int, typer.Option(help="At most this many tokens.")] = 128,
    temperature: Annotated[float, typer.Option(help="0 takes the most likely token each time.")] = 0.8,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens that make up this much.")] = 0.95,
    top_k: Annotated[int, typer.Option(help="Keep this many of the likeliest tokens; 0: all.")] = 0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1: make what was said less likely.")] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
    device: Device = "auto",
    trust_remote_code: Trust = False,
) -> None:
    """Write text."""
    from flyweight.inference import generate_stream, load_model

    model = load_model(checkpoint, device, trust_remote_code=trust_remote_code)
    print(prompt, end="", flush=True)
    pieces = generate_stream(
        model, prompt, max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed
    )
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


@app.command()
def export(
    checkpoint: CheckpointArgument,
    out: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier export.")],
    to: Annotated[str, typer.Option(help="hf: a Hugging Face folder.")] = "hf",
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    licence: Annotated[str | None, typer.Option(help="Licence of the model, for its card.")] = None,
) -> None:
    """Export to others' tools, load it back in a fresh process, compare, and write the model card."""
    from flyweight.release import export as export_model
    from flyweight.report import card_for_export

    if to != "hf" or dtype not in ("float32", "bfloat16"):
        raise UserError(f"export --to {to} --dtype {dtype}: expected `hf`, and float32 or bfloat16.")
    with StageProgress() as progress:
        done = export_model(checkpoint, out, dtype=dtype, progress=progress)  # type: ignore[arg-type]
    card_for_export(checkpoint, done.folder, licence)
    print(
        f"{done.model_class}, largest difference of logits after loading back {done.maximum_difference:.1e}"
    )
    print(f"export: {done.folder}")
