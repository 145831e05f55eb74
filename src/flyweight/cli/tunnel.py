"""The wind tunnel's commands."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    numbers_of,
    print_json,
    recipe_of,
    tokens_of,
)

if TYPE_CHECKING:
    from flyweight.windtunnel.search import Budget


class _SearchByDefault(TyperGroup):
    """`flyweight tunnel RECIPE` is `flyweight tunnel search RECIPE`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["search", *args]
        return super().resolve_command(ctx, args)


Workers = Annotated[int | None, typer.Option(min=1, help="Trials side by side; one a core when left out.")]
Storage = Annotated[
    str | None,
    typer.Option(help="URL of a database that several machines share, such as postgresql+psycopg://..."),
]
BudgetTokens = Annotated[
    str | None, typer.Option(help="Begin no trial once all together had this many tokens, such as 50M.")
]
BudgetHours = Annotated[float | None, typer.Option(help="Begin no trial after this many hours from now.")]

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
    chosen = default_widths(loaded.model) if widths is None else numbers_of(widths, "--widths")
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
    workers: Workers = None,
    storage: Storage = None,
    budget_tokens: BudgetTokens = None,
    budget_hours: BudgetHours = None,
    corpus: CorpusOption = None,
    as_json: Json = False,
) -> None:
    """Search the recipe's numbers on its proxy (its `tunnel:` section); Ctrl-C stops, the same command goes on."""
    from flyweight.corpus import open_corpus, prepare
    from flyweight.plots import write_figure
    from flyweight.windtunnel.costs import search_cost
    from flyweight.windtunnel.figures import search_figure
    from flyweight.windtunnel.flight import write_result
    from flyweight.windtunnel.importance import knob_importances
    from flyweight.windtunnel.lines import candidate_lines
    from flyweight.windtunnel.search import search as run_search
    from flyweight.windtunnel.study import open_study, require_optuna
    from flyweight.windtunnel.table import TrialsTable

    require_optuna()
    loaded = recipe_of(recipe, overrides)
    folder = corpus or Path("corpora") / loaded.name
    with StageProgress() as progress:
        prepare(loaded, folder, progress)
    found = open_study(loaded, open_corpus(folder), study or Path("studies") / loaded.name, storage)
    count = workers or os.cpu_count() or 1
    budget = budget_of(budget_tokens, budget_hours)
    for line in search_cost(found, count):
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
    for line in candidate_lines(found, candidates):
        print(line)
    if not candidates:
        print("every trial diverged; search where the rates are lower.")
    print(f"result: {path}")


@tunnel.command()
def ratio(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    study: Annotated[
        Path | None, typer.Option(help="The study's folder; studies/NAME-ratio when left out.")
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN@TOKENS",
            help="Branch off your own run of RECIPE, at its size, instead of a stable run of its proxy.",
        ),
    ] = None,
    workers: Workers = None,
    storage: Storage = None,
    budget_tokens: BudgetTokens = None,
    budget_hours: BudgetHours = None,
    corpus: CorpusOption = None,
    as_json: Json = False,
) -> None:
    """Search the shares of some sources in the decay (`tunnel.ratio`), by branches from one stable run.

    Ctrl-C stops, the same command goes on. `flyweight tunnel fly` writes the recipe with what was found.
    """
    from flyweight.corpus import open_corpus, prepare
    from flyweight.plots import write_figure
    from flyweight.windtunnel.costs import ratio_cost
    from flyweight.windtunnel.figures import response_figure
    from flyweight.windtunnel.flight import write_result
    from flyweight.windtunnel.lines import candidate_lines, response_lines
    from flyweight.windtunnel.ratio import open_ratio_study, own_candidate, response, train_stable
    from flyweight.windtunnel.search import search as run_search
    from flyweight.windtunnel.study import require_optuna
    from flyweight.windtunnel.table import TrialsTable

    require_optuna()
    loaded = recipe_of(recipe, overrides)
    folder = corpus or Path("corpora") / loaded.name
    with StageProgress() as progress:
        prepare(loaded, folder, progress)
    place = study or Path("studies") / f"{loaded.name}-ratio"
    count = workers or os.cpu_count() or 1
    found = open_ratio_study(loaded, open_corpus(folder), place, storage, start_from, workers=count)
    budget = budget_of(budget_tokens, budget_hours)
    print(ratio_cost(found, count), file=sys.stderr, flush=True)
    train_stable(found, folder, workers=count)
    with TrialsTable(found) as table:
        candidates = run_search(
            found, folder, workers=count, budget=budget, look=table, confirmed=table.confirmed
        )
    own = own_candidate(found, folder, workers=count)
    fitted = response(found, found.load().get_trials(deepcopy=False))
    more = {
        "own": {
            "shares": own.values,
            "objectives": list(own.objectives),
            "spread": own.spread,
            "diverged": own.diverged,
        },
        "response": None if fitted is None else fitted.to_dict(),
    }
    path = write_result(found, candidates, more)
    if fitted is not None:
        figure = response_figure(fitted, found.name, found.goal.unit)
        write_figure(figure, found.folder / "response.png", "The losses over the share in the decay")
    if as_json:
        print(path.read_text())
        return
    for line in candidate_lines(found, candidates):
        print(line)
    shares = ", ".join(f"{name} {share:.4g}" for name, share in own.values.items())
    came_to = "a seed diverged" if own.diverged else f"{own.mean:.4f} {found.goal.unit}"
    spread = "" if own.spread is None else f" ± {own.spread:.4f} over {len(own.objectives)} seeds"
    print(f"the recipe's own shares: {came_to}{spread}: {shares}")
    for line in [] if fitted is None else response_lines(fitted, found.goal.unit):
        print(line)
    if not candidates:
        print("every trial diverged; search where the rates are lower.")
    print(f"result: {path}")


@tunnel.command()
def fly(
    recipe: RecipeArgument,
    study: Annotated[Path, typer.Argument(help="The study's folder.")],
    out: Annotated[Path, typer.Argument(help="The new recipe.")],
) -> None:
    """Write the target's recipe with what a search or a ratio study found, each value with where it is from."""
    from flyweight.windtunnel.flight import fly as write_recipe

    write_recipe(recipe_of(recipe, None), study, out)
    print(f"recipe: {out}")


def until(hours: float | None) -> float | None:
    """The time, in seconds since the epoch, that is so many hours away."""
    return None if hours is None else time.time() + 3600 * hours


def budget_of(tokens: str | None, hours: float | None) -> Budget:
    """When a search stops early, by its options."""
    from flyweight.windtunnel.search import Budget

    return Budget(
        None if tokens is None else tokens_of(tokens, "--budget-tokens"),
        until(hours),
    )


def _shown(steps: int) -> list[int]:
    return sorted({0, 1, 2, steps // 2, steps} & set(range(steps + 1)))
