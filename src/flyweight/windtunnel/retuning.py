"""The proof of a wind tunnel: what was found on the proxy, against an optimum searched for at a larger size.

Published sweeps show that the best learning rate stays in its cell; what a user pays for carrying values over instead
of searching again is the difference that is measured here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyweight.base import UserError, read_json
from flyweight.corpus import OpenCorpus
from flyweight.recipe import Recipe
from flyweight.windtunnel.confirmation import Candidate, run_seeds
from flyweight.windtunnel.flight import read_result
from flyweight.windtunnel.study import STUDY_FILE, Study, open_study

CARRIED_FOLDER = "carried"


@dataclass(frozen=True)
class Retuning:
    """Carried values beside searched ones, at the same size and over the same tokens."""

    carried: Candidate
    """What the study on the proxy found."""
    searched: Candidate
    """The best other values that were found at this size."""

    @property
    def cost(self) -> float:
        """Bits per byte of the carried values over those of the searched ones, less one; may be below 0.

        Where there are several seeds, over all but the first: by that one the searched values were chosen.
        """
        return statistics.mean(_unseen(self.carried)) / statistics.mean(_unseen(self.searched)) - 1

    @property
    def error(self) -> float | None:
        """Standard error of `cost`, from the spread of both over their seeds; None where one has a single seed."""
        one, other = self.carried.spread, self.searched.spread
        if one is None or other is None:
            return None
        errors = one / math.sqrt(len(_unseen(self.carried))), other / math.sqrt(len(_unseen(self.searched)))
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
            "cost": self.cost, "standard_error": self.error,
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
    # One more is confirmed: the carried values may be among the best, and something is to be compared with them.
    tunnel = recipe.tunnel.model_copy(update={"proxy": wider, "confirm": max(1, recipe.tunnel.confirm) + 1})
    changed = recipe.model_copy(update={"name": f"{recipe.name}-retuned", "tunnel": tunnel})
    return open_study(changed, corpus, folder, storage)


def carried_values(study: Study, found: Path) -> Candidate:
    """The best of the finished study in `found`, whose values `study` can take.

    Raises:
        UserError: no finished study there, or one of other knobs, another corpus or beyond this one's space.
    """
    result = read_result(found)
    if result.shares is not None:
        raise UserError(f"{found}: this is a ratio study; expected one of `flyweight tunnel search`.")
    values, space = result.best.values, study.distributions()
    if values.keys() != space.keys():
        raise UserError(
            f"{found}: that study searched {sorted(values)}, the recipe's space has {sorted(space)}."
        )
    for key, value in values.items():
        if not study.tunnel.space[key].holds(value):
            raise UserError(f"{found}: it found {key} = {value:g}, which is outside the recipe's space.")
    if (found / STUDY_FILE).exists():
        theirs, ours = (read_json(folder / STUDY_FILE, "study")["corpus"] for folder in (found, study.folder))
        if theirs != ours:
            raise UserError(f"{found}: that study was made with other token shards ({theirs}, here {ours}).")
    return result.best


def begin_with(study: Study, values: dict[str, float]) -> None:
    """Make these values the first trial of a search that has none."""
    with study.choosing():
        record = study.load()
        if not record.get_trials(deepcopy=False):
            record.enqueue_trial(values, skip_if_exists=True)


def carry(study: Study, best: Candidate, corpus: Path, *, workers: int = 1) -> Candidate:
    """These values at the size of `study`, with as many seeds as a candidate.

    Raises:
        Stopped: a signal came.
        UserError: what ended a worker, or the folder has other runs.
    """
    return run_seeds(
        study,
        best.number,
        best.values,
        lambda seed: study.recipe(best.values, seed),
        study.folder / CARRIED_FOLDER,
        corpus,
        workers=workers,
    )


def best_other(candidates: Sequence[Candidate], carried: Candidate) -> Candidate | None:
    """The best of the candidates but the carried values, by the seeds that did not choose it; None without any."""
    others = [one for one in candidates if not one.diverged and one.values != carried.values]
    return min(others, key=lambda one: statistics.mean(_unseen(one)), default=None)


def _unseen(one: Candidate) -> tuple[float, ...]:
    """Objectives of the seeds by which it was not chosen."""
    return one.objectives[1:] or one.objectives
