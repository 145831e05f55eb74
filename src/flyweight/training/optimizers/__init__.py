"""Optimizers by role: which parameter is updated by what, at which rate, with which decay."""

from flyweight.training.optimizers.by_role import OptimizerByRole, rates_by_role

__all__ = ["OptimizerByRole", "rates_by_role"]
