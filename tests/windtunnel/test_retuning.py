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
from flyweight.windtunnel.retuning import Retuning, best_other, carried_values, open_retuning
from flyweight.windtunnel.study import open_study

OTHER = {"parametrization.scale_emb": 3.0, "training.learning_rate": 0.01}
FOUND = {"parametrization.scale_emb": 5.0, "training.learning_rate": 0.03}


def test_what_carrying_costs():
    searched = Candidate(1, OTHER, (1.9, 2.0, 2.0))  # chosen by its first seed, which flatters it
    one = Retuning(Candidate(3, FOUND, (2.5, 2.02, 2.06)), searched)
    assert one.cost == pytest.approx(0.02)
    assert one.error == pytest.approx(
        math.hypot(one.carried.spread, searched.spread) / math.sqrt(2) / searched.mean
    )
    alone = Retuning(Candidate(3, FOUND, (2.02,)), Candidate(1, OTHER, (2.0,)))
    assert alone.error is None
    assert alone.cost == pytest.approx(0.01)


def test_the_other_values_are_others_and_sound():
    carried = Candidate(0, FOUND, (2.0, 2.0))
    same, wild = Candidate(0, FOUND, (1.8, 1.9)), Candidate(2, OTHER, (1.0,), diverged=1)
    lucky, best = Candidate(3, OTHER, (1.5, 2.2)), Candidate(4, OTHER, (1.9, 2.1))
    assert best_other([lucky, best, wild, same], carried) is best
    assert best_other([same, wild], carried) is None


def test_a_study_that_does_not_fit_is_refused(texts: Path, shards: Path, tmp_path: Path):
    corpus, recipe = open_corpus(shards), tunnel_recipe(texts)
    study = open_retuning(recipe, corpus, tmp_path / "large", 64, None)

    def with_best(values: dict[str, float]) -> Path:
        write_result(open_study(recipe, corpus, tmp_path / "small"), [Candidate(2, values, (2.5,))])
        return tmp_path / "small"

    assert carried_values(study, with_best(FOUND)).values == FOUND
    for value in (0.5, 1e-4):
        with pytest.raises(UserError, match="outside the recipe's space"):
            carried_values(study, with_best(FOUND | {"training.learning_rate": value}))
    with pytest.raises(UserError, match="that study searched"):
        carried_values(study, with_best({"training.learning_rate": 0.03}))
    about = json.loads((with_best(FOUND) / "study.json").read_text())
    (tmp_path / "small" / "study.json").write_text(json.dumps(about | {"corpus": "other"}))
    with pytest.raises(UserError, match="made with other token shards"):
        carried_values(study, tmp_path / "small")


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
