"""A keyed permutation of 0 ... n-1 that needs no memory: a Feistel network with cycle walking."""

from __future__ import annotations

from flyweight.base import derive_seed

_MASK = (1 << 64) - 1
_ROUNDS = 6


def _mix(value: int) -> int:
    """SplitMix64's finaliser: every input bit reaches every output bit."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class KeyedPermutation:
    """The permutation of range(size) named by (seed, names); position by position, in O(1)."""

    def __init__(self, size: int, seed: int, *names: str | int):
        self.size = size
        # Two halves of `half` bits each make a power of four that is at least `size` and less than
        # four times it, so walking the cycle back into range takes fewer than four tries on average.
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._low = (1 << self._half) - 1
        self._keys = [derive_seed(seed, *names, "round", i) for i in range(_ROUNDS)]

    def __call__(self, position: int) -> int:
        """Where `position` goes."""
        assert 0 <= position < self.size
        value = position
        while True:
            left, right = value >> self._half, value & self._low
            for key in self._keys:
                left, right = right, left ^ (_mix(right ^ key) & self._low)
            value = (left << self._half) | right
            if value < self.size:
                return value
