"""The data ratio of the decay: branches from one stable run, each with other shares of some sources.

Xmodel-2 asked two questions of its instruction data: how large a share of the decay it should have, and how that is
split between its kinds (arXiv 2412.19638, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus
from flyweight.inference import find_checkpoint, read_checkpoint_recipe, read_state
from flyweight.recipe import Benchmarks, Knob, Ratio, Recipe, identity_hash, recipe_from_dict
from flyweight.training.benchmarks import check_benchmarks
from flyweight.windtunnel.branches import decay_start, stable_run
from flyweight.windtunnel.confirmation import Candidate, run_seeds
from flyweight.windtunnel.mixing_law import Response, fit_response, least_points
from flyweight.windtunnel.proxy import proxy_recipe
from flyweight.windtunnel.study import Study, keep_to
from flyweight.windtunnel.trials import Goal
from flyweight.windtunnel.workers import Job, run_jobs

if TYPE_CHECKING:
    import optuna

SHARE = "share"
"""The knob of the total share."""

PART = "part."
"""How knobs of the split begin: PART + source."""

STABLE = "stable"
"""The folder of the stable run, in the study's."""


@dataclass(frozen=True)
class RatioStudy(Study):
    """A search for the shares of some sources in the decay."""

    stable: tuple[Job, ...] = ()
    """The stable run of each seed; none where the branches start from a run of the user's."""
    own_run: str = ""
    """That run's checkpoint."""

    def start(self, seed: int = 0) -> str | None:
        """The checkpoint that branches of this seed leave from.

        The order of the data is the seed's: a branch of another seed would read again what the stable run had read.
        """
        return f"{self.folder / self.stable[seed].name}@{self.begin}" if self.stable else self.own_run

    @property
    def ratio(self) -> Ratio:
        """What is searched."""
        assert self.tunnel.ratio is not None
        return self.tunnel.ratio

    def recipe(self, values: dict[str, float], seed: int = 0) -> Recipe:
        """The proxy with the shares that these values mean, and with another seed for all but 0."""
        changed = with_shares(self.proxy, shares_of(values, self.ratio.sources))
        return changed.model_copy(update={"seed": self.proxy.seed + seed})

    @property
    def goal(self) -> Goal:
        """Bits per byte, and the errors of tasks that the recipe names."""
        ratio = self.ratio
        tasks = Benchmarks(tasks=tuple(ratio.tasks), items=ratio.items, data=ratio.data)
        return Goal(self.tunnel.weights, ratio.tasks, tasks)

    @property
    def shown_keys(self) -> list[str]:
        """The sources whose shares are searched."""
        return list(self.ratio.sources)

    def shown(self, values: Mapping[str, float]) -> dict[str, float]:
        """The shares by source."""
        return shares_of(values, self.ratio.sources)


def shares_of(values: Mapping[str, float], sources: Sequence[str]) -> dict[str, float]:
    """The share of each source that the knobs' values mean.

    The split is of -log of its knobs, which even draws spread evenly over all splits (a Dirichlet distribution from
    exponential ones: Devroye, Non-Uniform Random Variate Generation, 1986, section XI.4).
    """
    if len(sources) == 1:
        return {sources[0]: values[SHARE]}
    drawn = {name: -math.log(values[PART + name]) for name in sources}
    total = sum(drawn.values())
    return {name: values[SHARE] * part / total for name, part in drawn.items()}


def own_shares(recipe: Recipe, sources: Sequence[str]) -> dict[str, float]:
    """The shares that the recipe itself gives them in its decay, on average."""
    clocks = np.linspace(decay_start(recipe), recipe.training.tokens, 1001)[:-1]
    lines = recipe.training.mixture_timelines()
    return {name: round(float(lines[name].values(clocks).mean()), 12) for name in sources}


