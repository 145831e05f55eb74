"""Every timeline of a recipe is drawn, with the values that training will read."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from flyweight.base import UserError
from flyweight.model import Decoder, Role
from flyweight.planning import plot_timelines, timeline_panels
from flyweight.plots import Panel
from flyweight.recipe import load_recipe, packaged_recipes, recipe_from_dict
from flyweight.training.optimizers import OptimizerByRole


def _panels(name: str) -> dict[str, Panel]:
    return {panel.title: panel for panel in timeline_panels(load_recipe(name))}


@pytest.mark.parametrize("name", sorted(packaged_recipes()))
def test_every_recipe_has_every_panel(name: str):
    recipe, panels = load_recipe(name), _panels(name)
    assert list(panels) == [
        "Learning rate by role", "Weight decay", "z-loss coefficient", "Batch size, sequences",
        "Sequence length, tokens", "Optimizer", "Mixture",
    ]  # fmt: skip
    shares = panels["Mixture"].shares
    assert shares is not None
    assert set(shares.by_source) == set(recipe.sources)
    assert np.allclose(sum(shares.by_source.values()), 1)
    assert shares.tokens[-1] == recipe.training.tokens


@pytest.mark.parametrize(("kind", "lines"), [("xmodel-2.5", 2), ("minicpm", 2), ("mup", 2), ("standard", 1)])
def test_rates_are_those_of_training(kind: str, lines: int):
    """Also across the switch to Muon, whose matrices have other multipliers of width in `minicpm` and `mup`."""
    values = load_recipe("xmodel-2.5-1.3b").scaled("5M", factor=8).to_dict()
    values["training"]["role_learning_rate"] = {}
    if kind == "standard":
        values["parametrization"] = {"kind": kind}
    else:
        values["parametrization"]["kind"] = kind
    recipe = recipe_from_dict(values)
    decoder = Decoder(recipe.model, recipe.parametrization)
    optimizers = {name: OptimizerByRole(decoder, recipe.training, name) for name in ("adamw", "muon")}
    panel = timeline_panels(recipe)[0]
    assert len(panel.series) == lines
    for line in panel.series:
        for role in ("embedding", "hidden", "output", "gain") if lines == 1 else line.label.split(", "):
            for clock, rate in list(zip(line.x, line.y, strict=True))[::7]:
                running = [knot.kind for knot in recipe.training.optimizer if knot.at <= clock][-1]
                assert rate == pytest.approx(optimizers[running].rates(clock)[Role(role)])


def test_jumps_are_drawn_as_jumps():
    (line,) = _panels("gpt-x2-125m")["z-loss coefficient"].series
    values = dict(zip(line.x.tolist(), line.y.tolist(), strict=True))
    assert values[30_999_999_999] == 1e-4
    assert values[31_000_000_000] == 0


def test_optimizers_are_bands_over_the_whole_run():
    recipe = load_recipe("xmodel-2.5-1.3b")
    bands = _panels("xmodel-2.5-1.3b")["Optimizer"].bands
    assert [name for _, _, name in bands] == ["AdamW", "Muon", "Muon"]
    assert bands[0][0] == 0
    assert bands[-1][1] == recipe.training.tokens
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bands))


def test_files(tmp_path: Path):
    recipe = load_recipe("quickstart")
    plot_timelines(recipe, tmp_path / "deep" / "plot.png")
    assert (tmp_path / "deep" / "plot.png").read_bytes().startswith(b"\x89PNG")
    plot_timelines(recipe, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "english" in text
    with pytest.raises(UserError, match=r"plot\.jpg: figures are drawn as"):
        plot_timelines(recipe, tmp_path / "plot.jpg")
