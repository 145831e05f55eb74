"""A plan says what a scaling law says, how far it reaches and where it does not belong."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from flyweight.base import write_json
from flyweight.cli import app
from flyweight.model import matrix_parameters
from flyweight.planning.prediction import predict
from flyweight.recipe import identity, load_recipe
from flyweight.windtunnel.scaling_law import Fit, Law, Measured
from flyweight.windtunnel.scaling_runs import LAW_FILE, Scaling

LAW = Law(a=400.0, alpha=0.45, b=900.0, beta=0.42, c=0.9)
OTHERS = tuple(Law(a, 0.45, 900.0, 0.42, 0.9) for a in (380.0, 390.0, 410.0, 420.0))


def scaling(recipe) -> Scaling:
    measured = tuple(
        Measured(size, count, LAW.loss(size, count))
        for size in (10**6, 10**7)
        for count in (10**8, 10**9, 10**10)
    )
    about = {
        "format": 1,
        "version": "0",
        "recipe": identity(recipe),
        "weights": {},
        "measured on": {},
        "corpus": "",
        "ladder": {},
    }
    return Scaling(Fit(LAW, OTHERS, measured), (), (), about)


def test_a_run_of_another_size_and_length_is_predicted():
    recipe = load_recipe("gpt-s-5m")
    longer = load_recipe("gpt-s-5m", ["training.tokens=50B"])
    found = predict(longer, scaling(recipe))
    n = matrix_parameters(recipe.model)
    assert found.parameters == n
    assert found.bits_per_byte == LAW.loss(n, found.tokens)
    assert found.low < found.bits_per_byte < found.high
    assert found.outside[0] == "this run has 5 times the most tokens that the law was fitted to"
    assert found.differences == []
    best = found.best
    assert best is not None
    assert best.bits_per_byte <= found.bits_per_byte
    assert 6 * best.parameters * best.tokens == pytest.approx(found.budget)
    assert best.low < best.parameters < best.high


def test_far_below_and_far_above_are_told():
    recipe = load_recipe("gpt-s-5m").scaled("20M")
    found = predict(recipe, scaling(recipe), 1e24)
    assert found.outside[0] == "this run has 0.2 times the fewest tokens that the law was fitted to"
    assert found.outside[1].startswith("the best split has ")
    whole = load_recipe("gpt-s-5m")
    weighed = load_recipe("gpt-s-5m", ["tunnel.weights={fineweb_edu: 1}"])
    assert predict(weighed, scaling(whole)).differences == ["tunnel.weights"]


def test_another_recipe_is_named():
    law = scaling(load_recipe("gpt-s-5m"))
    other = load_recipe("gpt-s-5m", ["training.adamw.beta2=0.99", "model.rope_theta=10000", "seed=7"])
    assert predict(other, law).differences == ["model.rope_theta", "training.adamw.beta2"]


def test_the_command(tmp_path):
    write_json(tmp_path / LAW_FILE, scaling(load_recipe("gpt-s-5m")).to_dict())
    run = CliRunner().invoke(
        app, ["plan", "gpt-s-5m", "--law", str(tmp_path), "--budget-flops", "1e18", "--json"]
    )
    assert run.exit_code == 0, run.output
    prediction = json.loads(run.stdout)["prediction"]
    assert prediction["budget"] == 1e18
    shown = CliRunner().invoke(app, ["plan", "gpt-s-5m", "--law", str(tmp_path)])
    assert f"{prediction['bits_per_byte']:.4f}" in shown.output
    assert "this run has 2.5 times the most tokens that the law was fitted to" in " ".join(
        shown.output.split()
    )
    odd = CliRunner().invoke(app, ["plan", "gpt-s-5m", "--budget-flops", "1e18"])
    assert odd.exit_code == 1
    assert "goes with --law" in str(odd.exception)
