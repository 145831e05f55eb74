"""Small, honest copies of big recipes, for tests and try-outs."""

from __future__ import annotations

import math
from typing import Any

from flyweight.base import UserError
from flyweight.recipe.loading import recipe_from_dict
from flyweight.recipe.schema import Recipe
from flyweight.recipe.timeline import Timeline
from flyweight.recipe.units import format_tokens

LEAST_BATCH_TOKENS = 8_192
"""Below this a step of a small model is mostly overhead and its gradient mostly noise."""

LEAST_STEPS = 600
"""A batch is not raised to LEAST_BATCH_TOKENS where that would leave fewer steps than about this."""

LEAST_WARMUP = 0.02
"""Share of the run: shorter warm-ups of short runs start with too high a rate."""


def scale_recipe(recipe: Recipe, tokens: int, factor: int) -> Recipe:
    """A copy of `recipe` over `tokens` tokens with a model about `factor` times narrower and shallower.

    Every schedule keeps its fractions of the run. The batch shrinks with the run but not below
    LEAST_BATCH_TOKENS (or `tokens` / LEAST_STEPS if that is less); the warm-up is at least
    LEAST_WARMUP of the run. With `factor` above 1, sequences get shorter by it too, and so does the
    vocabulary of a tokenizer that is trained. Everything that was adjusted is in the copy's `notes`.

    Raises:
        UserError: `tokens` is more than the recipe's own, or `factor` is below 1.
    """
    old = recipe.training
    if not 0 < tokens <= old.tokens:
        raise UserError(
            f"{recipe.name}: cannot scale to {tokens:,} tokens; expected 1 to the recipe's own {old.tokens:,}."
        )
    if factor < 1:
        raise UserError(f"{recipe.name}: cannot scale by a factor of {factor}; expected 1 or more.")
    ratio = tokens / old.tokens
    data = recipe.to_dict()
    notes = [f"{recipe.name} scaled from {format_tokens(old.tokens)} to {format_tokens(tokens)} tokens"]
    training = data["training"]
    _scale_schedules(recipe, training, ratio, tokens)
    if factor > 1:
        notes += _shrink_model(data, factor)
        training["sequence_length"] = _dump(
            _mapped(Timeline.model_validate(training["sequence_length"]), lambda v: max(8, round(v / factor)))
        )
    notes += _scale_batch(recipe, training, ratio, tokens)
    notes += _raise_warmup(training, tokens)
    for section, key in (("evaluation", "every"), ("execution", "checkpoint_every")):
        data[section][key] = round(data[section][key] * ratio)
    data["execution"]["milestones"] = [round(clock * ratio) for clock in recipe.execution.milestones]
    # Reports and model cards begin with it, and a copy must not pass for the model it is a copy of.
    smaller = f", about {factor} times narrower and shallower" if factor > 1 else ""
    of = f": {recipe.description}" if recipe.description else "."
    data["description"] = f"A small copy of {recipe.name} over {format_tokens(tokens)} tokens{smaller}{of}"
    copy = recipe_from_dict(data, f"{recipe.name} scaled to {format_tokens(tokens)} tokens")
    copy._notes[:0] = notes
    return copy


def _dump(timeline: Timeline) -> dict[str, Any]:
    return timeline.model_dump(mode="json")


def _mapped(timeline: Timeline, change: Any) -> Timeline:
    return Timeline(knots=tuple(k.model_copy(update={"value": change(k.value)}) for k in timeline.knots))


def _scale_schedules(recipe: Recipe, training: dict[str, Any], ratio: float, tokens: int) -> None:
    training["tokens"] = tokens
    for name, value in recipe.training:
        if isinstance(value, Timeline):
            training[name] = _dump(value.stretched(ratio))
    training["role_learning_rate"] = {
        role: _dump(timeline.stretched(ratio))
        for role, timeline in recipe.training.role_learning_rate.items()
    }
    for name in ("mixture", "optimizer"):
        for knot in training[name]:
            knot["at"] = round(knot["at"] * ratio)


def _scale_batch(recipe: Recipe, training: dict[str, Any], ratio: float, tokens: int) -> list[str]:
    old_batch = recipe.training.batch_size
    lengths = Timeline.model_validate(training["sequence_length"])
    old_tokens = recipe.training.first_step_tokens
    floor = min(LEAST_BATCH_TOKENS, max(1, tokens // LEAST_STEPS))
    wanted = min(old_tokens, max(old_tokens * ratio, floor))
    first = max(1, round(wanted / lengths.knots[0].value))
    shrink = first / old_batch.knots[0].value
    stretched = old_batch.stretched(ratio)
    training["batch_size"] = _dump(_mapped(stretched, lambda value: max(1, round(value * shrink))))
    return [
        f"batch: {old_tokens:,} tokens a step became {round(first * lengths.knots[0].value):,} "
        f"({first} sequences of {lengths.knots[0].value:.0f})"
    ]


def _raise_warmup(training: dict[str, Any], tokens: int) -> list[str]:
    """Move the end of each rate's first rise to at least LEAST_WARMUP of the run, short of what follows."""
    notes = []
    rates = {"learning_rate": training["learning_rate"], **training["role_learning_rate"]}
    for name, timeline in rates.items():
        knots = timeline["knots"]
        if len(knots) < 2 or knots[1]["shape"] != "linear" or knots[1]["value"] <= knots[0]["value"]:
            continue
        limit = knots[2]["at"] if len(knots) > 2 else tokens
        wanted = min(math.ceil(LEAST_WARMUP * tokens), limit)
        if knots[1]["at"] < wanted:
            notes.append(
                f"warm-up of {name}: {knots[1]['at'] / tokens:.2%} of the run became {wanted / tokens:.2%}"
            )
            knots[1]["at"] = wanted
    return notes


def _shrink_model(data: dict[str, Any], factor: int) -> list[str]:
    """Divide width, depth and a trained tokenizer's vocabulary by about `factor`, in whole heads."""
    model = data["model"]
    before = dict(model)
    group = model["num_attention_heads"] // model["num_key_value_heads"]
    model["num_key_value_heads"] = max(1, model["num_key_value_heads"] // factor)
    model["num_attention_heads"] = group * model["num_key_value_heads"]
    shrink = model["num_attention_heads"] / before["num_attention_heads"]
    model["hidden_size"] = max(8, round(model["hidden_size"] * shrink))
    model["intermediate_size"] = max(8, round(model["intermediate_size"] * shrink / 8) * 8)
    model["num_hidden_layers"] = max(2, model["num_hidden_layers"] // factor)
    if data["tokenizer"]["kind"] == "bpe":
        data["tokenizer"]["vocab_size"] = max(512, data["tokenizer"]["vocab_size"] // factor)
        model["vocab_size"] = data["tokenizer"]["vocab_size"]
    if (base := data["parametrization"]["dim_model_base"]) is not None:
        # The ratio of width to base width decides µP's multipliers: it stays.
        data["parametrization"]["dim_model_base"] = max(1, round(base * shrink))
    return [f"model.{key}: {before[key]} became {model[key]}" for key in model if model[key] != before[key]]
