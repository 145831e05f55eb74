from __future__ import annotations

import io

import pytest
from ruamel.yaml import YAML

from flyweight.base import UserError
from flyweight.recipe import (
    Recipe,
    all_keys,
    identity,
    identity_differences,
    identity_hash,
    load_recipe,
    parse_recipe,
    recipe_from_dict,
)


def as_yaml(data: dict) -> str:
    stream = io.StringIO()
    YAML(typ="safe", pure=True).dump(data, stream)
    return stream.getvalue()


def test_numbers_are_those_of_yaml_1_2(small):
    text = as_yaml(small) + "parametrization: {init_std: 2e-2}\n"
    recipe = parse_recipe(text, ["training.learning_rate=1e-3", "training.gradient_clip=5E-1"])
    assert recipe.parametrization.init_std == 0.02
    assert recipe.training.learning_rate.at(0) == 0.001
    assert recipe.training.gradient_clip == 0.5


def test_yes_and_no_are_words_in_yaml_1_2(small):
    assert parse_recipe(as_yaml(small), ["name=no"]).name == "no"
    assert parse_recipe(as_yaml(small), ["execution.deterministic=true"]).execution.deterministic is True


def test_defaults_lose_to_the_file_and_the_file_to_the_command_line(small, tmp_path):
    small["model"]["rope_theta"] = 5000
    path = tmp_path / "mine.yaml"
    path.write_text(as_yaml(small))
    recipe = load_recipe(path)
    assert (recipe.model.rope_theta, recipe.model.rms_norm_eps) == (5000, 1e-6)
    recipe = load_recipe(path, ["model.rope_theta=7000", "execution.device=cpu", "model.rope_theta=9000"])
    assert (recipe.model.rope_theta, recipe.execution.device) == (9000, "cpu")


def test_an_override_may_be_a_whole_section(small):
    words = ["training.weight_decay=[{at: 0, value: 0.1}, {at: 31K, value: 0.01}]", "training.tokens=0.5M"]
    recipe = parse_recipe(as_yaml(small), words)
    assert [knot.at for knot in recipe.training.weight_decay.knots] == [0, 31_000]
    assert recipe.training.learning_rate.knots[-1].at == 500_000


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("training.tokens", r"'training\.tokens': expected key=value, for example"),
        ("=5", r"'=5': expected key=value"),
        ("training.tokns=5", r"training\.tokns: unknown key; the nearest known key is training\.tokens\."),
        ("model.hidden_size=", r"model\.hidden_size: "),
    ],
)
def test_a_wrong_override_is_named(small, word, message):
    with pytest.raises(UserError, match=message):
        parse_recipe(as_yaml(small), [word])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"^mine: not valid YAML: "),
        ("a: 1\na: 2\n", r"^mine: not valid YAML: .*duplicate key"),
        ("- 1\n", r"^mine: expected a recipe \(keys and values\), found list\.$"),
        ("", r"^mine: expected a recipe \(keys and values\), found NoneType\.$"),
        ("!!python/object/apply:os.system [exit]\n", r"^mine: not valid YAML: "),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_recipe(text, where="mine")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_is_not_there_lists_those_that_are():
    with pytest.raises(UserError, match=r"gpt-s-6m: no such recipe file.*gpt-s-5m, gpt-x2-125m, quickstart"):
        load_recipe("gpt-s-6m")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="the recipe cannot be read"):
        load_recipe(path)


def test_plain_values_read_back_as_the_same_recipe(small):
    recipe = recipe_from_dict(small)
    again = recipe_from_dict(recipe.to_dict())
    assert again.to_dict() == recipe.to_dict()
    assert parse_recipe(as_yaml(recipe.to_dict())).to_dict() == recipe.to_dict()
    assert identity_hash(again) == identity_hash(recipe)


