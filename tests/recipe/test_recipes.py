"""The recipes that come with Flyweight, against the numbers of the published systems."""

from __future__ import annotations

import re

import pytest

from flyweight.recipe import Model, load_recipe, packaged_recipes, recipe_from_dict

RECIPES = sorted(packaged_recipes())


def test_the_eight_recipes_are_there():
    assert RECIPES == [
        "gpt-s-5m", "gpt-x2-125m", "quickstart", "xmodel-2-1.2b", "xmodel-2-nano", "xmodel-2-tiny",
        "xmodel-2.5-1.3b", "xmodel-2.5-20m",
    ]  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_each_recipe_loads_under_its_name_and_reads_back(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe_from_dict(recipe.to_dict()).to_dict() == recipe.to_dict()


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_says_where_it_comes_from(name):
    lines = packaged_recipes()[name].read_text(encoding="utf-8").splitlines()
    silent = [
        f"{number}: {line}"
        for number, line in enumerate(lines, 1)
        if line.strip()
        and not line.lstrip().startswith("#")
        and not re.fullmatch(r"[\s-]*[\w.-]+:( &\w+)?", line)  # a heading has no value
        and not re.search(r" # \S", line)
    ]
    assert silent == []


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_inferred_says_why(name):
    text = packaged_recipes()[name].read_text(encoding="utf-8")
    after = [found.group(1) for found in re.finditer(r"INFERENCE(.{0,9})", text)]
    assert [reason for reason in after if not re.match(r": .{6}| marks a ", reason)] == []
    assert bool(after) == (name != "quickstart")


def parameters(model: Model) -> dict[str, int]:
    """Counted by hand from the sizes: no biases, tied readout, two norms a block."""
    d, f, c = model.hidden_size, model.intermediate_size, model.head_dim
    heads, groups = model.num_attention_heads, model.num_key_value_heads
    block = 2 * d * heads * c + 2 * d * groups * c + 3 * d * f + 2 * d + (2 * c if model.qk_norm else 0)
    blocks, embedding = block * model.num_hidden_layers, model.vocab_size * d
    return {"total": embedding + blocks + d, "embedding": embedding, "block": block, "rest": blocks + d}


@pytest.mark.parametrize(
    ("name", "key", "count"),
    [
        ("gpt-x2-125m", "total", 125_081_664),
        ("gpt-x2-125m", "embedding", 18_874_368),
        ("gpt-x2-125m", "block", 3_540_224),
        ("gpt-s-5m", "total", 5_158_464),
        ("xmodel-2-1.2b", "total", 1_251_755_520),
        ("xmodel-2.5-1.3b", "total", 1_350_059_520),
        ("xmodel-2-nano", "rest", 6_033_664),
        ("xmodel-2-tiny", "rest", 54_282_752),
        ("xmodel-2.5-20m", "rest", 20_358_528),
    ],
)
def test_sizes_are_the_published_ones(name, key, count):
    model = load_recipe(name).model
    assert model.tie_word_embeddings
    assert parameters(model)[key] == count


def test_gpt_x2_steps_and_decay():
    training = load_recipe("gpt-x2-125m").training
    step = training.first_step_tokens
    assert step == 524_288
    assert divmod(training.tokens, step) == (143_051, 0)
    rise, peak, decay, end = training.learning_rate.knots
    assert (rise.value, peak.value, decay.value, end.value) == (0, 1.5e-3, 1.5e-3, 0)
    assert (peak.at, decay.at, end.at) == (2000 * step, 114_441 * step, training.tokens)


@pytest.mark.parametrize(
    ("billions", "shares"),
    [
        (0, (58, 40, 1, 1)),
        (18, (58, 40, 1, 1)),
        (19, (56, 38, 3.5, 2.5)),
        (20, (54, 36, 6, 4)),
        (45, (54, 36, 6, 4)),
        (51.5, (54.5, 37, 5.25, 3.25)),
        (58, (55, 38, 4.5, 2.5)),
        (75, (55, 38, 4.5, 2.5)),
    ],
)
def test_gpt_x2_mixture_is_that_of_the_card(billions, shares):
    timelines = load_recipe("gpt-x2-125m").training.mixture_timelines()
    names = ["fineweb-edu", "dclm", "finemath", "npset-python"]
    assert list(timelines) == names
    found = [100 * timelines[name].at(round(billions * 1e9)) for name in names]
    assert found == pytest.approx(shares, rel=1e-12)


def test_gpt_x2_regularisation_changes_at_31_billion():
    training = load_recipe("gpt-x2-125m").training
    for clock, decay, z_loss in ((0, 0.1, 1e-4), (31 * 10**9 - 1, 0.1, 1e-4), (31 * 10**9, 0.01, 0)):
        assert (training.weight_decay.at(clock), training.z_loss.at(clock)) == (decay, z_loss)


def test_gpt_s_steps_and_decay():
    training = load_recipe("gpt-s-5m").training
    assert divmod(training.tokens, training.first_step_tokens) == (95_367, 0)
    assert training.first_step_tokens == 262_144
    assert [knot.at // 262_144 for knot in training.learning_rate.knots] == [0, 1_500, 66_757, 95_367]
    assert training.mixture[0].weights == {"fineweb-edu": 0.55, "cosmopedia-v2": 0.30, "fineweb-hq": 0.15}


def test_xmodel_2_stages():
    training = load_recipe("xmodel-2-1.2b").training
    half, full = 480 * 4096, 960 * 4096
    decay_start = 270_000 * half + 260_000 * full
    assert (half, full) == (1_966_080, 3_932_160)
    assert [(knot.at, knot.value) for knot in training.batch_size.knots] == [(0, 480), (270_000 * half, 960)]
    assert training.tokens == decay_start + 20_000 * full
    rate = training.learning_rate
    assert [rate.at(clock) for clock in (2_000 * half, decay_start)] == [0.01, 0.01]
    halved = [rate.at(decay_start + steps * full) for steps in (5_000, 10_000, 15_000, 20_000)]
    assert halved == pytest.approx([0.005, 0.0025, 0.00125, 0.000625], rel=1e-12)
    assert [knot.at for knot in training.mixture] == [0, decay_start]


def test_xmodel_2_mixtures():
    recipe = load_recipe("xmodel-2-1.2b")
    stable, decay = (knot.weights for knot in recipe.training.mixture)
    assert sum(stable.values()) == pytest.approx(1, abs=1e-12)
    instructions = sum(weight for name, weight in decay.items() if name.startswith("sft-"))
    assert instructions == pytest.approx(0.639, abs=1e-12)
    assert sum(weight for name, weight in stable.items() if name.startswith("sft-")) == 0
    assert len(recipe.notes) == 1
    assert "add up to 100.0200%" in recipe.notes[0]


def xmodel_25_borders() -> list[int]:
    stable_1 = 270_000 * 480 * 3712
    decay = stable_1 + 260_000 * 960 * 3712
    long = decay + 20_000 * 960 * 3776
    longer = long + 5_000 * 960 * 8192
    return [stable_1, decay, long, longer, longer + 5_000 * 240 * 16384]


def test_xmodel_25_stages():
    training = load_recipe("xmodel-2.5-1.3b").training
    stable_1, decay, long, longer, end = xmodel_25_borders()
    assert training.tokens == end
    for clock, batch, length in (
        (0, 480, 3712), (stable_1 - 1, 480, 3712), (stable_1, 960, 3712), (decay, 960, 3776),
        (long, 960, 8192), (longer, 240, 16384),
    ):  # fmt: skip
        assert (training.batch_size.at(clock), training.sequence_length.at(clock)) == (batch, length)
    assert [(knot.at, knot.kind) for knot in training.optimizer] == [
        (0, "adamw"),
        (decay, "muon"),
        (long, "muon"),
    ]


def test_xmodel_25_rates():
    training = load_recipe("xmodel-2.5-1.3b").training
    _, decay, long, _, end = xmodel_25_borders()
    warm, half_decay, rewarm = 2_000 * 480 * 3712, (decay + long) // 2, long + 500 * 960 * 8192
    assert set(training.role_learning_rate) == {"hidden", "output", "gain"}
    embedding, hidden = training.learning_rate, training.role_learning_rate["hidden"]
    assert training.role_learning_rate["output"] == training.role_learning_rate["gain"] == hidden
    for clock in (warm // 2, warm, decay):
        assert hidden.at(clock) == pytest.approx(embedding.at(clock) / 6, rel=1e-15)
    assert [embedding.at(clock) for clock in (0, warm, decay)] == [0, 0.01, 0.01]
    middle = 2 * 0.5**0.5 - 1  # of the way from the peak to its sixteenth
    assert embedding.at(half_decay) == pytest.approx(6.25e-4 + middle * (0.01 - 6.25e-4), rel=1e-9)
    assert embedding.at(long - 1) == pytest.approx(6.25e-4, rel=1e-6)
    assert hidden.at(long - 1) == pytest.approx(0.01 / 6 / 16, rel=1e-6)
    for rate in (embedding, hidden):
        assert rate.at(long) == 1e-6
        assert rate.at(rewarm) == rate.knots[3].value
        assert rate.at(end) == 1e-5
    assert embedding.at((rewarm + end) // 2) == pytest.approx((6.25e-4 + 1e-5) / 2, rel=1e-9)


def test_xmodel_25_mixtures_are_normalised_and_said():
    recipe = load_recipe("xmodel-2.5-1.3b")
    stable, decay = (knot.weights for knot in recipe.training.mixture)
    assert [sum(weight > 0 for weight in weights.values()) for weights in (stable, decay)] == [13, 11]
    assert sum(stable.values()) == pytest.approx(1, abs=1e-12)
    assert sum(decay.values()) == pytest.approx(0.99999, abs=1e-12)
    assert len(recipe.notes) == 1
    assert "add up to 99.9990%; they are normalised to 100%" in recipe.notes[0]
    _, start, *_ = xmodel_25_borders()
    timelines = recipe.training.mixture_timelines()
    assert timelines["sft-mixed"].at(start - 1) == 0
    assert timelines["sft-mixed"].at(start) == pytest.approx(0.6687 / 0.99999, rel=1e-12)
    assert sum(timeline.at(start) for timeline in timelines.values()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("name", "entries"), [("xmodel-2-1.2b", 65_280), ("xmodel-2.5-1.3b", 128_815)])
def test_adopted_tokenizers(name, entries):
    tokenizer = load_recipe(name).tokenizer
    assert (tokenizer.kind, tokenizer.vocab_size) == ("existing", entries)
    assert tokenizer.origin is not None


@pytest.mark.parametrize("name", ["xmodel-2-nano", "xmodel-2-tiny", "xmodel-2.5-20m"])
def test_proxies_train_on_ten_to_twenty_tokens_a_parameter(name):
    recipe = load_recipe(name)
    assert 10 <= recipe.training.tokens / parameters(recipe.model)["rest"] <= 20
