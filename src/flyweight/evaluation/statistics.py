"""Means with their standard errors; None where too few values leave one undefined (JSON has no nan)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; `values` is not empty."""
    return math.fsum(values) / len(values)


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean: sample standard deviation (n - 1) over sqrt(n)."""
    count = len(values)
    if count < 2:
        return None
    middle = mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (count - 1) / count)


def standard_error_of_mean_of_means(errors: Sequence[float | None]) -> float | None:
    """Standard error of the plain mean of independent means: sqrt(sum of squares) / count."""
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    return math.sqrt(math.fsum(error**2 for error in known)) / len(known)
