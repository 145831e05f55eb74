"""The target's recipe is the recipe with what was found, and says where it is from."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from windtunnel_setup import tunnel_recipe

from flyweight.base import UserError
from flyweight.corpus import open_corpus
from flyweight.recipe import load_recipe
from flyweight.windtunnel.flight import fly, write_result
from flyweight.windtunnel.proxy import value_of
from flyweight.windtunnel.search import Candidate
from flyweight.windtunnel.study import open_study

FOUND = {"parametrization.scale_emb": 5.0, "training.learning_rate": 0.03}


@pytest.fixture
def study(texts: Path, shards: Path, tmp_path: Path):
    pytest.importorskip("optuna")
    return open_study(tunnel_recipe(texts), open_corpus(shards), tmp_path / "study")


def test_the_target_has_what_was_found_and_nothing_else_is_changed(study, texts: Path, tmp_path: Path):
    wild = Candidate(4, {"parametrization.scale_emb": 8.0, "training.learning_rate": 0.1}, (1.0,), diverged=1)
    write_result(study, [Candidate(2, FOUND, (2.5, 2.6)), wild])
    recipe = tunnel_recipe(texts)
    file = tmp_path / "recipe.yaml"
    with file.open("w") as out:
        YAML(typ="safe", pure=True).dump(recipe.to_dict(), out)
    flown = fly(load_recipe(str(file)), study.folder, tmp_path / "flown.yaml")
    assert load_recipe(str(tmp_path / "flown.yaml")) == flown
    for key, value in FOUND.items():
        assert value_of(flown, key) == pytest.approx(value)
    assert flown.model == recipe.model
    assert flown.training.tokens == recipe.training.tokens
    text = (tmp_path / "flown.yaml").read_text()
    assert "5 by study wing-proxy, trial 2, ± 0.0707 over 2 seeds; was 1" in text
    assert "0.03 by study wing-proxy, trial 2, ± 0.0707 over 2 seeds; was 0.01" in text
    with pytest.raises(UserError, match="there is a file already"):
        fly(recipe, study.folder, tmp_path / "flown.yaml")


def test_a_study_without_a_sound_trial_is_told(study, texts: Path, tmp_path: Path):
    with pytest.raises(UserError, match="no finished study"):
        fly(tunnel_recipe(texts), study.folder, tmp_path / "flown.yaml")
    write_result(study, [Candidate(0, FOUND, (), diverged=2)])
    with pytest.raises(UserError, match="every trial of this study diverged"):
        fly(tunnel_recipe(texts), study.folder, tmp_path / "flown.yaml")
