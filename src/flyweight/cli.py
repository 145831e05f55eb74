"""The command line: one command a stage. It parses, calls and prints; the rooms do the work."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flyweight import __version__
from flyweight.base import UserError
from flyweight.base.progress import StageProgress

app = typer.Typer(
    help="Train small language models: one recipe file in, one finished, measured, released model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
tokenizer_app = typer.Typer(help="Train a recipe's tokenizer, or measure tokenizers.", no_args_is_help=True)
app.add_typer(tokenizer_app, name="tokenizer")

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file, or the name of one that comes with Flyweight.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Recipe keys that win over the file, such as training.tokens=5M."
    ),
]
Scaled = Annotated[
    str | None, typer.Option(help="Use a small, honest copy of the recipe over this many tokens, such as 5M.")
]
Factor = Annotated[
    int, typer.Option(help="With --scaled: a model about this many times narrower and shallower.")
]
CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="A checkpoint, a run folder, RUN@TOKENS, or a Hugging Face folder."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for programs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run the modeling code that lies in a Hugging Face folder."),
]
CorpusOption = Annotated[
    Path | None, typer.Option(help="Folder of the token shards; corpora/NAME when left out.")
]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _recipe(name: str, overrides: list[str] | None, scaled: str | None = None, factor: int = 1) -> Any:
    from flyweight.recipe import load_recipe, parse_tokens

    recipe = load_recipe(name, overrides or [])
    if scaled is None:
        if factor != 1:
            raise UserError("--factor goes with --scaled.")
        return recipe
    try:
        tokens = parse_tokens(scaled)
    except ValueError as error:
        raise UserError(f"--scaled: {error}.") from None
    return recipe.scaled(tokens, factor)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"flyweight {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def plan(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    scaled: Scaled = None,
    factor: Factor = 1,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot of every timeline to this .png or .svg.")
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="Prepared shards, to count epochs.")] = None,
    peak_flops: Annotated[
        float | None, typer.Option(help="What the machine computes in a second, such as 80e12, for a time.")
    ] = None,
    share_of_peak: Annotated[float, typer.Option(help="Share of it that training reaches.")] = 0.4,
    as_json: Json = False,
) -> None:
    """Say what a run will cost: parameters, tokens, steps, FLOPs, memory, disk; plot its timelines.

    For RECIPE a run's folder does too: what the run read then stands beside its plan.
    """
    from flyweight.corpus import open_corpus
    from flyweight.planning import plan_recipe, plot_timelines, render
    from flyweight.report import is_run, read_run

    sizes, realised = None, None
    if is_run(recipe):
        if overrides or scaled is not None:
            raise UserError(f"{recipe}: a run has the recipe that it has; take KEY=VALUE and --scaled away.")
        record = read_run(Path(recipe))
        loaded, sizes, realised = record.recipe, record.corpus_tokens or None, record.realised
    else:
        loaded = _recipe(recipe, overrides, scaled, factor)
    if corpus is not None:
        sizes = {name: stream.tokens for name, stream in open_corpus(corpus).train.items()}
    result = plan_recipe(loaded, sizes, peak_flops=peak_flops, share_of_peak=share_of_peak, realised=realised)
    if as_json:
        _print_json(result.to_dict())
    else:
        Console().print(render(result))
    if plot is not None:
        plot_timelines(loaded, plot, realised)
        print(f"timelines: {plot}", file=sys.stderr)


@tokenizer_app.command("train")
def tokenizer_train(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="Folder for tokenizer.json.")],
    overrides: Overrides = None,
) -> None:
    """Train the recipe's tokenizer on the training documents of its sources."""
    from flyweight.corpus import train_recipe_tokenizer

    loaded = _recipe(recipe, overrides)
    with StageProgress() as progress:
        tokenizer = train_recipe_tokenizer(loaded, progress)
    tokenizer.save(out)
    print(f"{tokenizer.vocab_size:,} entries: {out / 'tokenizer.json'}")


