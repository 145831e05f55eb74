"""Where a sweep is lowest, how far that moves, and that a grid is fixed before its first run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from windtunnel_setup import tunnel_recipe

from flyweight.base import UserError
from flyweight.model import parameter_counts
from flyweight.windtunnel.costs import transfer_cost
from flyweight.windtunnel.lines import transfer_lines
from flyweight.windtunnel.transfer import (
    Grid,
    Transfer,
    powers_of_two,
    run_transfer,
    transfer_jobs,
)
from flyweight.windtunnel.widths import STANDARD_STD, sized

RATES = powers_of_two(-10, -4)


def bowl(lowest: float, depth: float = 2.0, seeds: int = 3) -> np.ndarray:
    """A parabola in log2 of the rate, (rates, seeds), with its lowest point at 2^lowest."""
    powers = np.log2(RATES)
    return depth + 0.05 * (powers[:, None] - lowest) ** 2 + np.array([0.0, 0.01, -0.01])[:seeds]


def transfer(**lowest: list[float]) -> Transfer:
    grid = Grid(kinds=tuple(lowest), widths=(32, 64), depths=(2,), rates=RATES)
    return Transfer(
        grid,
        {
            (kind, width, 2): bowl(at)
            for kind, places in lowest.items()
            for width, at in zip((32, 64), places, strict=True)
        },
    )


def test_the_optimum_lies_between_the_cells():
    found = transfer(mup=[-7.3, -7.3], standard=[-6.8, -8.4])
    best = found.optimum("mup", 32, 2)
    assert math.log2(best.rate) == pytest.approx(-7.3)
    assert RATES[best.cell] == 2**-7
    assert best.cells_of_seeds == (3, 3, 3)
    assert not best.at_edge
    assert found.moved("mup") == pytest.approx(0)
    assert found.moved("standard") == pytest.approx(-1.6)
    carried = 0.05 * ((-7 + 8.4) ** 2 - (-8 + 8.4) ** 2)  # from the best cell of the narrow one to its own
    assert found.loss_of_carrying("standard", 64, 2) == pytest.approx(carried)


def test_an_optimum_at_the_edge_says_so_and_a_diverged_run_is_never_it():
    found = transfer(mup=[-3, -7])
    assert found.optimum("mup", 32, 2).at_edge
    found.objectives["mup", 64, 2][3, 1] = math.inf  # one seed at the best rate
    assert found.optimum("mup", 64, 2).cell in (2, 4)
    found.objectives["mup", 64, 2][:] = math.inf
    with pytest.raises(UserError, match="no rate of the grid was sound"):
        found.optimum("mup", 64, 2)
    assert found.sound_optimum("mup", 64, 2) is None
    assert found.moved("mup") is None
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["sweeps"][1]["best_rate"] is None
    assert any("every rate of the grid diverged" in line for line in transfer_lines(found))


def test_a_rate_that_diverges_when_carried_is_told():
    found = transfer(mup=[-7, -7])
    found.objectives["mup", 64, 2][3, 0] = math.inf
    assert found.loss_of_carrying("mup", 64, 2) is None
    assert any("with the best of the smallest diverged" in line for line in transfer_lines(found))
    json.dumps(found.to_dict(), allow_nan=False)


def test_grids_that_say_nothing_are_refused():
    with pytest.raises(UserError, match="three rates"):
        Grid(("mup",), (32,), (2,), (0.1, 0.2))
    with pytest.raises(UserError, match="a seed at least"):
        Grid(("mup",), (32,), (2,), RATES, seeds=0)
    for odd in (0.0, math.inf, math.nan):
        with pytest.raises(UserError, match="tokens per parameter; expected more than 0"):
            Grid(("mup",), (32,), (2,), RATES, tokens_per_parameter=odd)


def test_each_size_has_as_many_tokens_as_parameters(texts: Path):
    recipe = tunnel_recipe(texts)
    grid = Grid(("mup",), (32, 64), (1,), RATES, tokens_per_parameter=0.12)
    for (_, width, _, _, _), job in transfer_jobs(recipe, grid, workers=1).items():
        counted = parameter_counts(sized(recipe, "mup", width, 1).model)["total"]
        assert job.recipe.training.tokens == round(0.12 * counted)
        assert job.recipe.training.batch_size == recipe.training.batch_size
    with pytest.raises(UserError, match="more than the recipe's 8,192"):
        transfer_jobs(recipe, Grid(("mup",), (64,), (2,), RATES, tokens_per_parameter=20), workers=1)


def test_jobs_differ_in_what_is_swept_and_in_nothing_else(texts: Path):
    recipe = tunnel_recipe(texts)
    grid = Grid(("mup", "standard"), (32, 64), (2,), RATES, seeds=2)
    jobs = transfer_jobs(recipe, grid, workers=2)
    assert len(jobs) == grid.runs == len({job.name for job in jobs.values()})
    one, two = jobs["mup", 64, 2, 0, 1].recipe, jobs["standard", 32, 2, 6, 0].recipe
    assert one.training.learning_rate.maximum == 2**-10
    assert two.training.learning_rate.maximum == 2**-4
    assert (one.seed, two.seed) == (1, 0)
    assert (one.model.num_attention_heads, two.model.num_attention_heads) == (4, 2)
    assert two.parametrization.init_std == STANDARD_STD
    assert one.training.mixture == two.training.mixture
    with pytest.raises(UserError, match="needs a base width"):
        sized(sized(recipe, "standard", 32, 2), "mup", 32, 2)


@pytest.mark.slow
def test_a_sweep_is_run_once_and_another_grid_refused(texts: Path, shards: Path, tmp_path: Path):
    recipe = tunnel_recipe(texts)
    grid = Grid(("mup",), (32, 64), (1,), powers_of_two(-8, -6), seeds=1)
    assert transfer_cost(recipe, grid, 2).startswith("cost: 6 runs of 8.192K tokens, 49.15K in all; about ")
    found = run_transfer(recipe, grid, shards, tmp_path / "sweep", workers=2)
    assert np.isfinite([values for values in found.objectives.values()]).all()
    assert found.parameters[64, 1] > found.parameters[32, 1]
    again = run_transfer(recipe, grid, shards, tmp_path / "sweep", workers=2)
    assert again.to_dict() == found.to_dict()
    other = Grid(("mup",), (32, 64), (1,), powers_of_two(-9, -6), seeds=1)
    with pytest.raises(
        UserError, match="this sweep was begun with another grid, which is fixed before its first run"
    ):
        run_transfer(recipe, other, shards, tmp_path / "sweep")
