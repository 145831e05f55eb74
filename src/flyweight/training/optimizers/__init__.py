"""Optimizers by role: which parameter is updated by what, at which rate, with which decay."""

from flyweight.training.optimizers.by_role import OptimizerByRole, muon_rows
from flyweight.training.optimizers.muon import Muon
from flyweight.training.optimizers.muon_methods import (
    measured_methods,
    methods_from_plain,
    methods_to_plain,
    usual_method,
)
from flyweight.training.optimizers.newton_schulz import Method

__all__ = [
    "Method",
    "Muon",
    "OptimizerByRole",
    "measured_methods",
    "methods_from_plain",
    "methods_to_plain",
    "muon_rows",
    "usual_method",
]
