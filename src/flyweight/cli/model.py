"""Commands about finished models."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flyweight.base import UserError, never_fail, write_out
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

    if any("\ud800" <= character <= "\udfff" for character in prompt):  # how Python keeps such bytes
        raise UserError("--prompt: this is not UTF-8; write it as UTF-8 text.")
    model = load_model(checkpoint, device, trust_remote_code=trust_remote_code)
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
    never_fail(sys.stdout)
    write_out(prompt)  # after the settings were looked at
    for piece in pieces:
        write_out(piece)
    write_out("\n")


TYPES = {"hf": ("float32", "bfloat16"), "gguf": ("f16", "f32", "bf16", "q8_0")}
"""By kind of export, how its weights may be stored; the first is what is taken."""

BUILTIN_TEMPLATE = {
    "different": "programs that do not run Jinja but llama.cpp's built-in renderer would feed the model other tokens "
    "than training did.",
    "unknown": "llama.cpp's built-in renderer does not know it, so programs that do not run Jinja would refuse it or "
    "feed the model other tokens than training did.",
}
"""What to know about a GGUF file whose chat template llama.cpp's built-in renderer does not write as Jinja does."""


@app.command()
def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, a run folder, or RUN@TOKENS.")
    ],
    out: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier export.")],
    to: Annotated[str, typer.Option(help="hf: a Hugging Face folder. gguf: a file for llama.cpp.")] = "hf",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of the weights. hf: float32, bfloat16; gguf: f16, f32, bf16, q8_0. The first if left out."
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of the model, for its card: apache-2.0, or a name or address.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Code of the text's language, for the card; may be repeated.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="The repository that this model is made from.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="results.json of this checkpoint, for the card; else the run's.")
    ] = None,
) -> None:
    """Export to others' tools, load it back in a fresh process, compare, and write the model card."""
    if to not in TYPES:
        raise UserError(f"export --to {to}: expected {' or '.join(TYPES)}.")
    kind = dtype or TYPES[to][0]
    if kind not in TYPES[to]:
        raise UserError(f"export --to {to} --dtype {kind}: expected {', '.join(TYPES[to])}.")
    from flyweight.report import CardFacts, card_for_export
    from flyweight.training.importing import is_model_folder

    if is_model_folder(checkpoint):
        raise UserError(
            f"{checkpoint}: this is a Hugging Face folder; export takes checkpoints of Flyweight only: a checkpoint, a "
            f"run folder, or RUN@TOKENS."
        )
    facts = CardFacts(licence, language or None, base_model, results)
    facts.check(checkpoint)
    write = _export_to_hugging_face if to == "hf" else _export_to_gguf
    write(checkpoint, out, kind, lambda folder: card_for_export(checkpoint, folder, facts))
    print(f"export: {out}")


def _export_to_hugging_face(checkpoint: str, out: Path, dtype: Any, finish: Callable[[Path], object]) -> None:
    from flyweight.release import export as export_model

    with StageProgress() as progress:
        done = export_model(checkpoint, out, dtype=dtype, progress=progress, finish=finish)
    print(
        f"{done.model_class}, largest difference of logits after loading back {done.maximum_difference:.1e}"
    )


def _export_to_gguf(checkpoint: str, out: Path, kind: Any, finish: Callable[[Path], object]) -> None:
    from flyweight.release import export_gguf

    with StageProgress() as progress:
        done = export_gguf(checkpoint, out, kind=kind, progress=progress, finish=finish)
    if done.checks is None:
        print("not checked: llama.cpp is not installed here (pip install llama-cpp-python)")
    else:
        print(
            f"llama.cpp: largest difference of logits {done.checks.maximum_difference:.1e} (largest logit "
            f"{done.checks.largest_logit:.1f}), {done.checks.same_tokens} of {done.checks.generated_tokens} greedy "
            f"tokens the same, {done.checks.texts} texts with the same tokens"
        )
        if done.checks.builtin_template in BUILTIN_TEMPLATE:
            print(f"chat template: {BUILTIN_TEMPLATE[done.checks.builtin_template]}")
    print(f"file: {done.file} ({done.file.stat().st_size / 1e6:,.1f} MB)")


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="The folder of a finished export.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository a private one.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be sent, and end; no network.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before it is sent.")] = False,
) -> None:
    """Upload a finished export to the Hugging Face Hub, after showing what is sent, in one commit."""
    from flyweight.release import look_at_target, plan_publication
    from flyweight.release import publish as send

    planned = plan_publication(folder, repository)
    for line in planned.lines():
        print(line)
    if dry_run:
        print("dry run: nothing was sent")
        return
    print(look_at_target(planned, private=private).line())
    if not yes and not typer.confirm("Send it?"):
        print("nothing was sent")
        raise typer.Exit(1)
    done = send(planned, private=private)
    print(f"published: {done.url} (commit {done.commit[:12]})")
