"""A trial: an ordinary run on a small model, and what came of it."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flyweight.base import UserError, read_json, write_json
from flyweight.corpus import OpenCorpus
from flyweight.curriculum import Schedule
from flyweight.evaluation.comparison import is_lower_better
from flyweight.events import read_events, run_spent
from flyweight.inference import layout
from flyweight.recipe import Benchmarks, Recipe, Samples, identity_hash
from flyweight.training import Diverged, train

OUTCOME_FILE = "outcome.json"

Judge = Callable[[int, float], bool]
"""Takes the clock and the objective there; says whether the trial ends."""


@dataclass(frozen=True)
class Goal:
    """What trials are judged by: a weighted mean of losses, the lower the better."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """Of the sources' bits per byte; 1 each where there are none."""
    tasks: Mapping[str, float] = field(default_factory=dict)
    """Of the tasks' errors, beside them."""
    benchmarks: Benchmarks = field(default_factory=Benchmarks)
    """How the tasks are measured."""

    @property
    def unit(self) -> str:
        """What a value of it is, for people."""
        return "bits per byte and errors of tasks" if self.tasks else "bits per byte"

    def of_bits(self, bits_per_byte: Mapping[str, float]) -> float:
        """The weighted mean of the sources' bits per byte alone: what can be known on the way."""
        weights = self.weights or dict.fromkeys(bits_per_byte, 1.0)
        return sum(bits_per_byte[name] * weight for name, weight in weights.items()) / sum(weights.values())

    def value(self, bits_per_byte: Mapping[str, float], errors: Mapping[str, float]) -> float:
        """The weighted mean of all losses."""
        weights = self.all_weights(bits_per_byte)
        losses = {**bits_per_byte, **errors}
        return sum(losses[name] * weight for name, weight in weights.items()) / sum(weights.values())

    def all_weights(self, sources: Iterable[str]) -> dict[str, float]:
        """Of sources and tasks together."""
        return {**(self.weights or dict.fromkeys(sources, 1.0)), **self.tasks}


@dataclass(frozen=True)
class Outcome:
    """What a trial came to."""

    state: str
    """`complete`, `pruned` or `diverged`."""
    clock: int
    """Tokens that it was trained on."""
    objective: float | None
    """The goal's value at that clock: bits per byte of the sources' held-out text, and errors of tasks where the goal
    has some; None where it diverged."""
    bits_per_byte: dict[str, float]
    """By source, at that clock."""
    before: dict[str, float]
    """By source, before the first step."""
    recipe_hash: str
    seconds: float
    """Over all attempts."""
    reason: str = ""
    """Of a trial that diverged."""
    errors: dict[str, float] = field(default_factory=dict)
    """By task: 1 less the score that tables quote, or what is there in place of a score, of which less is better."""


def check_weights(weights: Mapping[str, float], corpus: OpenCorpus) -> None:
    """Refuse weights of sources that have no held-out text.

    Raises:
        UserError: there is one.
    """
    known = sorted(corpus.held_out)
    if odd := sorted(set(weights) - set(known)):
        raise UserError(
            f"the weights of the objective name {odd[0]!r}, which has no held-out text; those that have: {known}."
        )
    if not known:
        raise UserError("the corpus has no held-out text to judge trials by; raise corpus.held_out.")


def measured_on(recipe: Recipe) -> dict[str, int]:
    """How much held-out text an objective is of: no part of what is learned, but of what can be compared."""
    return {"tokens": recipe.evaluation.tokens, "final_tokens": recipe.evaluation.final_tokens}


def read_outcome(folder: Path) -> Outcome | None:
    """What the trial in `folder` came to; None where it is not finished."""
    path = folder / OUTCOME_FILE
    return Outcome(**read_json(path, "outcome of a trial")) if path.exists() else None


