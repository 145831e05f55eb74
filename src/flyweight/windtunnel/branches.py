"""A stable run, and the runs that branch off it to decay: what a warmup-stable-decay schedule makes cheap.

Until the decay a run does not know how long it will be. One stable run therefore serves every length (arXiv
2404.06395, section 4.5) and every mixture of the decay: each of them is a branch from a checkpoint of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flyweight.base import UserError
from flyweight.curriculum import Schedule
from flyweight.recipe import Recipe, Timeline, format_tokens, recipe_from_dict
from flyweight.windtunnel.workers import Job, on_few_threads


@dataclass(frozen=True)
class Tree:
    """A stable run and its branches, as jobs."""

    stable: Job
    """Ends where the last branch leaves it, with a checkpoint for each."""
    branches: tuple[Job, ...]


def decay_start(recipe: Recipe) -> int:
    """The clock, in tokens, at which the learning rate begins to fall from its peak.

    Raises:
        UserError: it never falls, or falls as soon as it is up: there is no stable stage.
    """
    knots = recipe.training.learning_rate.knots
    peak = max(knot.value for knot in knots)
    for before, after in itertools.pairwise(knots):
        if before.value == peak and after.value < peak:
            start = after.at if after.shape == "step" else before.at
            first = next(knot.at for knot in knots if knot.value == peak)
            if start > first:
                return start
    raise UserError(
        f"{recipe.name}: training.learning_rate has no stable stage that ends in a decay, so that nothing can branch "
        f"off; give it a `wsd` schedule."
    )


def decayed_early(recipe: Recipe, tokens: int) -> Recipe:
    """The recipe as a run of `tokens` tokens: its stable stage cut short, its decay that much shorter.

    Before its decay it is the same run to the last sequence (what its guard passed over excepted).
    Whatever changes in the decay (rates, mixture, optimizer, ...) keeps its place there.

    Raises:
        UserError: `tokens` is beyond the recipe's own, or something changes in the part of the stable stage that is
            cut out, so that the shorter run would not be the longer one's beginning.
    """
    old = recipe.training
    if not 0 < tokens <= old.tokens:
        raise UserError(
            f"a branch of {tokens:,} tokens was asked for; expected 1 to the recipe's own {old.tokens:,} "
            f"(training.tokens)."
        )
    start = decay_start(recipe)
    moved = _Moved(start, round(start * tokens / old.tokens), tokens / old.tokens)
    for name, timeline in _timelines(recipe).items():
        if not moved.is_steady(timeline):
            raise UserError(
                f"training.{name} changes between {format_tokens(moved.to)} and {format_tokens(start)} tokens, so that "
                f"a run of {format_tokens(tokens)} is not the beginning of one of {format_tokens(old.tokens)}; a "
                f"branch needs a stage in which nothing changes until the decay."
            )
    data = recipe.to_dict()
    training = data["training"]
    training["tokens"] = tokens
    for name, value in old:
        if isinstance(value, Timeline):
            training[name] = {"knots": moved.knots(training[name]["knots"])}
    for role in old.role_learning_rate:
        knots = training["role_learning_rate"][role]["knots"]
        training["role_learning_rate"][role] = {"knots": moved.knots(knots)}
    for name in ("mixture", "optimizer"):
        training[name] = moved.knots(training[name])
    return recipe_from_dict(data, f"{recipe.name} decayed at {format_tokens(moved.to)} tokens")


def stable_run(recipe: Recipe, clocks: Sequence[int], name: str, workers: int) -> tuple[Job, list[int]]:
    """The stable stage as a job with checkpoints for branches that leave at `clocks`; and where these are.

    A checkpoint is at the last step that ends by its clock.

    Raises:
        UserError: a clock is within the first step.
    """
    schedule = Schedule.of(recipe.training)
    places = []
    for clock in clocks:
        step = schedule.first_step_from(clock)
        if schedule.step(step).clock > clock:
            step -= 1
        place = schedule.step(step).clock
        if place <= 0:
            raise UserError(
                f"a branch would leave the stable run at {clock:,} tokens, within its first step of "
                f"{recipe.training.first_step_tokens:,}; name more tokens or a smaller batch."
            )
        places.append(place)
    recipe = on_few_threads(recipe, workers)
    shorter = recipe.model_copy(
        update={
            "training": recipe.training.model_copy(update={"tokens": max(places)}),
            "execution": recipe.execution.model_copy(update={"milestones": tuple(sorted(set(places)))}),
        }
    )
    return Job(name, shorter, keep_weights=True), places


def tree(
    recipe: Recipe,
    tokens: Sequence[int],
    folder: Path,
    workers: int,
    name: Callable[[int | None], str],
) -> Tree:
    """A stable run of `recipe` and branches that decay to end at each of `tokens`.

    Args:
        recipe: of the longest branch at least.
        tokens: where the branches end.
        folder: in which the jobs' folders will be.
        workers: processes that share the machine.
        name: of the branch that ends at so many tokens; of the stable run for None.
    """
    runs = [decayed_early(recipe, count) for count in tokens]
    stable, places = stable_run(recipe, [decay_start(run) for run in runs], name(None), workers)
    return Tree(
        stable,
        tuple(
            Job(name(count), on_few_threads(run, workers), start_from=f"{folder / stable.name}@{place}")
            for count, run, place in zip(tokens, runs, places, strict=True)
        ),
    )


def tokens_of_tree(one: Tree) -> int:
    """Tokens that its runs take together: the stable run once, and each branch's decay."""
    total = one.stable.recipe.training.tokens
    for branch in one.branches:
        assert branch.start_from is not None
        total += branch.recipe.training.tokens - int(branch.start_from.rpartition("@")[2])
    return total


