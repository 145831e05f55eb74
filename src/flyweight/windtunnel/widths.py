"""One architecture at other widths and depths: what a proxy and its target have in common."""

from __future__ import annotations

import math

from flyweight.base import UserError
from flyweight.recipe import Model

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


def default_widths(model: Model) -> list[int]:
    """Four widths, each twice the one before, from 64 on: narrower ones differ by more than their width."""
    unit = width_unit(model)
    first = unit * -(-64 // unit)
    return [first * 2**doubling for doubling in range(4)]


def width_unit(model: Model) -> int:
    """The smallest width that keeps the model's proportions; the others are multiples of it."""
    return model.hidden_size // math.gcd(*(getattr(model, name) for name in _IN_PROPORTION))
