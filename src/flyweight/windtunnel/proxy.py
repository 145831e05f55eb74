"""From a recipe to the small one that is searched on, and from values of knobs to a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyweight.base import UserError
from flyweight.recipe import Proxy, Recipe, Timeline, recipe_from_dict
from flyweight.windtunnel.widths import at_width


def proxy_recipe(recipe: Recipe, proxy: Proxy) -> Recipe:
    """The recipe of a trial before its knobs are set: smaller where `proxy` says so, otherwise the recipe's own.

    The vocabulary stays, and with it the corpus. Role structure has to stay as well: the proxy has the same
    parametrization, tied or untied embedding, QK-norm and kind of attention, by construction.

    Raises:
        UserError: heads would not be whole at that width, or the schedule does not fit into that many tokens.
    """
    if proxy.tokens > recipe.training.tokens:
        raise UserError(
            f"tunnel.proxy.tokens is {proxy.tokens:,}, more than the recipe's own {recipe.training.tokens:,}."
        )
    data = recipe.scaled(proxy.tokens).to_dict()
    if proxy.hidden_size is not None:
        data["model"] = at_width(recipe.model, proxy.hidden_size).model_dump(mode="json")
    if proxy.num_hidden_layers is not None:
        data["model"]["num_hidden_layers"] = proxy.num_hidden_layers
    for key in ("sequence_length", "batch_size"):
        if (value := getattr(proxy, key)) is not None:
            data["training"][key] = value
    data["name"] = f"{recipe.name}-proxy"
    return recipe_from_dict(data, "tunnel.proxy")


def shortened(recipe: Recipe, tokens: int) -> Recipe:
    """The recipe over `tokens` tokens: every schedule keeps its fractions of the run, and the batch its size.

    Raises:
        UserError: it has fewer tokens itself, or its schedule does not fit into that many.
    """
    data = recipe.scaled(tokens).to_dict()
    ratio = tokens / recipe.training.tokens
    data["training"]["batch_size"] = recipe.training.batch_size.stretched(ratio).model_dump(mode="json")
    return recipe_from_dict(data, f"{recipe.name} over {tokens:,} tokens")


def with_values(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    """The recipe with other values at some of its keys.

    A key that holds a timeline gets the value as its highest one: the whole timeline is scaled. Where
    `training.learning_rate` is set, rates of single roles that are given outright are scaled with it, unless they
    are set themselves.

    Raises:
        UserError: a key that the recipe does not have, that holds no number, or a value that it cannot take.
    """
    data = recipe.to_dict()
    section: Any = recipe
    for key, value in values.items():
        *parents, last = key.split(".")
        place, section = data, recipe
        for part in parents:
            section = _child(section, part, key)
            place = place[part]
        held = _child(section, last, key)
        if isinstance(held, Timeline):
            factor = _factor(held, value, key)
            place[last] = _scaled(held, factor)
            if key == "training.learning_rate":
                for role, rate in recipe.training.role_learning_rate.items():
                    if f"training.role_learning_rate.{role}" not in values:
                        place["role_learning_rate"][role] = _scaled(rate, factor)
        elif isinstance(held, bool) or not isinstance(held, int | float | None):
            raise UserError(f"{key} holds {held!r}, no number or timeline: nothing that a knob can turn.")
        else:
            place[last] = int(value) if float(value).is_integer() else value
    where = "with " + ", ".join(f"{key}={value:g}" for key, value in values.items())
    return recipe_from_dict(data, where)


def value_of(recipe: Recipe, key: str) -> float:
    """The number that a recipe has at `key`; of a timeline its highest."""
    held: Any = recipe
    for part in key.split("."):
        held = _child(held, part, key)
    return held.maximum if isinstance(held, Timeline) else held


def _child(section: Any, part: str, key: str) -> Any:
    found = section.get(part, _child) if isinstance(section, dict) else getattr(section, part, _child)
    if found is _child or part.startswith("_"):
        raise UserError(
            f"{key}: the recipe has no such key ({part!r} leads nowhere); `flyweight keys` lists them."
        )
    return found


def _factor(timeline: Timeline, value: float, key: str) -> float:
    if timeline.maximum <= 0:
        raise UserError(f"{key} is 0 throughout, so that it cannot be scaled; give it a value above 0.")
    return value / timeline.maximum


def _scaled(timeline: Timeline, factor: float) -> dict[str, Any]:
    knots = tuple(knot.model_copy(update={"value": knot.value * factor}) for knot in timeline.knots)
    return Timeline(knots=knots).model_dump(mode="json")
