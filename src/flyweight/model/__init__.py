"""The decoder, and everything that can be said about it without training it.

`decoder` is the place to start reading; `attention` and `layers` are its parts, `cache` makes generation
fast, `placement` says where tokens stand that do not simply follow each other, `parametrization` holds the one
table of roles, `mapping` folds a decoder onto stock Hugging Face classes, `unfolding` is the way back, and
`cost` counts.
"""

from flyweight.model.attention import AttentionKernel
from flyweight.model.cache import KVCache
from flyweight.model.cost import flops_per_token, matrix_parameters, parameter_counts
from flyweight.model.decoder import Decoder
from flyweight.model.mapping import (
    FoldedWeights,
    export_in_words,
    fused_parts,
    stock_class,
    stock_config,
    to_stock,
)
from flyweight.model.parametrization import (
    Multipliers,
    OptimizerKind,
    Role,
    RoleRule,
    multipliers,
    parameter_roles,
    role_rules,
)
from flyweight.model.placement import Placement, padded_left
from flyweight.model.unfolding import from_stock, why_not_ours

__all__ = [
    "AttentionKernel",
    "Decoder",
    "FoldedWeights",
    "KVCache",
    "Multipliers",
    "OptimizerKind",
    "Placement",
    "Role",
    "RoleRule",
    "export_in_words",
    "flops_per_token",
    "from_stock",
    "fused_parts",
    "matrix_parameters",
    "multipliers",
    "padded_left",
    "parameter_counts",
    "parameter_roles",
    "role_rules",
    "stock_class",
    "stock_config",
    "to_stock",
    "why_not_ours",
]
