"""Parameters by what the optimizers do with them, from a decoder without memory."""

from __future__ import annotations

import torch

from flyweight.model import Decoder, parameter_roles, role_rules
from flyweight.recipe import Recipe


def matrix_parameters(recipe: Recipe) -> int:
    """Parameters of the matrices between hidden activations: what Muon takes."""
    return sum(count for count, is_matrix in _by_kind(recipe) if is_matrix)


def optimizer_values(recipe: Recipe, kind: str) -> int:
    """Numbers in the state of the optimizer `kind`: two moments and a step count, or Muon's momentum."""
    return sum(
        count if kind == "muon" and is_matrix else 2 * count + 1 for count, is_matrix in _by_kind(recipe)
    )


def _by_kind(recipe: Recipe) -> list[tuple[int, bool]]:
    """The size of every parameter tensor, and whether it is a matrix."""
    with torch.device("meta"):
        decoder = Decoder(recipe.model, recipe.parametrization)
    roles, rules = parameter_roles(decoder), role_rules(recipe.model, recipe.parametrization)
    return [(tensor.numel(), rules[roles[name]].is_matrix) for name, tensor in decoder.named_parameters()]