def run_trial(
    recipe: Recipe,
    corpus: OpenCorpus,
    folder: Path,
    *,
    goal: Goal | None = None,
    rungs: int = 1,
    judge: Judge | None = None,
    start_from: str | None = None,
    keep_weights: bool = False,
) -> Outcome | None:
    """Train `recipe` in `folder`, going on where an earlier attempt stopped; a finished trial is only read.

    Args:
        recipe: what to train.
        corpus: its token shards.
        folder: the trial's run folder.
        goal: what it is judged by; all sources alike where left out.
        rungs: equal parts of the run; `judge` is asked after each but the last.
        judge: whether the trial ends there.
        start_from: RUN@TOKENS of another run.
        keep_weights: keep the last checkpoint, which is deleted otherwise.

    Returns:
        What it came to; None where a signal ended the attempt.

    Raises:
        UserError: the folder holds a trial of another recipe, another process works on it, or a task of the goal
            could not be measured.
    """
    if (known := read_outcome(folder)) is not None:
        if known.recipe_hash != identity_hash(recipe):
            raise UserError(f"{folder}: this trial was run with another recipe; name a new study.")
        return known
    goal = goal or Goal()
    recipe = _watched(recipe, rungs, goal)
    state, reason, clock = "complete", "", 0
    try:
        for stop in (*_stops(recipe, rungs if judge else 1), None):
            result = train(recipe, corpus, folder, start_from=start_from, stop_after=stop, sinks=[])
            clock = result.clock
            if result.finished:
                break
            if stop is None or clock < stop:
                return None
            bits = _validations(folder)[-1]["bits_per_byte"]
            if not math.isfinite(goal.of_bits(bits)):
                raise Diverged("bits per byte are not finite")
            if judge is not None and judge(clock, goal.of_bits(bits)):
                state = "pruned"
                break
    except Diverged as error:
        state, reason = "diverged", str(error)
    outcome = _outcome(folder, recipe, goal, state, clock, reason, begins=start_from is None)
    write_json(folder / OUTCOME_FILE, asdict(outcome))
    if not keep_weights:
        shutil.rmtree(folder / layout.CHECKPOINTS_FOLDER, ignore_errors=True)
    return outcome


def _outcome(
    folder: Path,
    recipe: Recipe,
    goal: Goal,
    state: str,
    clock: int,
    reason: str,
    *,
    begins: bool,
) -> Outcome:
    validations = _validations(folder)
    before = validations[0]["bits_per_byte"] if validations else {}
    last = validations[-1] if validations else {"bits_per_byte": {}, "clock": 0}
    bits = last["bits_per_byte"]
    value = goal.of_bits(bits) if bits else math.nan
    limit = goal.of_bits(before) if begins and before else math.inf
    if state != "diverged" and not value < limit:  # not a number is not smaller either
        state, reason = "diverged", f"bits per byte are {value:.4g}, no better than before the first step"
    errors = _errors(folder, goal) if state == "complete" else {}
    if state == "complete":
        value = goal.value(bits, errors)
    return Outcome(
        state=state,
        clock=clock or int(last["clock"]),
        objective=None if state == "diverged" else value,
        bits_per_byte={} if state == "diverged" else bits,
        before=before,
        recipe_hash=identity_hash(recipe),
        seconds=spent.seconds if (spent := run_spent(folder)) else 0.0,
        reason=reason,
        errors=errors,
    )


def _errors(folder: Path, goal: Goal) -> dict[str, float]:
    """What the tasks of the goal came to at the run's end."""
    if not goal.tasks:
        return {}
    events = list(read_events(folder))
    found = [event for event in events if event["kind"] == "evaluated"]
    scores: Mapping[str, float] = found[-1]["scores"] if found else {}
    if missing := [name for name in goal.tasks if name not in scores]:
        told = [
            event["text"] for event in events if event["kind"] == "notice" and "measured" in event["text"]
        ]
        raise UserError(f"{folder}: {missing[0]} has no score to judge this trial by: {'; '.join(told[-1:])}")
    metrics = found[-1]["metrics"]
    return {name: scores[name] if is_lower_better(metrics[name]) else 1 - scores[name] for name in goal.tasks}


def _validations(folder: Path) -> list[dict]:
    return [event for event in read_events(folder) if event["kind"] == "validated"]


def _watched(recipe: Recipe, rungs: int, goal: Goal) -> Recipe:
    """The recipe with a validation at each rung, and at its end the tasks of the goal instead of its own; it writes
    nothing, since nobody reads what a trial writes."""
    every = -(-recipe.training.tokens // rungs) if rungs > 1 else 0
    evaluation = recipe.evaluation.model_copy(
        update={"every": every, "benchmarks": goal.benchmarks, "samples": Samples(prompts=())}
    )
    return recipe.model_copy(update={"evaluation": evaluation})


def _stops(recipe: Recipe, rungs: int) -> Sequence[int]:
    """The first clock of a step at or after each rung."""
    schedule = Schedule.of(recipe.training)
    every = -(-recipe.training.tokens // rungs)
    return [schedule.step(schedule.first_step_from(every * rung)).clock for rung in range(1, rungs)]
