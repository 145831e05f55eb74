"""How fast a recipe trains on this machine, by a short trial."""

from __future__ import annotations

import statistics
import time

import torch

from flyweight.curriculum import Batch, trial_batch
from flyweight.model import Decoder
from flyweight.recipe import Recipe
from flyweight.training.objective import Objective
from flyweight.training.plan import apply_plan, resolve_plan
from flyweight.training.precision import convert_to_float8
from flyweight.training.tiers import accelerate, without_compiling


def measured_speed(recipe: Recipe, seconds: float = 2.0) -> float:
    """Tokens a second of forward and backward passes at the recipe's first batch shape.

    Two passes to warm up, then as many as fit into `seconds`; the median counts.
    """
    plan = resolve_plan(without_compiling(recipe))
    apply_plan(plan)
    device = torch.device(plan.device)
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(0).to(device)
    convert_to_float8(decoder, plan.fp8_scaling, plan.fp8_layers)
    accelerate(decoder, plan.attention, plan.compiled)
    length = int(recipe.training.sequence_length.at(0))
    rows = plan.micro_batch_for(int(recipe.training.batch_size.at(0)), length)
    objective = Objective(decoder, plan.precision, plan.compiled)
    tokens = torch.randint(0, recipe.model.vocab_size, (rows, length + 1))
    batch = trial_batch(tokens, recipe.training.document_masking)
    for _ in range(2):
        _pass(objective, batch, device)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        _pass(objective, batch, device)
        times.append(time.perf_counter() - begin)
    return rows * length / statistics.median(times)


def _pass(objective: Objective, batch: Batch, device: torch.device) -> None:
    loss = objective(batch.tokens.to(device), 0.0, batch.documents(device))
    loss.total.backward()
    loss.cross_entropy.item()  # waits for the device
