"""Commands about recipes and runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flyweight.base import ToldByAnother, UserError
from flyweight.base.progress import StageProgress
from flyweight.cli.options import (
    CorpusOption,
    Factor,
    Json,
    Overrides,
    RecipeArgument,
    Scaled,
    bytes_of,
    print_json,
    recipe_of,
)

if TYPE_CHECKING:
    from flyweight.recipe import Recipe

app = typer.Typer()


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
    device_memory: Annotated[
        str | None,
        typer.Option(help="Memory of the device, such as 24GB: says how large a micro-batch fits."),
    ] = None,
    law: Annotated[
        Path | None, typer.Option(help="A scaling law of `flyweight tunnel law`: predicts the loss.")
    ] = None,
    budget_flops: Annotated[
        float | None, typer.Option(help="With --law: the compute to split best; the run's own when left out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a run will cost: parameters, tokens, steps, FLOPs, memory, disk; plot its timelines.

    For RECIPE a run's folder does too: what the run read then stands beside its plan.
    """
    from flyweight.corpus import check_chat_tokens, open_corpus
    from flyweight.planning import plan_recipe, plot_timelines, render
    from flyweight.report import is_run, read_run

    sizes, realised = None, None
    if is_run(recipe):
        if overrides or scaled is not None:
            raise UserError(f"{recipe}: a run has the recipe that it has; take KEY=VALUE and --scaled away.")
        record = read_run(Path(recipe))
        loaded, sizes, realised = record.recipe, record.corpus_tokens or None, record.realised
    else:
        loaded = recipe_of(recipe, overrides, scaled, factor)
        check_chat_tokens(loaded)
    if corpus is not None:
        sizes = {name: stream.tokens for name, stream in open_corpus(corpus).train.items()}
    prediction = None
    if law is not None:
        from flyweight.planning.prediction import predict
        from flyweight.windtunnel.scaling_runs import read_scaling

        if budget_flops is not None and not 0 < budget_flops < float("inf"):
            raise UserError(f"--budget-flops is {budget_flops:g}; expected a number above 0, such as 1e18.")
        prediction = predict(loaded, read_scaling(law), budget_flops)
    elif budget_flops is not None:
        raise UserError("--budget-flops goes with --law.")
    result = plan_recipe(
        loaded,
        sizes,
        peak_flops=peak_flops,
        share_of_peak=share_of_peak,
        realised=realised,
        device_memory=None if device_memory is None else bytes_of(device_memory, "--device-memory"),
        prediction=prediction,
    )
    if as_json:
        print_json(result.to_dict())
    else:
        Console().print(render(result))
    if plot is not None:
        plot_timelines(loaded, plot, realised)
        print(f"timelines: {plot}", file=sys.stderr)


@app.command(epilog="Keys that may change when a run goes on: see `flyweight keys --execution`.")
def train(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    run: Annotated[Path | None, typer.Option(help="The run's folder; runs/NAME when left out.")] = None,
    corpus: CorpusOption = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN@TOKENS|MODEL",
            help="Start a new run from another run's checkpoint, or from a model in a Hugging Face folder.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Run one real step of every stage, one save, one export; say what a run will need.",
        ),
    ] = False,
    scaled: Scaled = None,
    factor: Factor = 1,
) -> None:
    """Train; a folder that holds this run goes on where it stopped. Ctrl-C saves and stops."""
    from flyweight.corpus import open_corpus
    from flyweight.corpus import prepare as prepare_corpus
    from flyweight.training import train as train_run
    from flyweight.training.benchmarks import check_benchmarks
    from flyweight.training.parallel import join_ranks, leave_ranks

    ranks = join_ranks()
    loaded = recipe_of(recipe, overrides, scaled, factor)
    folder = corpus or Path("corpora") / loaded.name
    if dry_run:
        if not ranks.alone:
            raise (UserError if ranks.main else ToldByAnother)(
                "--dry-run rehearses on one device; start it without torchrun."
            )
        if run is not None or start_from is not None:
            raise UserError(
                "--dry-run leaves nothing behind and starts from nothing; take --run and --from away."
            )
        check_benchmarks(loaded)
        rehearse(loaded, folder)
        return

    def prepare() -> list[str]:
        check_benchmarks(loaded)  # before hours of preparation
        with StageProgress() as progress:
            return prepare_corpus(loaded, folder, progress).summary()

    place = run or Path("runs") / loaded.name
    with ranks.surviving(place):
        summary = ranks.from_main(prepare)
    if ranks.main:
        for line in summary:
            print(line)
    result = train_run(loaded, open_corpus(folder), place, start_from=start_from, ranks=ranks)
    leave_ranks()
    if ranks.main:
        state = "finished" if result.finished else "stopped; the same command goes on from here"
        print(f"{state}: {result.checkpoint}")


def rehearse(recipe: Recipe, corpus: Path) -> None:
    """Rehearse a recipe and print what it will need."""
    from flyweight.planning import dry_run, render_dry_run

    with StageProgress() as progress:
        result = dry_run(recipe, corpus, progress=progress)
    Console().print(render_dry_run(result))


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
        print_json(found.to_dict(tokens=tokens))
    else:
        Console().print(render_sequence(found, tokens=tokens))


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
