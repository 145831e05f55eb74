"""Optimizers over several processes: Muon on matrices that are cut into rows, and FP8 layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parallel_setup import together
from test_parallel import STEP, assert_same_course, changed, run_on

from flyweight.training import train
from flyweight.training.optimizers import Muon
from flyweight.training.optimizers.cut_matrices import held_rows
from flyweight.training.parallel import Ranks

SHAPES = [(7, 5), (7, 5), (7, 5), (12, 4), (2, 6)]
PARTS = {3: (6, 4, 2)}


def matrices() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def muon_of(parameters: list[torch.Tensor]) -> Muon:
    rows = {parameters[index]: parts for index, parts in PARTS.items()}
    return Muon([{"params": parameters, "lr": 0.1, "weight_decay": 0.1}], rows=rows)


def three_steps(parameters: list[torch.Tensor], cut: Any) -> list[torch.Tensor]:
    muon = muon_of(parameters)
    torch.manual_seed(1)
    for _ in range(3):
        for parameter in parameters:
            parameter.grad = cut(torch.randn(parameter.shape))
        muon.step()
    return parameters


def on_cut_rows(ranks: Ranks) -> tuple[list[Any], list[int]]:
    from torch.distributed.tensor import Shard, distribute_tensor

    from flyweight.training.optimizers import muon as module

    mesh, computed = ranks.mesh("cpu"), []
    original = module.orthogonalize

    def counting(stacked: torch.Tensor, *rest: Any) -> torch.Tensor:
        computed.append(1 if stacked.ndim == 2 else len(stacked))
        return original(stacked, *rest)

    module.orthogonalize = counting
    cut = lambda tensor: distribute_tensor(tensor, mesh, [Shard(0)])  # noqa: E731
    parameters = [torch.nn.Parameter(cut(parameter.detach())) for parameter in matrices()]
    return [p.full_tensor().tolist() for p in three_steps(parameters, cut)], computed  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_muon_on_cut_rows_computes_each_matrix_once_and_as_one_process_does(size):
    expected = three_steps(matrices(), lambda tensor: tensor)
    found = together(size, on_cut_rows)
    for parameters, _ in found:
        for mine, other in zip(parameters, expected, strict=True):
            torch.testing.assert_close(torch.tensor(mine), other.detach(), rtol=1e-4, atol=1e-5)
    whole = len(SHAPES) - len(PARTS) + sum(map(len, PARTS.values()))
    assert sum(sum(computed) for _, computed in found) == 3 * whole


@given(parts=st.lists(st.integers(1, 20), min_size=1, max_size=4), world_size=st.integers(1, 9))
def test_every_row_is_held_once(parts, world_size):
    count = sum(parts)
    held = held_rows(count, parts, world_size)
    assert [sum(rows) for rows in held] == parts
    chunks = [len(chunk) for chunk in torch.arange(count).chunk(world_size)]
    by_rank = [sum(rows) for rows in zip(*held, strict=True)]
    assert by_rank == chunks + [0] * (world_size - len(chunks))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "parallel"), [(2, "fsdp"), (3, "fsdp"), (2, "ddp")])
def test_a_run_with_muon_takes_the_same_course(recipe, corpus, tmp_path, size, parallel):
    switching = changed(
        recipe,
        training={
            "optimizer": [{"at": 0, "kind": "adamw"}, {"at": 2 * STEP, "kind": "muon"}],
            "muon": {"fused_projections": "split"},
            "tokens": 8 * STEP,
        },
    )
    train(switching, corpus, tmp_path / "alone", sinks=[])
    run_on(size, changed(switching, execution={"parallel": parallel}), corpus, tmp_path / "run")
    assert_same_course(tmp_path / "alone", tmp_path / "run")