@dataclass(frozen=True)
class _Moved:
    """The decay's part of a timeline, moved from `start` to `to` and `ratio` times as long."""

    start: int
    to: int
    ratio: float

    def is_steady(self, timeline: Timeline) -> bool:
        """Whether it keeps its value from `to` until just before `start`."""
        if self.to >= self.start:
            return True
        between = [knot.at for knot in timeline.knots if self.to < knot.at < self.start]
        values = timeline.values(np.array([self.to, *between, self.start - 1]))
        return bool((values == values[0]).all())

    def knots(self, knots: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those before `to` as they are, those from `start` on moved, none of those between."""
        kept = [knot for knot in knots if knot["at"] <= min(self.to, self.start - 1)]
        moved = []
        for knot in knots:
            if knot["at"] < self.start:
                continue
            changed = knot | {"at": self.to + round((knot["at"] - self.start) * self.ratio)}
            if knot.get("half_life") is not None:
                changed["half_life"] = max(1, round(knot["half_life"] * self.ratio))
            moved.append(changed)
        if moved and moved[0]["at"] == self.to and kept[-1]["at"] == self.to:
            # Nothing changes between the two but at the second itself, where a timeline may jump and a list may not.
            if "value" in moved[0]:
                moved[0] = {
                    key: value for key, value in moved[0].items() if key not in ("shape", "half_life")
                }
            else:
                kept[-1] = kept[-1] | {"at": self.to - 1}
        return kept + moved


def _timelines(recipe: Recipe) -> dict[str, Timeline]:
    """All that change, by name."""
    training = recipe.training
    found = {name: value for name, value in training if isinstance(value, Timeline)}
    found |= {f"role_learning_rate.{role}": value for role, value in training.role_learning_rate.items()}
    found |= {f"mixture ({name})": value for name, value in training.mixture_timelines().items()}
    optimizers = [knot.kind for knot in training.optimizer]
    found["optimizer"] = Timeline.model_validate(
        [{"at": knot.at, "value": optimizers.index(knot.kind)} for knot in training.optimizer]
    )
    return found
