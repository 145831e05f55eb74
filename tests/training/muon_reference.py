"""Muon written down from its publications, one matrix at a time, in float64."""

from __future__ import annotations

import torch


def published_newton_schulz(x: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Keller Jordan's quintic iteration on the narrow side, on a matrix that is normalised already."""
    if x.shape[0] > x.shape[1]:
        return published_newton_schulz(x.T, steps).T
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


class PublishedMuon:
    """Moonlight's update with Nesterov momentum 0.95, on the rows of each part of one parameter."""

    def __init__(self, parameter: torch.Tensor, rate: float, decay: float, rows: tuple[int, ...] = ()):
        self.parameter, self.rate, self.decay = parameter, rate, decay
        self.rows = list(rows) or [parameter.shape[0]]
        self.momentum = torch.zeros_like(parameter, dtype=torch.float64)

    @torch.no_grad()
    def step(self) -> None:
        assert self.parameter.grad is not None
        gradient = self.parameter.grad.double()
        self.momentum = 0.95 * self.momentum + gradient
        nesterov = gradient + 0.95 * self.momentum
        updates = []
        for part in nesterov.split(self.rows):
            update = published_newton_schulz(part / (part.norm() + 1e-7))
            updates.append(0.2 * max(part.shape) ** 0.5 * update)
        decayed = self.parameter.double() * (1 - self.rate * self.decay)
        self.parameter.copy_(decayed - self.rate * torch.cat(updates))
