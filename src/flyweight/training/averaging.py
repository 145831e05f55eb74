"""An exponential moving average of the weights, on the token clock."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flyweight.model import Decoder
from flyweight.training.parallel.tensors import fill, local


class WeightAverage:
    """The average of a decoder's float32 weights over the steps taken, the newest of which weigh most.

    After a step of n tokens, average += (1 - 2^(-n / half_life)) * (weights - average): what the weights were
    `half_life` tokens ago counts half as much as what they are. On the clock instead of the steps, the average does
    not depend on how tokens are cut into batches. (Polyak and Juditsky 1992, doi 10.1137/0330046, average all steps
    alike; as an exponential average of a network's weights it is in arXiv 1703.01780, section 2.)

    It lies on the device, 4 bytes a parameter; of weights that are cut over devices each holds its own rows.

    It holds nothing until `reset` or `load_state_tensors` says with what it begins.

    Args:
        decoder: whose weights; FSDP has replaced them already.
        half_life: tokens; 0: no average is kept, and everything here does nothing.
    """

    def __init__(self, decoder: Decoder, half_life: int):
        self.half_life = half_life
        self._decoder = decoder
        kept = decoder.named_parameters() if half_life else ()
        self._values = {name: torch.empty_like(value, requires_grad=False) for name, value in kept}

    @torch.no_grad()
    def reset(self) -> None:
        """Begin with the weights as they stand."""
        if self.half_life:
            torch._foreach_copy_(*self._both())  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def took(self, tokens: int) -> None:
        """Take in the weights after a step of so many tokens."""
        if self.half_life:
            share = share_of_newest(tokens, self.half_life)
            torch._foreach_lerp_(*self._both(), share)  # pyright: ignore[reportPrivateImportUsage]

    def _both(self) -> tuple[list[Tensor], list[Tensor]]:
        """What this process holds of the average and of the weights, in the same order."""
        averages = [local(value) for value in self._values.values()]
        return averages, [local(weight.detach()) for weight in self._decoder.parameters()]

    def state_tensors(self) -> dict[str, Tensor]:
        """The average by the names of the weights; empty where none is kept."""
        return dict(self._values)

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state_tensors` returned for the same model, whole."""
        for name, value in self._values.items():
            fill(value, tensors[name])


def share_of_newest(tokens: int, half_life: int) -> float:
    """1 - 2^(-tokens / half_life), to the last digit also where it is small."""
    return -math.expm1(-math.log(2) * tokens / half_life)
