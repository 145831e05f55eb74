from __future__ import annotations

import pytest
from pydantic import ValidationError

from flyweight.base import UserError
from flyweight.recipe import recipe_from_dict


def put(recipe: dict, key: str, value) -> None:
    """Set a dotted key; numbers pick from lists."""
    *parents, last = key.split(".")
    place = recipe
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[last] = value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "model.num_key_value_heads",
            3,
            r"model: .*heads \(4\) is not divisible by num_key_value_heads \(3\)",
        ),
        ("model.head_dim", 15, r"model\.head_dim: .*multiple of 2 \(found 15\)"),
        ("model.hidden_size", "wide", r"model\.hidden_size: .*integer.*\(found 'wide'\)"),
        ("model.rope_theta", 0, r"model\.rope_theta: .*greater than 0"),
        (
            "training.mixture.0.weights.prose",
            0.752,
            r"training\.mixture\.0: .*at 0 tokens add up to 1\.002, not to 1",
        ),
        (
            "training.mixture.0.weights.prose",
            -0.5,
            r"training\.mixture\.0\.weights\.prose: .*greater than or equal to 0",
        ),
        (
            "training.mixture.0.weights.verse",
            0.0,
            r"names 'verse', which is not among the sources \['code', 'prose'\]",
        ),
        (
            "sources.spare",
            {"kind": "builtin", "builtin": "english"},
            r"source 'spare' has no weight in the mixture",
        ),
        ("sources.prose", {"kind": "files"}, r"sources\.prose: a source of kind `files` needs `path`"),
        ("sources.prose", {"kind": "hub"}, r"sources\.prose: a source of kind `hub` needs `dataset`"),
        ("sources.prose", {"kind": "builtin"}, r"sources\.prose: a source of kind `builtin` needs `builtin`"),
        ("sources", {}, r"sources: .*at least 1"),
        (
            "training.learning_rate.wsd.decay_start",
            9_999,
            r"decay starts at 9,999 tokens, before the warm-up ends at 10,000",
        ),
        (
            "training.learning_rate.wsd.decay_start",
            "0.9%",
            r"decay starts at 9,000 tokens, before the warm-up ends",
        ),
        ("training.tokens", 0, r"training\.tokens: .*greater than 0"),
        ("training.tokens", "lots", r"'lots' is not a number such as 75B"),
        (
            "training.batch_size",
            8.5,
            r"`batch_size` is 8\.5 at 0 tokens; expected a whole number of at least 1",
        ),
        (
            "training.sequence_length",
            1,
            r"`sequence_length` is 1 at 0 tokens; expected a whole number of at least 2",
        ),
        ("training.rope_theta", 0, r"`rope_theta` is 0 at 0 tokens; expected more than 0"),
        (
            "training.rope_theta",
            [{"at": 0, "value": 1e4}, {"at": 9, "value": -2, "shape": "linear"}],
            r"`rope_theta` is -2 at 9 tokens; expected more than 0",
        ),
        ("training.document_masking", "maybe", r"training\.document_masking: .*boolean"),
        (
            "training.sequence_length",
            256,
            r"sequences of 256 tokens are longer than max_position_embeddings \(128\)",
        ),
        (
            "training.batch_size",
            8_000,
            r"training\.tokens \(1,000,000\) is less than one step \(1,024,000 tokens\)",
        ),
        (
            "training.batch_size",
            [{"at": 0, "value": 1}, {"at": 9, "value": 2, "shape": "linear"}],
            r"`batch_size` changes by steps only",
        ),
        (
            "training.optimizer",
            [{"at": 5, "kind": "adamw"}],
            r"knots of `optimizer` must start at 0 and go up; found \[5\]",
        ),
        ("training.optimizer", "sgd", r"training\.optimizer\.0\.kind: .*'adamw' or 'muon'"),
        ("training.role_learning_rate", {"biases": 1e-3}, r"training\.role_learning_rate\.biases"),
        ("tokenizer.vocab_size", 600, r"tokenizer has 600 entries, more than the model's vocab_size of 512"),
        ("tokenizer.path", "tokenizer.json", r"tokenizer: `path` goes with `kind: existing`"),
        ("parametrization.kind", "minicpm", r"parametrization: `dim_model_base` is needed with a µP kind"),
        (
            "parametrization.dim_model_base",
            64,
            r"parametrization: `dim_model_base` is needed with a µP kind, and only there",
        ),
        (
            "parametrization.scale_emb",
            12,
            r"parametrization: `scale_emb` and `scale_depth` belong to the µP kinds",
        ),
        ("corpus.held_out", 0, r"corpus\.held_out: .*greater than 0"),
        ("execution.keep_checkpoints", 0, r"execution\.keep_checkpoints: .*greater than or equal to 1"),
        ("execution.fp8", {"scaling": "tensorwise"}, r"execution\.fp8\.scaling: .*'dynamic' or 'delayed'"),
        ("execution.fp8", {"layers": "mlp"}, r"execution\.fp8\.layers: .*'auto' or 'all'"),
        (
            "execution",
            {"precision": "float32", "fp8": {"scaling": "delayed"}},
            r"execution: .*'delayed' and precision 'float32': FP8 layers stand beside bfloat16",
        ),
        ("name", "a/b", r"name: .*match pattern"),
    ],
)
def test_impossible_values_are_named_in_one_sentence(small, key, value, message):
    put(small, key, value)
    with pytest.raises(UserError, match=message) as caught:
        recipe_from_dict(small, where="mine.yaml")
    said = str(caught.value)
    assert said.startswith("mine.yaml: ")
    assert said.endswith(".")
    assert "\n" not in said
    assert len(said) < 300


