"""The runs that a scaling law is fitted to: for each size a stable run, and branches that decay at several lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flyweight import __version__
from flyweight.base import UserError, read_json, write_json
from flyweight.corpus import open_corpus
from flyweight.model import matrix_parameters, parameter_counts
from flyweight.recipe import Recipe, identity
from flyweight.windtunnel.branches import Tree, tokens_of_tree, tree
from flyweight.windtunnel.scaling_law import Fit, Measured, fit_law
from flyweight.windtunnel.trials import Goal, Outcome, measured_on
from flyweight.windtunnel.widths import sized
from flyweight.windtunnel.workers import keep_to_plan, run_jobs

LAW_FILE = "scaling_law.json"
BEGUN_FILE = "scaling_runs.json"

Size = tuple[int, int]
"""Width and depth."""


@dataclass(frozen=True)
class Ladder:
    """Which sizes are trained for how long."""

    sizes: tuple[Size, ...]
    """The law is fitted to these."""
    tokens: tuple[int, ...]
    """Where the branches of each size end, going up."""
    held_out: tuple[Size, ...] = ()
    """Trained like the others, to compare with what the law says of them; never fitted to."""
    seeds: int = 1

    def __post_init__(self) -> None:
        if list(self.tokens) != sorted(set(self.tokens)) or len(self.tokens) < 2 or len(self.sizes) < 2:
            raise UserError(
                f"a scaling law takes two sizes and two token counts at least, counts going up; found "
                f"{len(self.sizes)} and {list(self.tokens)}."
            )
        names = [*self.sizes, *self.held_out]
        if odd := next((size for size in names if names.count(size) > 1), None):
            raise UserError(f"the size {name_of(odd)} is named twice.")
        if self.seeds < 1:
            raise UserError(f"{self.seeds} seeds; expected one at least.")
        if len(self.sizes) * len(self.tokens) < 5:
            raise UserError(
                f"a scaling law has five coefficients; {len(self.sizes)} sizes at {len(self.tokens)} token counts are "
                f"too few branches."
            )


@dataclass(frozen=True)
class Branch:
    """A decayed branch, and what it came to."""

    width: int
    depth: int
    parameters: int
    """N of the law: those of its matrices (`flyweight.model.matrix_parameters`)."""
    total_parameters: int
    tokens: int
    seed: int
    objective: float
    """Weighted mean of bits per byte."""
    bits_per_byte: dict[str, float]
    """By source."""

    @property
    def measured(self) -> Measured:
        """As a point of the law."""
        return Measured(self.parameters, self.tokens, self.objective)


@dataclass(frozen=True)
class Scaling:
    """A law and all that was measured."""

    fit: Fit
    branches: tuple[Branch, ...]
    held_out: tuple[Branch, ...]
    about: dict[str, Any]
    """The recipe's identity, the ladder, the version, the corpus: what it holds for."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.about,
            "fit": self.fit.to_dict(),
            "branches": [asdict(branch) for branch in self.branches],
            "held_out": [
                asdict(branch) | {"predicted": list(self.fit.predict(branch.parameters, branch.tokens))}
                for branch in self.held_out
            ],
        }


def name_of(size: Size) -> str:
    """`64x4`: width 64, four layers."""
    return f"{size[0]}x{size[1]}"


def trees(recipe: Recipe, ladder: Ladder, folder: Path, workers: int) -> dict[tuple[Size, int], Tree]:
    """The runs of each size and seed; `folder` is where their folders will be.

    Raises:
        UserError: a size has no whole heads, or the recipe no stable stage for a length.
    """
    found = {}
    for size in (*ladder.sizes, *ladder.held_out):
        base = sized(recipe, recipe.parametrization.kind, *size)
        for seed in range(ladder.seeds):
            run = base.model_copy(update={"seed": recipe.seed + seed})
            prefix = f"{name_of(size)}-seed-{seed}"

            def name(tokens: int | None, prefix: str = prefix) -> str:
                return f"{prefix}-stable" if tokens is None else f"{prefix}-tokens-{tokens}"

            found[size, seed] = tree(run, ladder.tokens, folder, workers, name)
    return found


