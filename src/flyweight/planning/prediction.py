"""What a scaling law says of a run before it is begun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flyweight.curriculum import Schedule
from flyweight.model import matrix_parameters
from flyweight.recipe import Recipe, identity

if TYPE_CHECKING:
    from flyweight.windtunnel.scaling_runs import Scaling

_ITS_OWN = (
    "model.hidden_size", "model.intermediate_size", "model.num_hidden_layers", "model.num_attention_heads",
    "model.num_key_value_heads", "seed", "training.tokens",
)  # fmt: skip
"""Keys in which a recipe may differ from the law's: size and length."""


@dataclass(frozen=True)
class Prediction:
    """The loss of a run by a scaling law, and what the same compute could have bought."""

    bits_per_byte: float
    low: float
    """Of the interval that nine tenths of the resampled laws lie in."""
    high: float
    parameters: int
    """N: those of the matrices."""
    tokens: int
    """D."""
    beyond_parameters: float
    """N over the largest that the law was fitted to; 1 where it is no larger."""
    beyond_tokens: float
    """The same of D."""
    budget: float
    """FLOPs, 6 N D: those of the run, or as many as were asked for."""
    best_parameters: float
    """N with the lowest predicted loss at that budget, and its interval."""
    best_parameters_low: float
    best_parameters_high: float
    best_tokens: float
    best_bits_per_byte: float
    differences: list[str]
    """Keys in which the recipe is another than the law's, beside size and length."""


def predict(recipe: Recipe, law: Scaling, budget: float | None = None) -> Prediction:
    """What `law` says of a run of `recipe`, and of the best split of `budget` FLOPs (the run's own where None)."""
    parameters, tokens = matrix_parameters(recipe.model), Schedule.of(recipe.training).tokens
    middle, low, high = law.fit.predict(parameters, tokens)
    flops = 6.0 * parameters * tokens if budget is None else budget
    best, best_low, best_high = law.fit.best_split(flops)
    best_tokens = flops / 6 / best
    return Prediction(
        bits_per_byte=middle,
        low=low,
        high=high,
        parameters=parameters,
        tokens=tokens,
        beyond_parameters=max(1.0, parameters / max(point.parameters for point in law.fit.measured)),
        beyond_tokens=max(1.0, tokens / max(point.tokens for point in law.fit.measured)),
        budget=flops,
        best_parameters=best,
        best_parameters_low=best_low,
        best_parameters_high=best_high,
        best_tokens=best_tokens,
        best_bits_per_byte=law.fit.law.loss(best, best_tokens),
        differences=_differences(identity(recipe), law.about["recipe"]),
    )


def _differences(own: dict[str, Any], laws: dict[str, Any]) -> list[str]:
    return [
        key
        for key in sorted(own.keys() | laws.keys())
        if key not in _ITS_OWN and _placeless(own.get(key)) != _placeless(laws.get(key))
    ]


def _placeless(value: Any) -> Any:
    """A schedule's values without their places, which move with the run's length."""
    if isinstance(value, list):
        return [_placeless(item) for item in value]
    if isinstance(value, dict):
        return {key: _placeless(item) for key, item in value.items() if key not in ("at", "half_life")}
    return value