def test_mixtures_name_the_same_sources_throughout(small):
    small["training"]["mixture"].append({"at": 500_000, "weights": {"prose": 1.0}})
    with pytest.raises(
        UserError, match=r"mixture at 500,000 tokens and the one at 0 name different sources: \['code'\]"
    ):
        recipe_from_dict(small)


def test_mixture_knots_go_up(small):
    small["training"]["mixture"] *= 2
    with pytest.raises(UserError, match=r"knots of `mixture` must start at 0 and go up; found \[0, 0\]"):
        recipe_from_dict(small)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("", "name"), ("", "model"), ("", "tokenizer"), ("", "sources"), ("", "training"),
        ("model", "hidden_size"), ("tokenizer", "vocab_size"),
        ("training", "tokens"), ("training", "mixture"), ("training", "learning_rate"),
    ],
)  # fmt: skip
def test_a_missing_key_is_named(small, section, key):
    del (small[section] if section else small)[key]
    name = f"{section}.{key}" if section else key
    with pytest.raises(UserError, match=rf"^recipe: {name}: this key is missing\.$"):
        recipe_from_dict(small)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("model.num_layers", "model.num_hidden_layers"),
        ("model.hiden_size", "model.hidden_size"),
        ("training.learning_rates", "training.learning_rate"),
        ("training.adamw.beta_1", "training.adamw.beta1"),
        ("tokeniser", "tokenizer"),
        ("sources.prose.pth", "sources.*.path"),
        ("execution.checkpoint_evry", "execution.checkpoint_every"),
    ],
)
def test_an_unknown_key_names_the_nearest(small, key, nearest):
    put(small, key, 1)
    with pytest.raises(UserError) as caught:
        recipe_from_dict(small)
    assert str(caught.value) == f"recipe: {key}: unknown key; the nearest known key is {nearest}."


def test_a_key_like_no_other_is_just_unknown(small):
    small["qqqqqqqq"] = 1
    with pytest.raises(UserError, match=r"^recipe: qqqqqqqq: unknown key\.$"):
        recipe_from_dict(small)


@pytest.mark.parametrize("version", [2, 99, "1"])
def test_a_newer_format_is_refused_before_its_keys_are_read(small, version):
    small |= {"format": version, "future_key": 1}
    with pytest.raises(
        UserError, match=rf"format: this recipe has format {version!r}, this Flyweight reads up to 1"
    ):
        recipe_from_dict(small)


@pytest.mark.parametrize(("prose", "total"), [(0.74999, "99.9990%"), (0.7509, "100.0900%")])
def test_a_small_miss_of_the_mixture_is_normalised_and_said(small, prose, total):
    small["training"]["mixture"][0]["weights"]["prose"] = prose
    recipe = recipe_from_dict(small)
    assert len(recipe.notes) == 1
    assert total in recipe.notes[0]
    assert "normalised" in recipe.notes[0]
    timelines = recipe.training.mixture_timelines()
    assert timelines["prose"].at(0) == pytest.approx(prose / (prose + 0.25), rel=1e-15)
    assert sum(timeline.at(0) for timeline in timelines.values()) == pytest.approx(1, rel=1e-15)


def test_a_decay_may_start_where_the_warmup_ends(small):
    put(small, "training.learning_rate.wsd.decay_start", "1%")
    assert [knot.at for knot in recipe_from_dict(small).training.learning_rate.knots] == [
        0,
        10_000,
        1_000_000,
    ]


def test_an_exact_mixture_needs_no_note(small):
    assert recipe_from_dict(small).notes == ()


def test_percentages_stand_for_shares_of_the_run(small):
    small["training"]["weight_decay"] = [{"at": 0, "value": 0.1}, {"at": "12.5%", "value": 0}]
    small["training"]["mixture"].append(
        {"at": "50%", "weights": {"prose": 0.5, "code": 0.5}, "shape": "linear"}
    )
    small["training"]["optimizer"] = [{"at": 0, "kind": "adamw"}, {"at": "90%", "kind": "muon"}]
    training = recipe_from_dict(small).training
    assert [knot.at for knot in training.weight_decay.knots] == [0, 125_000]
    assert [knot.at for knot in training.mixture] == [0, 500_000]
    assert [knot.at for knot in training.optimizer] == [0, 900_000]
    assert [knot.at for knot in training.learning_rate.knots] == [0, 10_000, 800_000, 1_000_000]
    assert training.mixture_timelines()["prose"].at(250_000) == pytest.approx(0.625)


def test_one_word_is_an_optimizer_for_the_whole_run(small):
    small["training"]["optimizer"] = "muon"
    assert [(knot.at, knot.kind) for knot in recipe_from_dict(small).training.optimizer] == [(0, "muon")]


def test_a_recipe_does_not_change_after_loading(small):
    recipe = recipe_from_dict(small)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        recipe.model.hidden_size = 1  # type: ignore[misc]