def with_shares(recipe: Recipe, shares: Mapping[str, float]) -> Recipe:
    """The recipe with these shares throughout its decay; the other sources keep their proportions there.

    Raises:
        UserError: the other sources have no share in the decay to keep, or the mixture is moving when it begins.
    """
    start = decay_start(recipe)
    lines = recipe.training.mixture_timelines()
    rest = {name: line.at(start) for name, line in lines.items() if name not in shares}
    if not sum(rest.values()) > 0:
        rest = {name: lines[name].at(start - 1) for name in rest}
    if not sum(rest.values()) > 0:
        raise UserError(
            f"tunnel.ratio: beside {', '.join(shares)} no source has a share when the decay begins; their share is all "
            f"there is."
        )
    data = recipe.to_dict()
    knots = data["training"]["mixture"]
    after = [knot for knot in knots if knot["at"] >= start]
    if after and after[0]["shape"] == "linear" and _moves(knots, after[0]):
        raise UserError(
            f"tunnel.ratio: the mixture is moving when the decay begins, at {start:,} tokens; let it be steady before, "
            f"with a knot of `training.mixture` there."
        )
    left = max(0.0, 1 - sum(shares.values())) / sum(rest.values())  # a sum of shares may be 1 and a bit
    weights = {name: shares[name] if name in shares else rest[name] * left for name in lines}
    data["training"]["mixture"] = [
        *(knot for knot in knots if knot["at"] < start),
        {"at": start, "weights": weights, "shape": "step"},
    ]
    return recipe_from_dict(data, "with other shares in the decay")


def open_ratio_study(
    recipe: Recipe,
    corpus: OpenCorpus,
    folder: Path,
    storage: str | None = None,
    start_from: str | None = None,
    *,
    workers: int = 1,
) -> RatioStudy:
    """The ratio study of `recipe` in `folder`, which is made or, if it is this very study, gone on with.

    Args:
        recipe: with `tunnel.ratio`.
        corpus: its token shards.
        folder: of the study.
        storage: URL of a database that several machines share.
        start_from: RUN@TOKENS of a run of the recipe's own model, at its size; stable runs of its proxy are trained
            where left out.
        workers: processes that will share the machine.

    Raises:
        UserError: no `tunnel.ratio`, sources that it names but the recipe lacks, no stable stage, or the folder holds
            another study.
    """
    ratio = recipe.tunnel.ratio
    if ratio is None:
        raise UserError(
            f"{recipe.name}: there is no `tunnel.ratio`, which says the shares of which sources are searched; such as "
            f"tunnel: {{ratio: {{sources: [instructions]}}}}."
        )
    if odd := [name for name in ratio.sources if name not in recipe.sources]:
        raise UserError(f"tunnel.ratio.sources names {odd[0]!r}; the sources are {sorted(recipe.sources)}.")
    if set(ratio.sources) == set(recipe.sources):
        raise UserError(
            "tunnel.ratio.sources names all sources there are; leave out those that are to make room."
        )
    base = proxy_recipe(recipe, recipe.tunnel.proxy) if start_from is None else recipe
    base = base.model_copy(update={"name": f"{recipe.name}-ratio"})
    tunnel = recipe.tunnel.model_copy(
        update={
            "space": _space(ratio), "trials": ratio.trials, "prune": "none", "rungs": 1,
            "weights": ratio.weights or recipe.tunnel.weights,
        }
    )  # fmt: skip
    left_out = {"trials", "data"} | (set() if ratio.tasks else {"tasks", "items"})
    more: dict[str, Any] = {"ratio": ratio.model_dump(mode="json", exclude=left_out)}
    stable: tuple[Job, ...] = ()
    own_run, clock = "", 0
    if start_from is None:
        for seed in range(tunnel.seeds):
            seeded = base.model_copy(update={"seed": base.seed + seed})
            name = STABLE if seed == 0 else f"{STABLE}-seed-{seed}"
            job, (clock,) = stable_run(seeded, [decay_start(base)], name, workers)
            stable += (job,)
    else:
        checkpoint = find_checkpoint(start_from)
        own_run, clock = str(checkpoint), _clock_of(checkpoint, decay_start(base))
        more["from"] = f"{identity_hash(read_checkpoint_recipe(checkpoint))}@{clock}"
    study = RatioStudy(folder, base, tunnel, storage, stable=stable, own_run=own_run, begin=clock)
    with_shares(base, dict.fromkeys(ratio.sources, ratio.high / len(ratio.sources)))  # so that it is told now
    _check_tasks(study)
    keep_to(study, corpus, more)
    return study


