"""A ladder of runs becomes a law, once, and another ladder is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from windtunnel_setup import tunnel_recipe

pytest.importorskip("scipy")

from flyweight.base import UserError
from flyweight.model import flops_per_token, matrix_parameters
from flyweight.windtunnel.scaling_runs import (
    BEGUN_FILE,
    LAW_FILE,
    Ladder,
    read_scaling,
    run_scaling,
    tokens_of_ladder,
    trees,
)
from flyweight.windtunnel.workers import Stopped

LADDER = Ladder(sizes=((32, 1), (64, 1)), tokens=(2048, 4096, 8192), held_out=((64, 2),))


def test_ladders_that_say_nothing_are_refused():
    for sizes, tokens in (
        (((32, 1),), (1, 2, 3)),
        (((32, 1), (64, 1)), (4, 2)),
        (((32, 1), (64, 1)), (1, 2)),
    ):
        with pytest.raises(UserError, match="scaling law"):
            Ladder(sizes, tokens)
    with pytest.raises(UserError, match="32x1 is named twice"):
        Ladder(((32, 1), (64, 1)), (1, 2, 3), held_out=((32, 1),))


def test_parameters_are_those_of_matrices(texts: Path):
    model = tunnel_recipe(texts).model
    assert matrix_parameters(model) == flops_per_token(model, 0) / 6
    untied = model.model_copy(update={"tie_word_embeddings": False})
    assert matrix_parameters(untied) == matrix_parameters(model)  # a look-up is no product


def test_the_stable_stage_is_paid_once(texts: Path, tmp_path: Path):
    tokens = tokens_of_ladder(trees(tunnel_recipe(texts), LADDER, tmp_path, 1))
    assert set(tokens) == {(32, 1), (64, 1), (64, 2)}
    apart = sum(LADDER.tokens)
    assert 0.6 * apart < tokens[32, 1] < 0.8 * apart


@pytest.mark.slow
def test_a_law_is_measured_once(texts: Path, shards: Path, tmp_path: Path):
    recipe = tunnel_recipe(texts)
    seen: list[int] = []
    with pytest.raises(Stopped, match="0 of 3 runs are done"):
        run_scaling(recipe, LADDER, shards, tmp_path / "law", until=0.0)
    found = run_scaling(recipe, LADDER, shards, tmp_path / "law", workers=2, progress=seen.append)
    assert seen[-1] == 3 * (1 + 3)
    assert [branch.tokens for branch in found.branches] == [2048, 4096, 8192] * 2
    assert {branch.parameters for branch in found.held_out}.isdisjoint(
        point.parameters for point in found.fit.measured
    )
    for one in (found.branches[:3], found.branches[3:]):
        assert one[0].objective > one[1].objective > one[2].objective
    again = read_scaling(tmp_path / "law")
    assert (
        again.to_dict()
        == json.loads((tmp_path / "law" / LAW_FILE).read_text())
        == json.loads(json.dumps(found.to_dict()))
    )
    assert again.fit.predict(1e5, 1e5) == found.fit.predict(1e5, 1e5)
    with pytest.raises(UserError, match="begun with another ladder, which is fixed"):
        run_scaling(recipe, Ladder(LADDER.sizes, (4096, 6144, 8192)), shards, tmp_path / "law")
    (tmp_path / "law" / LAW_FILE).write_text('{"format": 1}')
    with pytest.raises(UserError, match="no scaling law as Flyweight writes it"):
        read_scaling(tmp_path / "law")
    with pytest.raises(UserError, match="no scaling law here"):
        read_scaling(tmp_path)
    assert (tmp_path / "law" / BEGUN_FILE).exists()
