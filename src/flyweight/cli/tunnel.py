"""The wind tunnel's commands."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from flyweight.base import UserError
from flyweight.base.progress import StageProgress
from flyweight.cli.options import (
    CorpusOption,
    Json,
    Overrides,
    RecipeArgument,
    print_json,
    recipe_of,
    tokens_of,
)


class _SearchByDefault(TyperGroup):
    """`flyweight tunnel RECIPE` is `flyweight tunnel search RECIPE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["search", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer()
tunnel = typer.Typer(
    cls=_SearchByDefault,
    help="µP and its wind tunnel: check it, search on a small model, fly the large one.",
)
app.add_typer(tunnel, name="tunnel")


@tunnel.command()
def coordinates(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    widths: Annotated[
        str | None,
        typer.Option(help="Values of hidden_size, such as 64,128,256; four doublings when left out."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps to watch.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Initialisations to average over.")] = 3,
    learning_rate: Annotated[
        float, typer.Option(help="The base rate, constant; a large one shows slips.")
    ] = 2**-7,
    optimizer: Annotated[str, typer.Option(help="adamw or muon.")] = "adamw",
    corpus: CorpusOption = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plot to this .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Check that activations keep their size when the model gets wider, as µP promises.

    Trains the recipe's model at several widths for some steps on one batch. A large model is checked at a small
    depth: add model.num_hidden_layers=2. Exit code 1 where a hidden module is not flat.
    """
    from flyweight.corpus import open_corpus, prepare
    from flyweight.plots import write_figure
    from flyweight.windtunnel import coordinates_figure, default_widths, first_batch, measure_coordinates

    loaded = recipe_of(recipe, overrides)
    if optimizer not in ("adamw", "muon"):
        raise UserError(f"--optimizer is {optimizer!r}; expected adamw or muon.")
    chosen = default_widths(loaded.model) if widths is None else _numbers(widths, "--widths")
    folder = corpus or Path("corpora") / loaded.name
    with StageProgress() as progress:
        prepare(loaded, folder, progress)
        found = measure_coordinates(
            loaded,
            first_batch(loaded, open_corpus(folder)),
            chosen,
            learning_rate=learning_rate,
            steps=steps,
            seeds=seeds,
            optimizer=optimizer,  # pyright: ignore[reportArgumentType]
            progress=lambda done, total: progress("training", done / total),
        )
    drifting = found.drifting()
    if plot is not None:
        title = f"{loaded.name}, {loaded.parametrization.kind}, {optimizer}"
        write_figure(coordinates_figure(found, title), plot, "Mean absolute activations over widths")
        print(f"plot: {plot}", file=sys.stderr)
    if as_json:
        print_json(found.to_dict())
    else:
        table = Table(
            "module", *(f"step {step}" for step in _shown(steps)), title="slope of log2 |activation| by width"
        )
        for module in found.modules:
            table.add_row(module, *(f"{found.slope(module, step):+.2f}" for step in _shown(steps)))
        Console().print(table)
        for module, slope in drifting.items():
            print(f"not flat: {module} has a slope of {slope:+.2f} on average over the steps")
        if not drifting:
            print(
                f"flat: all hidden modules stay within ±{found.tolerance:g} over widths {chosen[0]} to {chosen[-1]}"
            )
    if drifting:
        raise typer.Exit(1)


@tunnel.command()
def search(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    study: Annotated[
        Path | None, typer.Option(help="The study's folder; studies/NAME when left out.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials side by side; one a core when left out.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of a database that several machines share, such as postgresql+psycopg://..."),
    ] = None,
    budget_tokens: Annotated[
        str | None, typer.Option(help="Begin no trial once all together had this many tokens, such as 50M.")
    ] = None,
    budget_hours: Annotated[
        float | None, typer.Option(help="Begin no trial after this many hours from now.")
    ] = None,
    corpus: CorpusOption = None,
    as_json: Json = False,
) -> None:
    """Search the recipe's numbers on its proxy (its `tunnel:` section); Ctrl-C stops, the same command goes on."""
    from flyweight.corpus import open_corpus, prepare
    from flyweight.plots import write_figure
    from flyweight.windtunnel.figures import search_figure
    from flyweight.windtunnel.flight import write_result
    from flyweight.windtunnel.importance import knob_importances
    from flyweight.windtunnel.search import Budget
    from flyweight.windtunnel.search import search as run_search
    from flyweight.windtunnel.showing import cost
    from flyweight.windtunnel.study import open_study, require_optuna
    from flyweight.windtunnel.table import TrialsTable

    require_optuna()
    loaded = recipe_of(recipe, overrides)
    folder = corpus or Path("corpora") / loaded.name
    with StageProgress() as progress:
        prepare(loaded, folder, progress)
    found = open_study(loaded, open_corpus(folder), study or Path("studies") / loaded.name, storage)
    count = workers or os.cpu_count() or 1
    budget = Budget(
        None if budget_tokens is None else tokens_of(budget_tokens, "--budget-tokens"),
        None if budget_hours is None else time.time() + 3600 * budget_hours,
    )
    for line in cost(found, count):
        print(line, file=sys.stderr, flush=True)
    with TrialsTable(found) as table:
        candidates = run_search(
            found, folder, workers=count, budget=budget, look=table, confirmed=table.confirmed
        )
    path = write_result(found, candidates)
    record = found.load()
    figure = search_figure(record.get_trials(deepcopy=False), found.name)
    if figure is not None:
        write_figure(figure, found.folder / "pairs.png", "Bits per byte over every pair of knobs")
    if as_json:
        print(path.read_text())
        return
    for key, importance in knob_importances(record).items():
        print(
            f"{key}: {importance.share:.0%} of what decides ({importance.low:.0%} to {importance.high:.0%})"
        )
    for candidate in candidates:
        values = ", ".join(f"{key} {value:g}" for key, value in candidate.values.items())
        seeds = f" over {len(candidate.objectives)} seeds"
        spread = "" if candidate.spread is None else f" ± {candidate.spread:.4f}{seeds}"
        print(f"trial {candidate.number}: {candidate.mean:.4f} bits per byte{spread}: {values}")
    if not candidates:
        print("every trial diverged; search where the rates are lower.")
    print(f"result: {path}")


@tunnel.command()
def transfer(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    widths: Annotated[str, typer.Option(help="Values of hidden_size.")] = "32,64,128",
    depths: Annotated[str | None, typer.Option(help="Values of num_hidden_layers; the recipe's own.")] = None,
    rates: Annotated[
        str, typer.Option(help="First and last power of two of the learning rate, such as -10:-4.")
    ] = "-10:-4",
    kinds: Annotated[
        str | None, typer.Option(help="Parametrizations; the recipe's own and `standard` when left out.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each run.")] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="The sweep's folder; sweeps/NAME when left out.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs side by side; one a core.")] = None,
    corpus: CorpusOption = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plot to this .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Sweep the learning rate at several sizes: does the best one stay where it is when the model grows?

    All runs have the recipe's tokens; add training.tokens=500K for short ones. Ctrl-C stops, the same command goes on.
    """
    from flyweight.corpus import open_corpus, prepare
    from flyweight.plots import write_figure
    from flyweight.windtunnel.figures import transfer_figure
    from flyweight.windtunnel.showing import transfer_cost, transfer_lines
    from flyweight.windtunnel.transfer import Grid, powers_of_two, run_transfer
    from flyweight.windtunnel.trials import check_weights

    loaded = recipe_of(recipe, overrides)
    own = loaded.parametrization.kind
    first, _, last = rates.partition(":")
    try:
        swept = powers_of_two(int(first), int(last))
    except ValueError:
        raise UserError(f"--rates is {rates!r}; expected two powers of two such as -10:-4.") from None
    grid = Grid(
        kinds=tuple(kinds.split(",")) if kinds else tuple(dict.fromkeys((own, "standard"))),
        widths=tuple(_numbers(widths, "--widths")),
        depths=tuple(_numbers(depths, "--depths")) if depths else (loaded.model.num_hidden_layers,),
        rates=swept,
        seeds=seeds,
    )
    shards = corpus or Path("corpora") / loaded.name
    with StageProgress() as progress:
        prepare(loaded, shards, progress)
        check_weights(loaded.tunnel.weights, open_corpus(shards))
        count = workers or os.cpu_count() or 1
        print(transfer_cost(loaded, grid, count), file=sys.stderr, flush=True)
        found = run_transfer(
            loaded,
            grid,
            shards,
            folder or Path("sweeps") / loaded.name,
            workers=count,
            progress=lambda done: progress("runs", len(done) / grid.runs),
        )
    if plot is not None:
        write_figure(transfer_figure(found, loaded.name), plot, "Bits per byte over learning rates and sizes")
        print(f"plot: {plot}", file=sys.stderr)
    if as_json:
        print_json(found.to_dict())
        return
    for line in transfer_lines(found):
        print(line)


@tunnel.command()
def fly(
    recipe: RecipeArgument,
    study: Annotated[Path, typer.Argument(help="The study's folder.")],
    out: Annotated[Path, typer.Argument(help="The new recipe.")],
) -> None:
    """Write the target's recipe with what a study found, each value with where it is from."""
    from flyweight.windtunnel.flight import fly as write_recipe

    write_recipe(recipe_of(recipe, None), study, out)
    print(f"recipe: {out}")


def _shown(steps: int) -> list[int]:
    return sorted({0, 1, 2, steps // 2, steps} & set(range(steps + 1)))


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"{option} is {text!r}; expected whole numbers with commas between, such as 64,128,256."
        ) from None
