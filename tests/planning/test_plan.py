"""The plan's numbers: published totals, sums that add up, small cases worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rich.console import Console

from flyweight.curriculum import Schedule
from flyweight.model import flops_per_token
from flyweight.planning import Plan, plan_recipe, realised_tokens, render
from flyweight.planning.plan import decay_start_step
from flyweight.planning.rendering import format_duration
from flyweight.recipe import Recipe, load_recipe, packaged_recipes, recipe_from_dict

RECIPES = sorted(packaged_recipes())


@pytest.fixture(scope="module")
def plans() -> dict[str, Plan]:
    return {name: plan_recipe(load_recipe(name)) for name in RECIPES}


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("gpt-x2-125m", 125_081_664),
        ("gpt-s-5m", 5_158_464),
        ("xmodel-2-1.2b", 1_251_755_520),
        ("xmodel-2.5-1.3b", 1_350_059_520),
    ],
)
def test_parameters_are_those_of_the_published_models(plans: dict[str, Plan], name: str, total: int):
    assert plans[name].parameters["total"] == total


def test_gpt_x2_takes_the_published_steps(plans: dict[str, Plan]):
    plan = plans["gpt-x2-125m"]
    assert plan.parameters["embedding"] == 18_874_368
    assert plan.parameters["per_block"] == 3_540_224
    assert plan.parameters["blocks"] == 106_206_720
    assert plan.steps == 143_051
    assert plan.decay_start_step == 114_441
    assert plan.tokens["total"] == 143_051 * 524_288
    assert plan.export_class == "Qwen3ForCausalLM"


def test_export_classes(plans: dict[str, Plan]):
    assert plans["xmodel-2.5-1.3b"].export_class == "LlamaForCausalLM"
    assert plans["gpt-s-5m"].export_class == "own code"


def test_xmodel_2_5_decays_where_its_scripts_say(plans: dict[str, Plan]):
    plan = plans["xmodel-2.5-1.3b"]
    assert plan.steps == 560_000
    assert plan.decay_start_step == 530_000
    assert [segment["first_step"] for segment in plan.segments] == [0, 270_000, 530_000, 550_000, 555_000]


@pytest.mark.parametrize("name", RECIPES)
def test_sums_add_up_for_every_recipe(plans: dict[str, Plan], name: str):
    plan = plans[name]
    counts = plan.parameters
    parts = counts["embedding"] + counts["blocks"] + counts["final_norm"] + counts["lm_head"]
    assert parts == counts["total"]
    assert sum(plan.tokens["by_source"].values()) == plan.tokens["total"]
    assert all(tokens >= 0 for tokens in plan.tokens["by_source"].values())
    assert sum(segment["steps"] for segment in plan.segments) == plan.steps
    assert sum(segment["tokens"] for segment in plan.segments) == plan.tokens["total"]
    memory, disk = plan.memory, plan.disk
    assert plan.memory_bytes == memory.total
    assert plan.disk_bytes == disk.shards + disk.checkpoints + disk.export
    assert plan.flops_per_token * plan.tokens["total"] == pytest.approx(plan.total_flops)


@pytest.mark.parametrize("name", RECIPES)
def test_json_holds_the_whole_plan(plans: dict[str, Plan], name: str):
    plan = plans[name]
    assert json.loads(plan.to_json()) == json.loads(json.dumps(plan.to_dict()))
    assert json.loads(plan.to_json())["memory"]["weights"] == 4 * plan.parameters["total"]
    assert isinstance(plan.memory_bytes, int)
    assert isinstance(plan.disk_bytes, int)


def test_tokens_by_source_follow_the_weights(tiny: dict[str, Any]):
    plan = plan_recipe(recipe_from_dict(tiny))
    # 8 steps of 64 tokens at 3:1 (the second half of the mixture begins at step 5), 3 more at 1:1.
    assert plan.steps == 8
    assert plan.tokens == {"total": 512, "by_source": {"a": 5 * 48 + 3 * 32, "b": 5 * 16 + 3 * 32}}


def test_segments_weigh_the_flops(tiny: dict[str, Any]):
    tiny["training"]["sequence_length"] = [{"at": 0, "value": 16}, {"at": 256, "value": 32}]
    tiny["training"]["batch_size"] = [{"at": 0, "value": 4}, {"at": 256, "value": 2}]
    recipe = recipe_from_dict(tiny)
    plan = plan_recipe(recipe)
    short, long = (flops_per_token(recipe.model, length) for length in (16, 32))
    assert short < long
    assert plan.flops_per_token == pytest.approx((short + long) / 2)
    assert plan.total_flops == pytest.approx(256 * short + 256 * long)


@pytest.mark.parametrize(
    ("rate", "first"),
    [
        (1e-3, None),  # never decays
        ([{"at": 0, "value": 0}, {"at": 512, "value": 1e-3, "shape": "linear"}], None),  # only rises
        ([{"at": 0, "value": 1e-3}, {"at": 256, "value": 1e-4}], 4),  # drops before the step at 256
        ([{"at": 0, "value": 1e-3}, {"at": 250, "value": 1e-4}], 4),  # read in the middle of steps
        ([{"at": 0, "value": 1e-3}, {"at": 220, "value": 1e-4}], 3),  # of which step 3 lies at 224
        ({"wsd": {"peak": 1e-3, "warmup": 128, "decay_start": 256}}, 4),
        # A second, lower warm-up after the decay does not count as the peak.
        (
            [
                {"at": 0, "value": 1e-3},
                {"at": 128, "value": 1e-3},
                {"at": 256, "value": 1e-4, "shape": "linear"},
                {"at": 512, "value": 5e-4, "shape": "linear"},
            ],
            2,
        ),
    ],
)
def test_decay_begins_at_the_first_step_below_the_peak(tiny: dict[str, Any], rate: Any, first: int | None):
    tiny["training"]["learning_rate"] = rate
    recipe = recipe_from_dict(tiny)
    assert decay_start_step(recipe, Schedule.of(recipe.training)) == first


def test_epochs_and_their_warning(tiny_recipe: Recipe):
    plan = plan_recipe(tiny_recipe, {"a": 84, "b": 40})
    assert plan.epochs == {"a": 4.0, "b": pytest.approx(4.4)}
    assert len(plan.warnings) == 1
    assert plan.warnings[0].startswith("b is read 4.4 times")
    assert plan_recipe(tiny_recipe).epochs is None
    assert plan_recipe(tiny_recipe, {"a": 0, "b": 1000}).epochs == {"b": pytest.approx(0.176)}


def test_time_is_flops_over_speed(tiny_recipe: Recipe):
    plan = plan_recipe(tiny_recipe, peak_flops=1e9, share_of_peak=0.25)
    assert plan.seconds == pytest.approx(plan.total_flops / 2.5e8)
    assert plan_recipe(tiny_recipe).seconds is None


def test_notes_of_the_recipe_are_in_the_plan():
    scaled = load_recipe("gpt-s-5m").scaled("5M")
    assert plan_recipe(scaled).notes == list(scaled.notes)
    assert scaled.notes


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (90, "1.5 min"), (7200, "2 h"), (86_400, "24 h"), (864_000, "10 days")],
)
def test_durations(seconds: float, text: str):
    assert format_duration(seconds) == text


def _shown(plan: Plan) -> str:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render(plan))
    return console.export_text()


def test_the_terminal_shows_the_numbers(plans: dict[str, Plan]):
    text = _shown(plans["gpt-x2-125m"])
    for number in ("125,081,664", "30 blocks of 3,540,224", "143,051", "114,441", "Qwen3ForCausalLM"):
        assert number in text
    assert "260,000" in _shown(plans["xmodel-2.5-1.3b"])
    assert "99.9990%" in _shown(plans["xmodel-2.5-1.3b"])


def test_names_of_sources_are_no_markup(tiny: dict[str, Any]):
    tiny["sources"] = {"[red]x": tiny["sources"]["a"], "[/]": tiny["sources"]["b"]}
    tiny["training"]["mixture"] = [{"at": 0, "weights": {"[red]x": 0.75, "[/]": 0.25}}]
    text = _shown(plan_recipe(recipe_from_dict(tiny), {"[red]x": 50, "[/]": 10_000}, peak_flops=1e12))
    assert "[red]x" in text
    assert "[/]" in text
    assert "at 40% of 1e+12 FLOP/s" in text
    assert "[red]x is read 7.7 times" in text


def test_without_a_corpus_the_plan_says_what_text_is_needed(tiny: dict[str, Any], plans: dict[str, Plan]):
    plan = plans["gpt-x2-125m"]
    assert plan.epochs is None
    assert plan.text_needed is not None
    assert plan.assumed_bytes_per_token == pytest.approx(4.1)
    assert sum(plan.text_needed.values()) == pytest.approx(4.1 * plan.tokens["total"], rel=1e-6)
    assert "~170GB" in _shown(plan)
    assert "assumed 4.1 bytes a token" in _shown(plan)
    known = plan_recipe(recipe_from_dict(tiny), {"a": 1000, "b": 1000})
    assert (known.text_needed, known.assumed_bytes_per_token) == (None, None)
    assert "assumed" not in _shown(known)


def test_a_limit_that_makes_many_epochs_is_warned_of_before_anything_is_read(tiny: dict[str, Any]):
    tiny["sources"]["b"]["limit"] = "40"
    (warning,) = plan_recipe(recipe_from_dict(tiny)).warnings
    assert warning.startswith("b is read about 8.1 times, for its `limit` allows no more text")
    tiny["sources"]["b"]["limit"] = "100"
    assert plan_recipe(recipe_from_dict(tiny)).warnings == []
    # The corpus itself has the last word.
    tiny["sources"]["b"]["limit"] = "40"
    assert plan_recipe(recipe_from_dict(tiny), {"a": 5000, "b": 5000}).warnings == []


def test_what_a_run_read_stands_beside_the_plan(tiny_recipe: Recipe):
    steps = [
        {"clock": 64, "realised": {"a": 3, "b": 1}},
        {"clock": 256, "realised": {"a": 11, "b": 5}},
    ]
    plan = plan_recipe(tiny_recipe, realised=realised_tokens(steps))
    assert plan.realised == {
        "begin": 0, "end": 256, "planned": {"a": 192.0, "b": 64.0}, "read": {"a": 176.0, "b": 80.0},
    }  # fmt: skip
    text = _shown(plan)
    for cell in ("planned to 256", "realised", "75.00%", "68.75%", "31.25%"):
        assert cell in text
    assert json.loads(plan.to_json())["realised"]["read"] == {"a": 176.0, "b": 80.0}
    assert plan_recipe(tiny_recipe).realised is None