def run_scaling(
    recipe: Recipe,
    ladder: Ladder,
    corpus: Path,
    folder: Path,
    *,
    workers: int = 1,
    until: float | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Scaling:
    """Run what is left of the ladder and fit the law, which is written to LAW_FILE in `folder`.

    Args:
        recipe: its parametrization, schedules, data and settings are those of every run.
        ladder: sizes and lengths. The folder keeps it: another one is refused.
        corpus: folder of the token shards.
        folder: of the runs and the law.
        workers: processes.
        until: begin no run after this time, in seconds since the epoch.
        progress: told how many runs are done, now and then.

    Raises:
        Stopped: a signal came, or the time is over.
        UserError: the folder holds other runs, a branch diverged, or the recipe has no stable stage.
    """
    runs = folder / "runs"
    planned = trees(recipe, ladder, runs, workers)
    about = {
        "format": 1,
        "version": __version__,
        "recipe": identity(recipe),
        "weights": dict(recipe.tunnel.weights),
        "measured on": measured_on(recipe),
        "corpus": open_corpus(corpus).fingerprint,
        "ladder": asdict(ladder),
    }
    keep_to_plan(folder / BEGUN_FILE, about, "this ladder of runs")
    stable = [one.stable for one in planned.values()]
    branches = [branch for one in planned.values() for branch in one.branches]
    goal = Goal(recipe.tunnel.weights)
    trunks = run_jobs(
        stable,
        corpus,
        runs,
        workers=workers,
        goal=goal,
        until=until,
        progress=lambda done: progress(len(done)),
    )
    for name, outcome in trunks.items():
        if outcome.objective is None:
            raise UserError(
                f"{name} diverged ({outcome.reason}); lower training.learning_rate, in another folder."
            )
    outcomes = run_jobs(
        branches, corpus, runs, workers=workers, goal=goal, until=until,
        progress=lambda done: progress(len(stable) + len(done)),
    )  # fmt: skip
    found = {size: [] for size in (*ladder.sizes, *ladder.held_out)}
    for (size, seed), one in planned.items():
        for tokens, branch in zip(ladder.tokens, one.branches, strict=True):
            found[size].append(_branch(size, tokens, seed, branch.recipe, outcomes[branch.name]))
    fitted = tuple(branch for size in ladder.sizes for branch in found[size])
    held_out = tuple(branch for size in ladder.held_out for branch in found[size])
    result = Scaling(fit_law([branch.measured for branch in fitted]), fitted, held_out, about)
    write_json(folder / LAW_FILE, result.to_dict())
    return result


def read_scaling(path: Path) -> Scaling:
    """A law that was written; `path` is its file or its folder.

    Raises:
        UserError: there is none.
    """
    file = path / LAW_FILE if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{path}: no scaling law here ({LAW_FILE}); `flyweight tunnel law` makes one.")
    data = read_json(file, "scaling law")
    try:
        return Scaling(
            Fit.from_dict(data["fit"]),
            tuple(Branch(**branch) for branch in data["branches"]),
            tuple(
                Branch(**{key: value for key, value in branch.items() if key != "predicted"})
                for branch in data["held_out"]
            ),
            {
                key: data[key]
                for key in ("format", "version", "recipe", "weights", "measured on", "corpus", "ladder")
            },
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{file}: this is no scaling law as Flyweight writes it ({error}).") from None


def tokens_of_ladder(planned: dict[tuple[Size, int], Tree]) -> dict[Size, int]:
    """Tokens that all runs of each size take."""
    found: dict[Size, int] = {}
    for (size, _), one in planned.items():
        found[size] = found.get(size, 0) + tokens_of_tree(one)
    return found


def _branch(size: Size, tokens: int, seed: int, recipe: Recipe, outcome: Outcome) -> Branch:
    if outcome.objective is None:
        raise UserError(
            f"the run of {name_of(size)} over {tokens:,} tokens diverged ({outcome.reason}); lower "
            f"training.learning_rate, in another folder."
        )
    return Branch(
        width=size[0],
        depth=size[1],
        parameters=matrix_parameters(recipe.model),
        total_parameters=parameter_counts(recipe.model)["total"],
        tokens=outcome.clock,
        seed=seed,
        objective=outcome.objective,
        bits_per_byte=outcome.bits_per_byte,
    )
