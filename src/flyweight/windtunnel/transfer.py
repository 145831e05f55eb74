"""Transfer: whether the learning rate that is best for a narrow model is best for a wide one.

The same sweep of rates is run at several widths (or depths), with the recipe's parametrization and with another, at
equal tokens or at equal tokens per parameter. Under µP the optimum is expected to stay in its cell of the grid, without
it to move towards lower rates as the model gets wider (arXiv 2203.03466, figure 1). The grid is fixed before the first
run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flyweight import __version__
from flyweight.base import UserError
from flyweight.corpus import open_corpus
from flyweight.model import parameter_counts
from flyweight.recipe import Recipe, identity
from flyweight.windtunnel.proxy import shortened, with_values
from flyweight.windtunnel.trials import Goal, Outcome, measured_on
from flyweight.windtunnel.widths import sized
from flyweight.windtunnel.workers import Job, keep_to_plan, on_few_threads, run_jobs

GRID_FILE = "grid.json"
RATE = "training.learning_rate"
Kind = Literal["standard", "mup", "minicpm", "xmodel-2.5"]


@dataclass(frozen=True)
class Grid:
    """What is swept, fixed beforehand."""

    kinds: tuple[str, ...]
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    rates: tuple[float, ...]
    """In factors of two, going up."""
    seeds: int = 3
    tokens_per_parameter: float | None = None
    """Tokens of a run, as a multiple of its model's parameters; the recipe's own tokens at every size where None."""

    def __post_init__(self) -> None:
        if list(self.rates) != sorted(set(self.rates)) or len(self.rates) < 3:
            raise UserError(f"a sweep takes three rates or more that go up; found {list(self.rates)}.")
        if min(len(self.kinds), len(self.widths), len(self.depths), self.seeds) < 1:
            raise UserError("a sweep needs a parametrization, a width, a depth and a seed at least.")
        if self.tokens_per_parameter is not None and not 0 < self.tokens_per_parameter < math.inf:
            raise UserError(f"{self.tokens_per_parameter:g} tokens per parameter; expected more than 0.")

    @property
    def runs(self) -> int:
        """How many there are."""
        return len(self.kinds) * len(self.widths) * len(self.depths) * len(self.rates) * self.seeds


@dataclass(frozen=True)
class Optimum:
    """Where a sweep at one size is lowest."""

    cell: int
    """Place of the best rate in the grid, by the mean over seeds."""
    rate: float
    """The lowest point of a parabola through it and its neighbours, in log2 of the rate; the cell's at an edge."""
    objective: float
    """Mean over seeds in the best cell."""
    cells_of_seeds: tuple[int, ...]
    """The best cell of each seed by itself."""
    at_edge: bool
    """The best cell is the first or last of the grid: the optimum may lie outside."""


@dataclass(frozen=True, eq=False)
class Transfer:
    """What a sweep came to."""

    grid: Grid
    objectives: dict[tuple[str, int, int], np.ndarray]
    """By parametrization, width and depth: (rates, seeds) bits per byte, inf where a run diverged."""
    parameters: dict[tuple[int, int], int] = field(default_factory=dict)
    """By width and depth."""

    def optimum(self, kind: str, width: int, depth: int) -> Optimum:
        """Where this sweep is lowest.

        Raises:
            UserError: every run of it diverged.
        """
        values = self.objectives[kind, width, depth]
        means = values.mean(axis=1)
        if not np.isfinite(means).any():
            raise UserError(
                f"{kind} at width {width}: no rate of the grid was sound with every seed; add lower ones."
            )
        cell = int(np.argmin(means))
        return Optimum(
            cell,
            _lowest(self.grid.rates, means, cell),
            float(means[cell]),
            tuple(int(np.argmin(values[:, seed])) for seed in range(values.shape[1])),
            cell in (0, len(means) - 1),
        )

    def sound_optimum(self, kind: str, width: int, depth: int) -> Optimum | None:
        """The same; None where every rate diverged with some seed."""
        sound = np.isfinite(self.objectives[kind, width, depth].mean(axis=1)).any()
        return self.optimum(kind, width, depth) if sound else None

    def moved(self, kind: str, *, along: Literal["width", "depth"] = "width") -> float | None:
        """Cells of a factor of two by which the optimum moves from the smallest to the largest; up is positive.

        None where one of them has none.
        """
        sizes = self.grid.widths if along == "width" else self.grid.depths
        found = []
        for size in (sizes[0], sizes[-1]):
            width = size if along == "width" else self.grid.widths[0]
            depth = size if along == "depth" else self.grid.depths[0]
            found.append(self.sound_optimum(kind, width, depth))
        first, last = found
        return None if first is None or last is None else math.log2(last.rate / first.rate)

    def loss_of_carrying(self, kind: str, width: int, depth: int) -> float | None:
        """What the best rate of the smallest size costs at this one: bits per byte above its own best cell.

        None where the smallest has no best rate, or that rate diverges here.
        """
        small = self.sound_optimum(kind, self.grid.widths[0], self.grid.depths[0])
        means = self.objectives[kind, width, depth].mean(axis=1)
        if small is None or not math.isfinite(means[small.cell]):
            return None
        return float(means[small.cell] - means.min())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        rows = []
        for (kind, width, depth), values in self.objectives.items():
            best = self.sound_optimum(kind, width, depth)
            rows.append(
                {
                    "parametrization": kind,
                    "width": width,
                    "depth": depth,
                    "parameters": self.parameters.get((width, depth)),
                    "bits_per_byte": [
                        [value if math.isfinite(value) else None for value in row] for row in values
                    ],
                    "best_rate": best and best.rate,
                    "best_cell": best and best.cell,
                    "best_cells_of_seeds": best and list(best.cells_of_seeds),
                    "at_edge": best and best.at_edge,
                    "best": best and best.objective,
                    "loss_of_carrying": self.loss_of_carrying(kind, width, depth),
                }
            )
        return {
            "rates": list(self.grid.rates),
            "seeds": self.grid.seeds,
            "cells_moved": {
                kind: {
                    "width": self.moved(kind) if len(self.grid.widths) > 1 else None,
                    "depth": self.moved(kind, along="depth") if len(self.grid.depths) > 1 else None,
                }
                for kind in self.grid.kinds
            },
            "sweeps": rows,
        }


