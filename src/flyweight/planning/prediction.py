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
class Split:
    """The parameters and tokens with the lowest predicted loss at a budget."""

    parameters: float
    low: float
    """Of the interval that nine tenths of the resampled laws put the parameters in."""
    high: float
    tokens: float
    bits_per_byte: float


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
    outside: list[str]
    """In which respects the run, and the best split, lie outside what the law was fitted to, for people."""
    budget: float
    """FLOPs, 6 N D: those of the run, or as many as were asked for."""
    best: Split | None
    """None where the law has no best split."""
    differences: list[str]
    """Keys in which the recipe is another than the law's, beside size and length."""


def predict(recipe: Recipe, law: Scaling, budget: float | None = None) -> Prediction:
    """What `law` says of a run of `recipe`, and of the best split of `budget` FLOPs (the run's own where None)."""
    parameters, tokens = matrix_parameters(recipe.model), Schedule.of(recipe.training).tokens
    middle, low, high = law.fit.predict(parameters, tokens)
    flops = 6.0 * parameters * tokens if budget is None else budget
    found, best = law.fit.best_split(flops), None
    if found is not None:
        best_tokens = flops / 6 / found[0]
        best = Split(*found, best_tokens, law.fit.law.loss(found[0], best_tokens))
    return Prediction(
        bits_per_byte=middle,
        low=low,
        high=high,
        parameters=parameters,
        tokens=tokens,
        outside=_outside(law, "this run", parameters, tokens)
        + ([] if best is None else _outside(law, "the best split", best.parameters, best.tokens)),
        budget=flops,
        best=best,
        differences=_differences(
            identity(recipe) | {"tunnel.weights": dict(recipe.tunnel.weights)},
            law.about["recipe"] | {"tunnel.weights": law.about["weights"]},
        ),
    )


def _outside(law: Scaling, what: str, parameters: float, tokens: float) -> list[str]:
    measured = law.fit.measured
    found = []
    for name, value, known in (
        ("parameters", parameters, [point.parameters for point in measured]),
        ("tokens", tokens, [point.tokens for point in measured]),
    ):
        if value > max(known):
            found.append(f"{_times(value / max(known))} the most {name}")
        elif value < min(known):
            found.append(f"{_times(value / min(known))} the fewest {name}")
    return [f"{what} has {' and '.join(found)} that the law was fitted to"] if found else []


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.2g} times"


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