EXECUTION_CHANGES = [
    ("name", "other"),
    ("description", "another text"),
    ("execution.device", "cpu"),
    ("execution.micro_batch", "4"),
    ("execution.threads", "1"),
    ("execution.log_every", "1"),
    ("execution.checkpoint_every", "1M"),
    ("execution.milestones", "[1M]"),
    ("evaluation.every", "5K"),
    ("evaluation.tasks", "[]"),
    ("sources.prose.licence", "CC0"),
]
IDENTITY_CHANGES = [
    ("seed", "1", "0", "1"),
    ("model.rope_theta", "500", "10000.0", "500.0"),
    ("tokenizer.pattern", "gpt-2", "qwen2", "gpt-2"),
    ("corpus.held_out", "0.1", "0.005", "0.1"),
    ("sources.prose.limit", "1MB", "None", "1000000"),
    ("training.adamw.beta2", "0.99", "0.95", "0.99"),
    ("training.tokens", "900K", "1000000", "900000"),
]


@pytest.mark.parametrize(("key", "value"), EXECUTION_CHANGES)
def test_execution_keys_leave_the_run_the_same(small, key, value):
    old, new = (parse_recipe(as_yaml(small), words) for words in ([], [f"{key}={value}"]))
    assert new.to_dict() != old.to_dict()
    assert identity_hash(new) == identity_hash(old)
    assert identity_differences(old, new) == []


@pytest.mark.parametrize(("key", "value", "before", "after"), IDENTITY_CHANGES)
def test_identity_keys_make_another_run_and_are_named(small, key, value, before, after):
    old, new = (parse_recipe(as_yaml(small), words) for words in ([], [f"{key}={value}"]))
    assert identity_hash(new) != identity_hash(old)
    assert f"{key}: {before} -> {after}" in identity_differences(old, new)


def test_a_source_more_is_a_difference(small):
    old = recipe_from_dict(small)
    small["sources"]["sums"] = {"kind": "builtin", "builtin": "arithmetic"}
    small["training"]["mixture"][0]["weights"] = {"prose": 0.5, "code": 0.25, "sums": 0.25}
    differences = identity_differences(old, recipe_from_dict(small))
    assert "sources.sums.builtin: (absent) -> arithmetic" in differences


def test_two_ways_to_write_a_value_are_the_same_run(small):
    old = recipe_from_dict(small)
    small["training"] |= {"tokens": "1e6", "batch_size": [{"at": 0, "value": 8}], "optimizer": "adamw"}
    small["training"]["learning_rate"]["wsd"] |= {"warmup": "1%", "decay_start": "800K", "end": "1M"}
    assert identity_hash(recipe_from_dict(small)) == identity_hash(old)


def test_identity_holds_every_key_but_those_of_execution(small):
    keys = [key for key in all_keys(Recipe) if "*" not in key]
    leaves = {key for key in keys if not any(other.startswith(key + ".") for other in keys)}
    leaves = {key for key in leaves if not key.startswith("training.")}
    named = identity(recipe_from_dict(small)).keys()
    not_named = {key for key in leaves if key not in named}
    execution = {key for key in leaves if key.startswith(("execution.", "evaluation.", "tunnel."))}
    assert not_named == execution | {"name", "description", "sources", "tokenizer.path"}
    assert not [key for key in named if key.startswith(("execution", "evaluation.", "tunnel"))]
    assert {"sources.prose.builtin", "training.tokens", "training.adamw.eps"} <= named


def test_an_override_reaches_into_lists():
    recipe = load_recipe("gpt-x2-125m", ["training.mixture.0.at=0", "training.z_loss.1.at=20B"])
    assert recipe.training.z_loss.knots[1].at == 20_000_000_000
    with pytest.raises(UserError, match="'9' is not a place in this list of"):
        load_recipe("gpt-x2-125m", ["training.mixture.9.at=0"])


def test_other_tokens_than_the_schedule_was_written_for_point_to_scaled():
    with pytest.raises(UserError, match="--scaled keeps every schedule's fractions"):
        load_recipe("gpt-s-5m", ["training.tokens=5M"])