def swept_recipe(recipe: Recipe, grid: Grid, kind: str, width: int, depth: int) -> Recipe:
    """The recipe of all runs at one size, before its rate and seed.

    Raises:
        UserError: as `sized`; or the size would need more tokens than the recipe has.
    """
    base = sized(recipe, kind, width, depth)
    if grid.tokens_per_parameter is None:
        return base
    parameters = parameter_counts(base.model)["total"]
    tokens = round(grid.tokens_per_parameter * parameters)
    if tokens > recipe.training.tokens:
        raise UserError(
            f"width {width} with {depth} layers has {parameters:,} parameters: {grid.tokens_per_parameter:g} tokens "
            f"for each are {tokens:,}, more than the recipe's {recipe.training.tokens:,}; raise training.tokens."
        )
    return shortened(base, tokens)


def transfer_jobs(recipe: Recipe, grid: Grid, workers: int) -> dict[tuple[str, int, int, int, int], Job]:
    """Every run of the grid, by parametrization, width, depth, cell and seed."""
    jobs = {}
    for kind in grid.kinds:
        for width in grid.widths:
            for depth in grid.depths:
                base = on_few_threads(swept_recipe(recipe, grid, kind, width, depth), workers)
                for cell, rate in enumerate(grid.rates):
                    tuned = with_values(base, {RATE: rate})
                    for seed in range(grid.seeds):
                        name = f"{kind}-{width}x{depth}-rate-{rate:.6g}-seed-{seed}"
                        changed = tuned.model_copy(update={"seed": recipe.seed + seed})
                        jobs[kind, width, depth, cell, seed] = Job(name, changed)
    return jobs


def gather(
    grid: Grid,
    jobs: Mapping[tuple[str, int, int, int, int], Job],
    outcomes: Mapping[str, Outcome],
    parameters: Mapping[tuple[int, int], int],
) -> Transfer:
    """The outcomes of all jobs as sweeps."""
    objectives = {
        (kind, width, depth): np.full((len(grid.rates), grid.seeds), np.inf)
        for kind in grid.kinds
        for width in grid.widths
        for depth in grid.depths
    }
    for (kind, width, depth, cell, seed), job in jobs.items():
        value = outcomes[job.name].objective
        objectives[kind, width, depth][cell, seed] = math.inf if value is None else value
    return Transfer(grid, objectives, dict(parameters))


def run_transfer(
    recipe: Recipe,
    grid: Grid,
    corpus: Path,
    folder: Path,
    *,
    workers: int = 1,
    until: float | None = None,
    progress: Callable[[dict[str, Outcome]], None] = lambda done: None,
) -> Transfer:
    """Run the grid, or what is left of it.

    Args:
        recipe: the model at any of the widths; its schedules, data and settings are those of every run.
        grid: the sweep. The folder keeps it: another one is refused.
        corpus: folder of the token shards.
        folder: of the sweep.
        workers: processes.
        until: begin no run after this time, in seconds since the epoch.
        progress: told of finished runs, now and then.

    Raises:
        Stopped: a signal came, or the time is over.
        UserError: the folder holds another sweep, or a size has no whole heads.
    """
    jobs = transfer_jobs(recipe, grid, workers)
    about = {
        "recipe": identity(recipe),
        "grid": asdict(grid),
        "version": __version__,
        "corpus": open_corpus(corpus).fingerprint,
        "weights": dict(recipe.tunnel.weights),
        "measured on": measured_on(recipe),
    }
    keep_to_plan(folder / GRID_FILE, about, "this sweep")
    outcomes = run_jobs(
        list(jobs.values()),
        corpus,
        folder / "runs",
        workers=workers,
        goal=Goal(recipe.tunnel.weights),
        until=until,
        progress=progress,
    )
    parameters = {
        (width, depth): parameter_counts(sized(recipe, grid.kinds[0], width, depth).model)["total"]
        for width in grid.widths
        for depth in grid.depths
    }
    return gather(grid, jobs, outcomes, parameters)


def powers_of_two(first: int, last: int) -> tuple[float, ...]:
    """2^first to 2^last, going up."""
    return tuple(2.0**power for power in range(first, last + 1))


def _lowest(rates: Sequence[float], means: np.ndarray, cell: int) -> float:
    if not 0 < cell < len(rates) - 1 or not np.isfinite(means[cell - 1 : cell + 2]).all():
        return rates[cell]
    left, middle, right = means[cell - 1 : cell + 2]
    curvature = left - 2 * middle + right
    shift = 0.0 if curvature <= 0 else 0.5 * (left - right) / curvature
    step = statistics.mean(
        (math.log2(rates[cell + 1] / rates[cell]), math.log2(rates[cell] / rates[cell - 1]))
    )
    return rates[cell] * 2 ** (shift * step)
