"""Carried values are measured beside searched ones, at the same size, over the same tokens, with as many seeds."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner
from windtunnel_setup import tunnel_recipe

pytest.importorskip("optuna")

from ruamel.yaml import YAML

from flyweight.base import UserError
from flyweight.cli import app
from flyweight.corpus import open_corpus
from flyweight.recipe import load_recipe
from flyweight.windtunnel.confirmation import Candidate
from flyweight.windtunnel.flight import write_result
from flyweight.windtunnel.retuning import Retuning, open_retuning
from flyweight.windtunnel.study import open_study

FOUND = {"parametrization.scale_emb": 5.0, "training.learning_rate": 0.03}


def test_what_carrying_costs():
    one = Retuning(Candidate(3, FOUND, (2.02, 2.06)), Candidate(1, FOUND, (2.0, 2.0)))
    assert one.cost == pytest.approx(0.02)
    assert one.spread == pytest.approx(math.sqrt(0.0008) / math.sqrt(2) / 2)
    assert Retuning(Candidate(3, FOUND, (2.02,)), Candidate(1, FOUND, (2.0,))).spread is None


def test_a_size_that_the_search_has_seen_is_refused(texts: Path, shards: Path, tmp_path: Path):
    for width, depth in ((32, None), (64, 1)):
        with pytest.raises(UserError, match="not larger than the proxy, 32 with 2"):
            open_retuning(tunnel_recipe(texts), open_corpus(shards), tmp_path, width, depth)


@pytest.mark.slow
def test_the_command(texts: Path, shards: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tunnel_recipe(texts, trials=3, confirm=1)
    with Path("wing.yaml").open("w") as out:
        YAML(typ="safe", pure=True).dump(recipe.to_dict(), out)
    write_result(open_study(recipe, open_corpus(shards), Path("small")), [Candidate(2, FOUND, (2.5, 2.6))])
    words = [
        "tunnel",
        "retune",
        "wing.yaml",
        "small",
        "--width",
        "64",
        "--corpus",
        str(shards),
        "--workers",
        "2",
    ]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    folder = Path("studies/wing-retuned")
    result = json.loads((folder / "retuning.json").read_text())
    assert result["carried"]["values"] == FOUND
    assert len(result["carried"]["objectives"]) == len(result["searched"]["objectives"]) == 2
    assert f"carrying costs {result['cost']:+.2%} bits per byte" in run.output
    one = load_recipe(str(folder / "carried" / "seed-1" / "recipe.yaml"))
    other = load_recipe(str(folder / "trials" / "0000" / "recipe.yaml"))
    assert one.model == other.model
    assert other.training.learning_rate.maximum == pytest.approx(
        0.03
    )  # the search begins with what is carried
    assert one.model.hidden_size == 64
    assert one.training.tokens == other.training.tokens == recipe.tunnel.proxy.tokens
    assert one.training.learning_rate.maximum == pytest.approx(0.03)
    assert one.seed == recipe.seed + 1
