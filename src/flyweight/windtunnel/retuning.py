"""The proof of a wind tunnel: what was found on the proxy, against an optimum searched for at a larger size.

Published sweeps show that the best learning rate stays in its cell; what a user pays for carrying values over instead
of searching again is the difference that is measured here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus
from flyweight.recipe import Recipe
from flyweight.windtunnel.confirmation import Candidate
from flyweight.windtunnel.flight import read_result
from flyweight.windtunnel.study import Study, open_study
from flyweight.windtunnel.workers import Job, on_few_threads, run_jobs

CARRIED_FOLDER = "carried"


@dataclass(frozen=True)
class Retuning:
    """Carried values beside searched ones, at the same size and over the same tokens."""

    carried: Candidate
    """What the study on the proxy found."""
    searched: Candidate
    """The best that was found at this size."""

    @property
    def cost(self) -> float:
        """Bits per byte that carrying costs, relative to the searched optimum; below 0 where carried is better."""
        return self.carried.mean / self.searched.mean - 1

    @property
    def spread(self) -> float | None:
        """Standard error of `cost`, from the seeds of both; None where one has a single seed."""
        one, other = self.carried.spread, self.searched.spread
        if one is None or other is None:
            return None
        errors = (
            one / math.sqrt(len(self.carried.objectives)),
            other / math.sqrt(len(self.searched.objectives)),
        )
        return math.hypot(*errors) / self.searched.mean

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""

        def plain(one: Candidate) -> dict[str, Any]:
            return {
                "values": one.values,
                "objectives": list(one.objectives),
                "mean": one.mean,
                "spread": one.spread,
            }

        return {
            "carried": plain(self.carried), "searched": {"trial": self.searched.number, **plain(self.searched)},
            "cost": self.cost, "spread": self.spread,
        }  # fmt: skip


def open_retuning(
    recipe: Recipe,
    corpus: OpenCorpus,
    folder: Path,
    width: int,
    depth: int | None,
    storage: str | None = None,
) -> Study:
    """The search at the larger size, over the same space and tokens as the recipe's own.

    Raises:
        UserError: as `open_study`; or the size is no larger than the proxy's.
    """
    proxy = recipe.tunnel.proxy
    small = (
        proxy.hidden_size or recipe.model.hidden_size,
        proxy.num_hidden_layers or recipe.model.num_hidden_layers,
    )
    large = width, depth or small[1]
    if large[0] < small[0] or large[1] < small[1] or large == small:
        raise UserError(
            f"width {large[0]} with {large[1]} layers is not larger than the proxy, {small[0]} with {small[1]}; name a "
            f"size that the search has not seen."
        )
    wider = proxy.model_copy(update={"hidden_size": large[0], "num_hidden_layers": large[1]})
    changed = recipe.model_copy(
        update={"name": f"{recipe.name}-retuned", "tunnel": recipe.tunnel.model_copy(update={"proxy": wider})}
    )
    return open_study(changed, corpus, folder, storage)


def begin_with(study: Study, values: dict[str, float]) -> None:
    """Make these values the first trial of a search that has none: it then looks for what is better than they are."""
    record = study.load()
    if not record.get_trials(deepcopy=False):
        record.enqueue_trial(values)


def carry(study: Study, found: Path, corpus: Path, *, workers: int = 1) -> Candidate:
    """The best values of the finished study in `found`, trained at the size of `study` with as many seeds.

    Raises:
        Stopped: a signal came.
        UserError: no finished study in `found`, or one whose values this recipe does not take.
    """
    result = read_result(found)
    if result.shares is not None:
        raise UserError(f"{found}: this is a ratio study; expected one of `flyweight tunnel search`.")
    values = result.best.values
    jobs = [
        Job(f"seed-{seed}", on_few_threads(study.recipe(values, seed), workers))
        for seed in range(study.tunnel.seeds)
    ]
    outcomes = run_jobs(
        jobs, corpus, study.folder / CARRIED_FOLDER, workers=workers, weights=study.tunnel.weights
    )
    objectives = [outcomes[job.name].objective for job in jobs]
    kept = tuple(value for value in objectives if value is not None)
    return Candidate(result.best.number, values, kept, len(objectives) - len(kept))
