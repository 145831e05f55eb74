"""The plan of a run: everything about it that follows from its recipe alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from flyweight.curriculum import Schedule
from flyweight.model import flops_per_token, parameter_counts, stock_class
from flyweight.planning.fitting import Fit, fit_into, planned_way
from flyweight.planning.prediction import Prediction
from flyweight.planning.realised import Realised
from flyweight.planning.storage import Disk, disk_space
from flyweight.planning.supply import (
    MANY_EPOCHS,
    Overlap,
    assumed_bytes_per_token,
    epochs,
    expected_overlaps,
    least_epochs,
    planned_tokens,
    text_needed,
    tokens_by_source,
)
from flyweight.recipe import Recipe
from flyweight.training.activations import Carried
from flyweight.training.memory import Memory, training_memory

OWN_CODE = "own code"
"""Instead of a class: the model exports with modeling code of its own."""


@dataclass(frozen=True)
class Plan:
    """What a run costs and does. Counts are exact but for memory, disk and time."""

    name: str
    parameters: dict[str, int]
    """`total`, `embedding`, `per_block`, `blocks`, `final_norm`, `lm_head`."""
    tokens: dict[str, Any]
    """`total` (of whole steps), and `by_source`, which adds up to it."""
    steps: int
    segments: list[dict[str, int | float]]
    """Stretches of constant shape: first step and clock, steps, batch size, sequence length, FLOPs."""
    decay_start_step: int | None
    """The first step after the peak at which the learning rate is below it; None without a decay."""
    flops_per_token: float
    """Of training, averaged over the tokens of the run."""
    total_flops: float
    memory_bytes: int
    memory: Memory
    """Parts of `memory_bytes`."""
    fit: Fit | None
    """What fits into a device's memory, where that was given."""
    disk_bytes: int
    disk: Disk
    """Parts of `disk_bytes`."""
    export_class: str
    """The stock Hugging Face class that the model maps onto exactly, or `own code`."""
    corpus_tokens: dict[str, int] | None
    """Tokens of each source's shards, where they are known."""
    epochs: dict[str, float] | None
    """How often each source is read through, where the corpus is known."""
    text_needed: dict[str, int] | None
    """Bytes of text by source for one epoch, roughly, where the corpus is not known."""
    assumed_bytes_per_token: float | None
    """By which `text_needed` was reckoned."""
    realised: dict[str, Any] | None
    """Of a run: the clocks `begin` and `end` between which it is on record, and the tokens by source that
    were `planned` and `read` between them."""
    overlaps: list[Overlap] | None
    """What changes of sequence length are expected to bring back, where the corpus is known."""
    seconds: float | None
    """Time to train, where a speed was given."""
    prediction: Prediction | None
    """The loss that a scaling law predicts, where one was given."""
    speed: dict[str, float] | None
    """The speed that `seconds` assumes: `peak_flops` a second, and the share of it that is reached."""
    warnings: list[str]
    notes: list[str]
    """What was adjusted when the recipe was loaded or scaled."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The same as indented JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)


def plan_recipe(
    recipe: Recipe,
    corpus_tokens: Mapping[str, int] | None = None,
    *,
    peak_flops: float | None = None,
    share_of_peak: float = 0.4,
    realised: Realised | None = None,
    carried: Carried | None = None,
    device_memory: int | None = None,
    prediction: Prediction | None = None,
) -> Plan:
    """Plan a run of `recipe`.

    Args:
        recipe: what to train.
        corpus_tokens: training tokens of each source, where the corpus is prepared: the plan then
            says how many epochs that makes.
        peak_flops: of the device or of all devices together, a second: the plan then says how long it takes.
        share_of_peak: what training reaches of that.
        realised: what a run of it read so far: the plan then lays the two side by side.
        carried: how training is carried out, as far as memory depends on it; as the recipe asks on the device that it
            names, a GPU where it names none, when left out.
        device_memory: bytes of the device: the plan then says how large a micro-batch fits.
        prediction: of its loss, by a scaling law.
    """
    carried = carried or planned_way(recipe)
    schedule = Schedule.of(recipe.training)
    segments = [
        {
            "first_step": segment.first_step,
            "first_clock": segment.first_clock,
            "steps": segment.steps,
            "batch_size": segment.batch_size,
            "sequence_length": segment.sequence_length,
            "tokens": segment.steps * segment.step_tokens,
            "flops_per_token": flops_per_token(recipe.model, segment.sequence_length),
        }
        for segment in schedule.segments
    ]
    total_flops = sum(segment["flops_per_token"] * segment["tokens"] for segment in segments)
    by_source = tokens_by_source(recipe.training, schedule)
    memory, disk = training_memory(recipe, schedule, carried), disk_space(recipe, schedule, corpus_tokens)
    rounds = None if corpus_tokens is None else epochs(by_source, corpus_tokens)
    return Plan(
        name=recipe.name,
        parameters=parameter_counts(recipe.model),
        tokens={"total": schedule.tokens, "by_source": by_source},
        steps=schedule.steps,
        segments=segments,
        decay_start_step=decay_start_step(recipe, schedule),
        flops_per_token=total_flops / schedule.tokens,
        total_flops=total_flops,
        memory_bytes=memory.total,
        memory=memory,
        fit=None if device_memory is None else fit_into(recipe, schedule, carried, device_memory),
        disk_bytes=disk.total,
        disk=disk,
        export_class=stock_class(recipe.model, recipe.parametrization) or OWN_CODE,
        corpus_tokens=None if corpus_tokens is None else dict(corpus_tokens),
        epochs=rounds,
        text_needed=text_needed(recipe, by_source) if corpus_tokens is None else None,
        assumed_bytes_per_token=assumed_bytes_per_token(recipe.tokenizer.vocab_size)
        if corpus_tokens is None
        else None,
        realised=None if realised is None else _beside(recipe, schedule, realised),
        overlaps=None
        if corpus_tokens is None
        else expected_overlaps(recipe.training, schedule, corpus_tokens),
        seconds=None if peak_flops is None else total_flops / (peak_flops * share_of_peak),
        prediction=prediction,
        speed=None if peak_flops is None else {"peak_flops": peak_flops, "share_of_peak": share_of_peak},
        warnings=_warnings(rounds)
        if rounds is not None
        else _warnings(least_epochs(recipe, by_source), True),
        notes=list(recipe.notes),
    )


def decay_start_step(recipe: Recipe, schedule: Schedule) -> int | None:
    """The first step after the peak at which the base learning rate is below it; None if it stays there.

    Rates are read in the middle of each step, as training reads them.
    """
    sizes = np.concatenate([np.full(s.steps, s.step_tokens, np.float64) for s in schedule.segments])
    rates = recipe.training.learning_rate.values(schedule.step_clocks() + sizes / 2)
    peak = int(np.argmax(rates))
    below = np.flatnonzero(rates[peak:] < rates[peak])
    return peak + int(below[0]) if len(below) else None


def _beside(recipe: Recipe, schedule: Schedule, realised: Realised) -> dict[str, Any]:
    """What was planned and what was read between the clocks of a run's record."""
    begin, end = realised.begin, realised.end
    planned = planned_tokens(recipe.training, schedule, begin, end)
    return {"begin": begin, "end": end, "planned": planned, "read": realised.by_source}


def _warnings(rounds: Mapping[str, float], by_limit: bool = False) -> list[str]:
    """Of sources that are read too often; `by_limit` where that follows from their limits, roughly."""
    how = "about {:.1f} times, for its `limit` allows no more text" if by_limit else "{:.1f} times"
    return [
        f"{source} is read {how.format(count)}; beyond {MANY_EPOCHS:.0f} epochs repeated tokens teach less and "
        f"less (arXiv 2305.16264)"
        for source, count in rounds.items()
        if count > MANY_EPOCHS
    ]
