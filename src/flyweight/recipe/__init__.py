"""The recipe: one file that is the whole run, and timelines over the token clock."""

from flyweight.recipe.evaluation import Benchmarks, Evaluation, Samples
from flyweight.recipe.execution import Execution, Float8
from flyweight.recipe.frozen import EXECUTION
from flyweight.recipe.loading import (
    all_keys,
    identity,
    identity_differences,
    identity_hash,
    load_recipe,
    packaged_recipes,
    parse_recipe,
    recipe_from_dict,
)
from flyweight.recipe.schema import (
    FORMAT_VERSION,
    Corpus,
    EvaluationSet,
    Model,
    Parametrization,
    Recipe,
    Source,
    Tokenizer,
)
from flyweight.recipe.timeline import WSD, Knot, Timeline
from flyweight.recipe.training import AdamW, Guard, Muon, Training
from flyweight.recipe.tunnel import Knob, Proxy, Ratio, Tunnel
from flyweight.recipe.units import format_bytes, format_tokens, parse_bytes, parse_tokens

__all__ = [
    "EXECUTION",
    "FORMAT_VERSION",
    "WSD",
    "AdamW",
    "Benchmarks",
    "Corpus",
    "Evaluation",
    "EvaluationSet",
    "Execution",
    "Float8",
    "Guard",
    "Knob",
    "Knot",
    "Model",
    "Muon",
    "Parametrization",
    "Proxy",
    "Ratio",
    "Recipe",
    "Samples",
    "Source",
    "Timeline",
    "Tokenizer",
    "Training",
    "Tunnel",
    "all_keys",
    "format_bytes",
    "format_tokens",
    "identity",
    "identity_differences",
    "identity_hash",
    "load_recipe",
    "packaged_recipes",
    "parse_bytes",
    "parse_recipe",
    "parse_tokens",
    "recipe_from_dict",
]