@tokenizer_app.command("measure")
def tokenizer_measure(
    corpus: Annotated[Path, typer.Argument(help="A prepared corpus; its held-out text is measured.")],
    other: Annotated[
        list[Path] | None, typer.Option(help="Another tokenizer.json or folder, measured on the same text.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print bytes per token by source on held-out text, for the corpus's tokenizer and others."""
    from flyweight.evaluation import measure_tokenizers

    table = measure_tokenizers(corpus, other or [])
    if as_json:
        _print_json(table)
        return
    from rich.table import Table

    names = list(table)
    view = Table("source", *names, title="bytes per token on held-out text")
    for source in table[names[0]]:
        view.add_row(source, *(f"{table[name][source]:.3f}" for name in names))
    Console().print(view)


@app.command()
def prepare(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    out: CorpusOption = None,
    scaled: Scaled = None,
    factor: Factor = 1,
    verify: Annotated[
        bool, typer.Option(help="Read prepared shards again and compare their checksums.")
    ] = False,
) -> None:
    """Turn the recipe's sources into a tokenizer and token shards; finished work is reused."""
    from flyweight.corpus import prepare as prepare_corpus
    from flyweight.corpus import verify as verify_corpus

    loaded = _recipe(recipe, overrides, scaled, factor)
    folder = out or Path("corpora") / loaded.name
    if verify:
        verify_corpus(folder)
        print(f"{folder}: every shard is as it was written")
        return
    with StageProgress() as progress:
        corpus = prepare_corpus(loaded, folder, progress)
    for line in corpus.summary():
        print(line)
    print(f"shards: {folder}")


@app.command(epilog="Keys that may change when a run goes on: see `flyweight keys --execution`.")
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME when left out.")] = None,
    corpus: CorpusOption = None,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="RUN@TOKENS", help="Start a new run from another run's checkpoint."),
    ] = None,
    scaled: Scaled = None,
    factor: Factor = 1,
) -> None:
    """Train; a folder that holds this run goes on where it stopped. Ctrl-C saves and stops."""
    from flyweight.corpus import prepare as prepare_corpus
    from flyweight.training import train as train_run

    loaded = _recipe(recipe, overrides, scaled, factor)
    with StageProgress() as progress:
        shards = prepare_corpus(loaded, corpus or Path("corpora") / loaded.name, progress)
    for line in shards.summary():
        print(line)
    result = train_run(loaded, shards, run or Path("runs") / loaded.name, start_from=start_from)
    state = "finished" if result.finished else "stopped; the same command goes on from here"
    print(f"{state}: {result.checkpoint}")


@app.command()
def inspect(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    number: Annotated[int, typer.Argument(metavar="N", help="Which sequence, from 0.")],
    corpus: Annotated[
        Path | None,
        typer.Option(help="Folder of its token shards; corpora/NAME or beside the run when left out."),
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="List the tokens with their ids.")] = False,
    as_json: Json = False,
) -> None:
    """Show sequence N of a run as the model saw it: text, source, document borders, clock."""
    from flyweight.report import inspect_run, render_sequence

    found = inspect_run(run, number, corpus)
    if as_json:
        _print_json(found.to_dict(tokens=tokens))
    else:
        Console().print(render_sequence(found, tokens=tokens))


@app.command()
def evaluate(
    checkpoint: CheckpointArgument,
    tasks: Annotated[
        str | None,
        typer.Option(help="arithmark-gen, arithmark, blimp, with commas between; else those of the recipe."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the files of tasks that need some.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many items of each subset.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of generated items.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for results.json.")] = None,
    device: Device = "auto",
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Measure a model on tasks."""
    from flyweight.evaluation import evaluate as evaluate_model
    from flyweight.evaluation import recipe_tasks, render_results
    from flyweight.inference import load_model

    model = load_model(checkpoint, device, trust_remote_code=trust_remote_code)
    names = recipe_tasks(checkpoint) if tasks is None else [name.strip() for name in tasks.split(",")]
    with StageProgress() as progress:
        results = evaluate_model(
            model,
            names,
            data,
            limit,
            seed,
            output=out,
            progress=progress,
        )
    if as_json:
        _print_json(results)
    else:
        Console().print(render_results(results))


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


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several stand side by side.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; RUN/report.html of the first run when left out.")
    ] = None,
) -> None:
    """Write one self-contained HTML page about one or several runs."""
    from flyweight.report import write_report

    page = out or runs[0] / "report.html"
    write_report(runs, page)
    print(f"report: {page}")


@app.command()
def keys(
    execution: Annotated[
        bool, typer.Option("--execution", help="Only keys that may change when a run goes on.")
    ] = False,
) -> None:
    """List every key of a recipe: its type, its default and what it means."""
    from flyweight.recipe.reference import key_lines

    for line in key_lines(execution_only=execution):
        print(line)


@app.command()
def quickstart(
    data: Annotated[
        Path | None, typer.Option(help="Your own .txt, .md, .jsonl, .jsonl.gz, .jsonl.zst or .parquet files.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where everything goes; runs/quickstart when left out.")
    ] = None,
) -> None:
    """All of it on a small model, on this machine, in minutes: text, tokenizer, training, export, report."""
    from flyweight.quickstart import quickstart as run_quickstart

    run_quickstart(data, folder)


def main() -> None:
    """The entry point: a user's mistake is one sentence and exit code 2; a traceback is our own bug."""
    try:
        app()
    except UserError as error:
        print(f"flyweight: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