def train_stable(study: RatioStudy, corpus: Path, *, workers: int = 1) -> None:
    """Train the stable runs that the branches start from, or what is left of them; nothing where the user gave one.

    Raises:
        Stopped: a signal came.
        UserError: one diverged.
    """
    outcomes = run_jobs(study.stable, corpus, study.folder, workers=workers, goal=Goal(study.tunnel.weights))
    for outcome in outcomes.values():
        if outcome.objective is None:
            raise UserError(
                f"the stable run diverged ({outcome.reason}); lower training.learning_rate, in another study."
            )


def own_candidate(study: RatioStudy, corpus: Path, *, workers: int = 1) -> Candidate:
    """The recipe's own mixture, trained with as many seeds as a candidate: what the search is compared with."""
    return run_seeds(
        study,
        -1,
        own_shares(study.proxy, study.ratio.sources),
        lambda seed: study.proxy.model_copy(update={"seed": study.proxy.seed + seed}),
        study.folder / "own",
        corpus,
        workers=workers,
    )


def response(study: RatioStudy, trials: Sequence[optuna.trial.FrozenTrial]) -> Response | None:
    """How the losses answer to the shares, by all complete trials; None where they are too few."""
    complete = [
        trial for trial in trials if trial.state.name == "COMPLETE" and "bits_per_byte" in trial.user_attrs
    ]
    if len(complete) < least_points(len(study.ratio.sources)):
        return None
    losses = [
        {**trial.user_attrs["bits_per_byte"], **trial.user_attrs.get("errors", {})} for trial in complete
    ]
    return fit_response(
        study.ratio.sources,
        [study.shown(trial.params) for trial in complete],
        losses,
        study.goal.all_weights(complete[0].user_attrs["bits_per_byte"]),
        (study.ratio.low, study.ratio.high),
    )


def _clock_of(checkpoint: Path, decay: int) -> int:
    """The clock of the user's checkpoint, in tokens; refused where it lies within the decay."""
    clock = int(read_state(checkpoint)["clock"])
    if clock > decay:
        raise UserError(
            f"--from {checkpoint}: that checkpoint is at {clock:,} tokens, after the decay began at {decay:,}; name an "
            f"earlier one with RUN@TOKENS."
        )
    return clock


def _check_tasks(study: RatioStudy) -> None:
    """Whether the tasks of the objective can be measured, before hours are spent on what they are to judge.

    Raises:
        UserError: they cannot, or one is called like a source.
    """
    if both := sorted(set(study.ratio.tasks) & set(study.proxy.sources)):
        raise UserError(
            f"tunnel.ratio.tasks: {both[0]!r} is the name of a source as well; rename the source."
        )
    evaluation = study.proxy.evaluation.model_copy(update={"benchmarks": study.goal.benchmarks})
    check_benchmarks(study.proxy.model_copy(update={"evaluation": evaluation}))


def _space(ratio: Ratio) -> dict[str, Knob]:
    space = {SHARE: Knob(low=ratio.low, high=ratio.high)}
    if len(ratio.sources) > 1:
        space |= {PART + name: Knob(low=1e-3, high=1 - 1e-3) for name in ratio.sources}
    return space


def _moves(knots: Sequence[dict[str, Any]], knot: dict[str, Any]) -> bool:
    """Whether the weights at a knot are others than at the one before."""
    return knots[knots.index(knot) - 1]["weights"] != knot["weights"]
