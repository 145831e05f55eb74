"""The wind tunnel's commands over several sizes: transfer, scaling law, retuning."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

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
from flyweight.cli.tunnel import BudgetHours, BudgetTokens, Storage, Workers, budget_of, tunnel, until


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
    tokens_per_parameter: Annotated[
        float | None,
        typer.Option(
            help="Tokens of a run, times its model's parameters; the recipe's tokens when left out."
        ),
    ] = None,
    workers: Workers = None,
    budget_hours: BudgetHours = None,
    corpus: CorpusOption = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plot to this .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Sweep the learning rate at several sizes: does the best one stay where it is when the model grows?

    All runs have the recipe's tokens (add training.tokens=500K for short ones) or, of these, as many as a multiple
    of their model's parameters. Ctrl-C stops, the same command goes on.
    """
    from flyweight.corpus import open_corpus, prepare
    from flyweight.plots import write_figure
    from flyweight.windtunnel.costs import transfer_cost
    from flyweight.windtunnel.figures import transfer_figure
    from flyweight.windtunnel.lines import transfer_lines
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
        widths=tuple(numbers_of(widths, "--widths")),
        depths=tuple(numbers_of(depths, "--depths")) if depths else (loaded.model.num_hidden_layers,),
        rates=swept,
        seeds=seeds,
        tokens_per_parameter=tokens_per_parameter,
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
            until=until(budget_hours),
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
def law(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    sizes: Annotated[
        str,
        typer.Option(
            help="Widths to fit the law to, such as 64,96,128; or width and layers, such as 64x4,96x6."
        ),
    ] = "32,64,96",
    tokens: Annotated[
        str | None,
        typer.Option(help="Where the branches end; the recipe's tokens and its halves when left out."),
    ] = None,
    held_out: Annotated[
        str | None, typer.Option(help="Sizes to train as well and to compare with what the law says of them.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each branch.")] = 1,
    folder: Annotated[
        Path | None, typer.Option(help="The folder of the runs and the law; laws/NAME when left out.")
    ] = None,
    workers: Workers = None,
    budget_hours: BudgetHours = None,
    corpus: CorpusOption = None,
    plot: Annotated[Path | None, typer.Option(help="Write the plot to this .png or .svg.")] = None,
    as_json: Json = False,
) -> None:
    """Fit how bits per byte fall with parameters and tokens, from branches that decay off a stable run of each size.

    `flyweight plan RECIPE --law FOLDER` then predicts a run. Ctrl-C stops, the same command goes on.
    """
    from flyweight.corpus import open_corpus, prepare
    from flyweight.plots import write_figure
    from flyweight.windtunnel.costs import ladder_cost
    from flyweight.windtunnel.figures import scaling_figure
    from flyweight.windtunnel.lines import scaling_lines
    from flyweight.windtunnel.scaling_runs import LAW_FILE, Ladder, run_scaling, trees
    from flyweight.windtunnel.trials import check_weights

    loaded = recipe_of(recipe, overrides)
    whole = loaded.training.tokens
    depth = loaded.model.num_hidden_layers
    ladder = Ladder(
        sizes=_sizes(sizes, "--sizes", depth),
        tokens=(whole // 8, whole // 4, whole // 2, whole)
        if tokens is None
        else tuple(tokens_of(part, "--tokens") for part in tokens.split(",")),
        held_out=() if held_out is None else _sizes(held_out, "--held-out", depth),
        seeds=seeds,
    )
    shards, place = corpus or Path("corpora") / loaded.name, folder or Path("laws") / loaded.name
    count = workers or os.cpu_count() or 1
    planned = trees(loaded, ladder, place / "runs", count)
    runs = sum(1 + len(one.branches) for one in planned.values())
    with StageProgress() as progress:
        prepare(loaded, shards, progress)
        check_weights(loaded.tunnel.weights, open_corpus(shards))
        print(ladder_cost(loaded, ladder, planned, count), file=sys.stderr, flush=True)
        found = run_scaling(
            loaded,
            ladder,
            shards,
            place,
            workers=count,
            until=until(budget_hours),
            progress=lambda done: progress("runs", done / runs),
        )
    if plot is not None:
        write_figure(
            scaling_figure(found, loaded.name), plot, "Bits per byte over tokens by size, and the fitted law"
        )
        print(f"plot: {plot}", file=sys.stderr)
    if as_json:
        print_json(found.to_dict())
        return
    for line in scaling_lines(found):
        print(line)
    print(f"law: {place / LAW_FILE}")


@tunnel.command()
def retune(
    recipe: RecipeArgument,
    study: Annotated[Path, typer.Argument(help="The finished study whose best values are carried.")],
    overrides: Overrides = None,
    width: Annotated[int, typer.Option(min=1, help="hidden_size of the larger model.")] = 256,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Its num_hidden_layers; the proxy's when left out.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The folder of the new search; studies/NAME-retuned when left out.")
    ] = None,
    workers: Workers = None,
    storage: Storage = None,
    budget_tokens: BudgetTokens = None,
    budget_hours: BudgetHours = None,
    corpus: CorpusOption = None,
    as_json: Json = False,
) -> None:
    """Search again at a larger size, and say what carrying the proxy's values over would have cost there.

    The search begins with the carried values. Trials, sampler and tokens are those of the recipe's `tunnel:` section.
    Ctrl-C stops, the same command goes on.
    """
    from flyweight.base import write_json
    from flyweight.corpus import open_corpus, prepare
    from flyweight.windtunnel.costs import search_cost
    from flyweight.windtunnel.flight import write_result
    from flyweight.windtunnel.lines import candidate_lines
    from flyweight.windtunnel.retuning import (
        Retuning,
        begin_with,
        best_other,
        carried_values,
        carry,
        open_retuning,
    )
    from flyweight.windtunnel.search import search
    from flyweight.windtunnel.study import require_optuna
    from flyweight.windtunnel.table import TrialsTable

    require_optuna()
    loaded = recipe_of(recipe, overrides)
    shards = corpus or Path("corpora") / loaded.name
    with StageProgress() as progress:
        prepare(loaded, shards, progress)
    place = folder or Path("studies") / f"{loaded.name}-retuned"
    found = open_retuning(loaded, open_corpus(shards), place, width, depth, storage)
    count = workers or os.cpu_count() or 1
    best = carried_values(found, study)
    for line in search_cost(found, count, carried=found.tunnel.seeds):
        print(line, file=sys.stderr, flush=True)
    budget = budget_of(budget_tokens, budget_hours)
    carried = carry(found, best, shards, workers=count)
    begin_with(found, carried.values)
    with TrialsTable(found) as table:
        candidates = search(
            found, shards, workers=count, budget=budget, look=table, confirmed=table.confirmed
        )
    write_result(found, candidates)
    searched = best_other(candidates, carried)
    if carried.diverged:
        raise UserError(
            f"the carried values diverged with {carried.diverged} of the seeds: they do not carry here."
        )
    if searched is None:
        raise UserError(
            "every other trial was pruned or diverged: nothing that was tried comes near the carried values."
        )
    retuning = Retuning(carried, searched)
    write_json(place / "retuning.json", retuning.to_dict())
    if as_json:
        print_json(retuning.to_dict())
        return
    print("carried:", *candidate_lines(found, [carried]))
    print("searched:", *candidate_lines(found, [searched]))
    error = "" if retuning.error is None else f" (standard error {retuning.error:.2%})"
    print(f"carrying costs {retuning.cost:+.2%} bits per byte{error}")
    print(f"result: {place / 'retuning.json'}")


def _sizes(text: str, option: str, depth: int) -> tuple[tuple[int, int], ...]:
    found = []
    for part in text.split(","):
        width, times, layers = part.partition("x")
        try:
            found.append((int(width), int(layers) if times else depth))
        except ValueError:
            raise UserError(
                f"{option}: {part!r} is no size; expected a width such as 64, or width and layers such as 64x4."
            ) from None
        if min(found[-1]) < 1:
            raise UserError(f"{option}: {part!r} is no size; expected a width and layers of one at least.")
    return tuple(found)
