"""The command that measures models."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flyweight.base import UserError
from flyweight.base.progress import StageProgress
from flyweight.cli.options import Device, Json, Trust, print_json

app = typer.Typer()


@app.command()
def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="A checkpoint, a run folder, RUN@TOKENS, a Hugging Face folder, or a .gguf file.",
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Names with commas between, with examples as in gsm8k@8; else those of the recipe."
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="A card's table: gpt-x2, gpt-s-5m, xmodel-2, xmodel-2-complex or xmodel-2.5."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with local files; nothing is fetched then.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most this many items of each subset.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of generated items.")] = 0,
    schema: Annotated[
        Path | None, typer.Option(help="File that names the fields of LogicMark's data.")
    ] = None,
    text: Annotated[
        list[Path] | None, typer.Option(help="Measure bits per byte of this file or folder; may be repeated.")
    ] = None,
    context_law: Annotated[
        bool, typer.Option("--context-law", help="Fit the loss by position on these texts.")
    ] = False,
    calibration: Annotated[
        bool,
        typer.Option("--calibration", help="Compare probabilities of lettered answers with their truth."),
    ] = False,
    unsafe_code: Annotated[
        bool, typer.Option("--unsafe-code", help="Run the model's programs where there is no sandbox.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.json and plots; finished tasks there are kept.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Compare two results item by item; nothing is run."),
    ] = None,
    device: Device = "auto",
    trust_remote_code: Trust = False,
    as_json: Json = False,
) -> None:
    """Measure a model on tasks and texts, or compare two models' results."""
    if compare is not None:
        _compare(compare, as_json)
        return
    # What is imported and the requests of a task are many objects that stay: to look through them for garbage again and
    # again took 0.8 of the six seconds before the first request.
    gc.set_threshold(100_000, 50, 100)
    if checkpoint is None:
        raise UserError("evaluate needs a checkpoint, or --compare A B.")
    if context_law and not text:
        raise UserError("--context-law needs a text: --text FILE.")
    from flyweight.evaluation import Settings, render_notes
    from flyweight.evaluation import evaluate as evaluate_model
    from flyweight.evaluation.further import add_calibration, add_texts, check_further
    from flyweight.evaluation.results import RESULTS_FILE
    from flyweight.inference import load_model

    wanted = _wanted(checkpoint, tasks, suite, only_texts=bool(text))
    settings = Settings(data, limit, seed, schema, unsafe_code)
    check_further(wanted, text or (), calibration=calibration and out is None)
    model = load_model(checkpoint, device, trust_remote_code=trust_remote_code)
    lines = []
    with StageProgress() as progress:
        results = evaluate_model(
            model, wanted, settings, output=out, skip_missing=suite is not None, progress=progress
        )
        if text:
            with _noted(results, "text"):
                lines += add_texts(results, model, text, out, law=context_law, progress=progress)
    if calibration:
        with _noted(results, "calibration"):
            lines += add_calibration(results, out)
    if as_json:
        print_json(results)
    else:
        lines += render_notes(results)
        if out is None:
            lines.append("nothing of this is kept; --out FOLDER keeps it.")
        elif (out / RESULTS_FILE).exists():  # not where nothing could be run
            lines.append(f"results: {out / RESULTS_FILE}")
        _print(results, suite, lines)
    if results["failed"]:
        raise typer.Exit(2)


@app.command()
def results(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RESULTS...", help="Files results.json, or folders with one.")
    ],
    plot: Annotated[Path | None, typer.Option(help="Draw them: a .png or .svg file.")] = None,
    as_json: Json = False,
) -> None:
    """Put the results of several models side by side, as a table and as a plot."""
    from flyweight.evaluation import read_run
    from flyweight.evaluation.across import across, render_across

    found = across([read_run(path) for path in runs])
    if plot is not None:
        from flyweight.evaluation.figures import runs_figure
        from flyweight.plots import write_figure

        figure = runs_figure(found.by_name, found.shares)
        write_figure(figure, plot, f"Tasks with their intervals: {', '.join(found.names)}.")
    if as_json:
        print_json(found.to_json())
        return
    console = Console()
    console.print(render_across(found))
    for note in found.notes():
        console.print(f"note: {note}.", highlight=False, markup=False, soft_wrap=True)
    if plot is not None:
        console.print(f"plot: {plot}", highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def _noted(results: dict[str, Any], name: str) -> Iterator[None]:
    """What goes wrong after the tasks is noted as of a task that failed: the tasks are shown all the same."""
    try:
        yield
    except UserError as error:
        results["failed"][name] = str(error)


def _wanted(checkpoint: str, tasks: str | None, suite: str | None, *, only_texts: bool) -> list[Any]:
    from flyweight.evaluation import SUITES, Wanted, parse_tasks, recipe_tasks

    if suite is not None and suite not in SUITES:
        raise UserError(f"there is no suite {suite!r}; expected {', '.join(SUITES)}.")
    found = parse_tasks(tasks) if tasks is not None else []
    if suite is not None:
        keys = {one.key for one in found}
        parts = [Wanted(part.task, part.shots) for part in SUITES[suite].parts]
        found += [part for part in parts if part.key not in keys]
    if not found and not only_texts:
        found = recipe_tasks(checkpoint)
    return found


def _print(results: dict[str, Any], suite: str | None, lines: list[str]) -> None:
    from flyweight.evaluation import SUITES, render_results, render_suite

    console = Console()
    if results["tasks"]:
        console.print(render_results(results))
    if suite is not None:
        console.print(render_suite(SUITES[suite], suite, results))
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _compare(paths: tuple[Path, Path], as_json: bool) -> None:
    from flyweight.evaluation import read_run
    from flyweight.evaluation.comparison import compare
    from flyweight.evaluation.render_comparison import render_comparison

    found = compare(read_run(paths[0]), read_run(paths[1]))
    if as_json:
        print_json(found.to_json())
    else:
        Console().print(render_comparison(found))
