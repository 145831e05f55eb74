"""Random choices from one method, `random()`, that Python's and numpy's generators share."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Random(Protocol):
    """The one method that is used of `random.Random` or numpy's `Generator`."""

    def random(self) -> float:
        """A number in [0, 1)."""
        ...


def between(rng: Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def pick(rng: Random, choices: Sequence[T]) -> T:
    """One of `choices`."""
    return choices[int(rng.random() * len(choices))]


def different(rng: Random, choices: Sequence[T], count: int) -> list[T]:
    """`count` different members of `choices`, in random order; there are at least so many."""
    found: list[T] = []
    while len(found) < count:
        choice = choices[int(rng.random() * len(choices))]
        if choice not in found:
            found.append(choice)
    return found


def shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    """The items in random order."""
    result = list(items)
    for i in range(len(result) - 1, 0, -1):
        j = int(rng.random() * (i + 1))
        result[i], result[j] = result[j], result[i]
    return result


class Weighted(Generic[T]):
    """Choices that are drawn in proportion to their weights."""

    def __init__(self, *choices: tuple[float, T]) -> None:
        self.choices = tuple(choice for _, choice in choices)
        self._bounds = list(accumulate(weight for weight, _ in choices))

    def draw(self, rng: Random) -> T:
        """One choice."""
        bounds = self._bounds
        return self.choices[bisect_right(bounds, rng.random() * bounds[-1], 0, len(bounds) - 1)]
