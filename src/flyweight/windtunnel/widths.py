"""One architecture at other widths and depths: what a proxy and its target have in common."""

from __future__ import annotations

import math

from flyweight.base import UserError
from flyweight.recipe import Model, Recipe, recipe_from_dict

STANDARD_STD = 0.02
"""Initialisation of the standard parametrization where the recipe has another: GPT-2's."""

_IN_PROPORTION = ("hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")


def at_width(model: Model, hidden_size: int) -> Model:
    """`model` with as many times more or fewer heads as it is wider or narrower; head_dim and depth stay.

    Raises:
        UserError: heads, key/value heads or the feed-forward width would not be whole.
    """
    unit = width_unit(model)
    if hidden_size < unit or hidden_size % unit:
        raise UserError(
            f"a width of {hidden_size:,} leaves this model no whole number of heads, key/value heads or feed-forward "
            f"rows; widths that do are {unit:,}, {2 * unit:,}, {4 * unit:,} and other multiples of {unit:,}."
        )
    times = {name: getattr(model, name) * hidden_size // model.hidden_size for name in _IN_PROPORTION}
    return model.model_copy(update=times)


def sized(recipe: Recipe, kind: str, width: int, depth: int) -> Recipe:
    """The recipe with another parametrization, width and depth.

    A µP recipe as `standard` keeps nothing of µP and starts with STANDARD_STD; a standard one cannot become µP, since
    its base width is not known.

    Raises:
        UserError: that, or heads that would not be whole.
    """
    data = recipe.to_dict()
    data["model"] = at_width(recipe.model, width).model_dump(mode="json") | {"num_hidden_layers": depth}
    own = recipe.parametrization
    if kind == "standard" and own.kind != "standard":
        data["parametrization"] = {"kind": "standard", "init_std": STANDARD_STD}
    elif kind != "standard" and own.kind == "standard":
        raise UserError(
            f"{recipe.name} has the standard parametrization; {kind} needs a base width, so give the recipe a "
            f"`parametrization` of a µP kind with `dim_model_base`."
        )
    else:
        data["parametrization"]["kind"] = kind
    return recipe_from_dict(data, f"{recipe.name} as {kind} at width {width}")


def default_widths(model: Model) -> list[int]:
    """Four widths, each twice the one before, from 64 on: narrower ones differ by more than their width."""
    unit = width_unit(model)
    first = unit * -(-64 // unit)
    return [first * 2**doubling for doubling in range(4)]


def width_unit(model: Model) -> int:
    """The smallest width that keeps the model's proportions; the others are multiples of it."""
    return model.hidden_size // math.gcd(*(getattr(model, name) for name in _IN_PROPORTION))
