from __future__ import annotations

import pytest

from flyweight.base import UserError
from flyweight.recipe import Recipe, Timeline, load_recipe, packaged_recipes, recipe_from_dict

RECIPES = sorted(packaged_recipes())
TIMELINES = ["sequence_length", "batch_size", "learning_rate", "weight_decay", "z_loss"]


def rates(recipe: Recipe) -> dict[str, Timeline]:
    return {"learning_rate": recipe.training.learning_rate, **recipe.training.role_learning_rate}


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_scales_and_keeps_every_stage(name, factor):
    recipe = load_recipe(name)
    small = recipe.scaled("2M", factor)
    assert recipe_from_dict(small.to_dict()).to_dict() == small.to_dict()
    for key in TIMELINES:
        old, new = getattr(recipe.training, key), getattr(small.training, key)
        assert [knot.shape for knot in new.knots] == [knot.shape for knot in old.knots]
    for key in ("mixture", "optimizer"):
        assert len(getattr(small.training, key)) == len(getattr(recipe.training, key))
    ratio = 2_000_000 / recipe.training.tokens
    for old, new in zip(recipe.training.batch_size.knots, small.training.batch_size.knots, strict=True):
        assert new.at == round(old.at * ratio)
    assert [knot.weights for knot in small.training.mixture] == [
        knot.weights for knot in recipe.training.mixture
    ]
    assert [knot.kind for knot in small.training.optimizer] == [
        knot.kind for knot in recipe.training.optimizer
    ]


def test_a_copy_does_not_pass_for_the_model_that_it_is_a_copy_of():
    recipe = load_recipe("xmodel-2-1.2b")
    small = recipe.scaled("2M", 8)
    assert small.description == (
        "A small copy of xmodel-2-1.2b over 2M tokens, about 8 times narrower and shallower: "
        "Xmodel-2, a 1.2B-parameter model for reasoning."
    )
    plain = recipe.model_copy(update={"description": ""}).scaled("2M")
    assert plain.description == "A small copy of xmodel-2-1.2b over 2M tokens."


@pytest.mark.parametrize("name", RECIPES)
def test_fractions_of_every_schedule_are_kept(name):
    recipe = load_recipe(name)
    tokens = min(3_000_000, recipe.training.tokens // 2)
    small = recipe.scaled(tokens)
    ratio = tokens / recipe.training.tokens
    assert small.training.tokens == tokens
    for key in ("weight_decay", "z_loss", "sequence_length"):
        old, new = getattr(recipe.training, key), getattr(small.training, key)
        assert [knot.value for knot in new.knots] == [knot.value for knot in old.knots]
        assert [knot.at for knot in new.knots] == [round(knot.at * ratio) for knot in old.knots]
    for role, old in rates(recipe).items():
        new = rates(small)[role]
        assert [knot.value for knot in new.knots] == [knot.value for knot in old.knots]
        moved = [
            i
            for i, (a, b) in enumerate(zip(old.knots, new.knots, strict=True))
            if b.at != round(a.at * ratio)
        ]
        assert moved in ([], [1])  # only the end of the warm-up may move
        if moved:
            assert new.knots[1].at == pytest.approx(0.02 * tokens, abs=1)
    assert [k.at for k in small.training.mixture] == [round(k.at * ratio) for k in recipe.training.mixture]
    assert [k.at for k in small.training.optimizer] == [
        round(k.at * ratio) for k in recipe.training.optimizer
    ]
    assert list(small.execution.milestones) == [round(at * ratio) for at in recipe.execution.milestones]


def test_half_lives_are_scaled_too():
    small = load_recipe("xmodel-2-1.2b").scaled("1B")
    start, end = small.training.learning_rate.knots[-2:]
    assert end.half_life is not None
    assert (end.at - start.at) / end.half_life == pytest.approx(4, rel=1e-6)
    assert small.training.learning_rate.at(end.at) == 0.000625


def test_gpt_s_5m_over_5_million_tokens():
    small = load_recipe("gpt-s-5m").scaled("5M")
    training = small.training
    assert small.model == load_recipe("gpt-s-5m").model
    assert training.first_step_tokens == 8_192
    rise, peak, decay, end = training.learning_rate.knots
    assert (rise.at, peak.at, end.at) == (0, 100_000, 5_000_000)
    assert decay.at == pytest.approx(0.7 * 5e6, rel=1e-4)
    assert training.learning_rate.at(100_000) == 2.5e-3
    told = "\n".join(small.notes)
    assert "gpt-s-5m scaled from 25B to 5M tokens" in told
    assert "batch: 262,144 tokens a step became 8,192 (16 sequences of 512)" in told
    assert "warm-up of learning_rate: 1.57% of the run became 2.00%" in told


@pytest.mark.parametrize(("tokens", "least"), [("20M", 8_192), ("2M", 3_333), ("100K", 166)])
def test_the_batch_shrinks_with_the_run_to_a_floor(tokens, least):
    training = load_recipe("gpt-s-5m").scaled(tokens).training
    assert least - 512 <= training.first_step_tokens <= max(least + 512, 512)
    steps = training.tokens // training.first_step_tokens
    assert steps >= 190


def test_a_batch_that_is_large_enough_shrinks_in_proportion():
    training = load_recipe("gpt-s-5m").scaled("2.5B").training
    assert training.first_step_tokens == pytest.approx(262_144 / 10, abs=512)


def test_the_batch_grows_where_the_original_grows():
    knots = load_recipe("xmodel-2-1.2b").scaled("100M").training.batch_size.knots
    assert knots[1].value == 2 * knots[0].value


def test_a_factor_shrinks_the_model_and_everything_is_told():
    recipe = load_recipe("gpt-x2-125m")
    small = recipe.scaled("5M", factor=3)
    assert (small.model.num_attention_heads, small.model.num_key_value_heads) == (3, 1)
    assert (small.model.hidden_size, small.model.num_hidden_layers) == (192, 10)
    assert small.model.head_dim == recipe.model.head_dim
    assert small.model.qk_norm
    assert small.model.scale_embedding
    assert small.model.vocab_size == small.tokenizer.vocab_size == 32768 // 3
    assert small.training.sequence_length.at(0) == 341
    before, after = recipe.model.model_dump(), small.model.model_dump()
    told = "\n".join(small.notes)
    for key in before:
        assert (f"model.{key}: {before[key]} became {after[key]}" in told) == (before[key] != after[key])


def test_a_factor_keeps_the_ratio_of_width_to_base_width():
    recipe = load_recipe("xmodel-2-1.2b")
    small = recipe.scaled("100M", factor=4)
    base, small_base = recipe.parametrization.dim_model_base, small.parametrization.dim_model_base
    assert base is not None
    assert small_base is not None
    assert small.model.hidden_size / small_base == pytest.approx(recipe.model.hidden_size / base, rel=0.02)
    assert small.model.vocab_size == recipe.model.vocab_size  # its tokenizer is an existing one


@pytest.mark.parametrize(
    ("tokens", "factor", "message"),
    [
        ("26B", 1, r"cannot scale to 26,000,000,000 tokens; expected 1 to the recipe's own 24,999,886,848"),
        (0, 1, "cannot scale to 0 tokens"),
        ("5M", 0, "cannot scale by a factor of 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_scaled_is_said(tokens, factor, message):
    with pytest.raises(UserError, match=message):
        load_recipe("gpt-s-5m").scaled(tokens, factor)
