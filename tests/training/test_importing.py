"""A run that starts from a finished model: an export of ours, or a stock model of others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from training_setup import make_recipe

from flyweight.base import UserError
from flyweight.corpus import prepare
from flyweight.inference import load_decoder, read_state
from flyweight.model import Decoder
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.release.huggingface import write_folder
from flyweight.training import train


def changed(recipe: Recipe, **sections: dict) -> Recipe:
    values = recipe.to_dict()
    for name, keys in sections.items():
        values[name] |= keys
    return recipe_from_dict(values)


def run(recipe: Recipe, corpus, folder: Path, **options):
    return train(recipe, corpus, folder, sinks=[], **options)


@pytest.fixture(scope="module", params=["exclusive", "plain", "µP with qk-norm"])
def exported(request, recipe, corpus, tmp_path_factory) -> tuple[Recipe, Decoder, Path]:
    mup = {"kind": "minicpm", "scale_emb": 3.0, "scale_depth": 1.4, "dim_model_base": 24}
    changes = {
        "exclusive": {},
        "plain": {"model": {"exclusive_attention": False}},
        "µP with qk-norm": {
            "model": {"exclusive_attention": False, "qk_norm": True},
            "parametrization": mup,
        },
    }[request.param]
    recipe = changed(recipe, **changes)
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(5)
    folder = tmp_path_factory.mktemp("export")
    write_folder(folder, decoder, recipe, corpus.tokenizer)
    return recipe, decoder, folder


def test_a_run_from_an_export_begins_with_its_weights_at_clock_0(exported, corpus, tmp_path):
    recipe, decoder, folder = exported
    frozen = changed(recipe, training={"learning_rate": [{"at": 0, "value": 0}]})
    result = run(frozen, corpus, tmp_path / "run", start_from=str(folder))
    assert result.finished
    learned, _ = load_decoder(tmp_path / "run")
    for name, value in decoder.state_dict().items():  # at a rate of 0 nothing moves
        torch.testing.assert_close(learned.state_dict()[name], value, rtol=2**-22, atol=0, msg=name)
    assert json.loads((tmp_path / "run" / "origin.json").read_text()) == {"given": str(folder)}


def test_killed_before_its_first_checkpoint_it_begins_with_the_model_again(exported, corpus, tmp_path):
    recipe, _, folder = exported
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(recipe, corpus, whole, start_from=str(folder))
    run(recipe, corpus, broken, start_from=str(folder), stop_after=1)
    shutil.rmtree(broken / "checkpoints")  # as if it had been killed before it saved
    run(recipe, corpus, broken)
    weights = [load_decoder(place)[0].state_dict() for place in (whole, broken)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_stock_model_in_several_files_is_taken(recipe, corpus, tmp_path):
    recipe = changed(recipe, model={"exclusive_attention": False})
    model, folder = recipe.model, tmp_path / "llama"
    config = transformers.LlamaConfig(
        vocab_size=model.vocab_size, hidden_size=model.hidden_size, intermediate_size=model.intermediate_size,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        rms_norm_eps=model.rms_norm_eps, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": model.rope_theta},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(folder, max_shard_size="20KB")
    corpus.tokenizer.save(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    frozen = changed(recipe, training={"learning_rate": [{"at": 0, "value": 0}]})
    run(frozen, corpus, tmp_path / "run", start_from=str(folder), stop_after=1)
    ours, _ = load_decoder(tmp_path / "run")
    tokens = torch.arange(24)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(tokens)), theirs(tokens).logits, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused_before_anything_is_written(exported, corpus, texts, tmp_path):
    recipe, _, folder = exported
    refused = tmp_path / "run"
    with pytest.raises(UserError, match=r"model\.intermediate_size is 72 in the recipe, 64 there"):
        run(changed(recipe, model={"intermediate_size": 72}), corpus, refused, start_from=str(folder))
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "model.safetensors").unlink()
    with pytest.raises(UserError, match="pickled"):
        run(recipe, corpus, refused, start_from=str(other))
    (other / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../../etc/passwd"}}')
    with pytest.raises(UserError, match="stays within"):
        run(recipe, corpus, refused, start_from=str(other))
    values = make_recipe(texts).to_dict()
    values["tokenizer"] |= {"pattern": "gpt-2"}
    with pytest.raises(UserError, match=r"tokenizer\.kind=existing"):
        run(recipe, prepare(recipe_from_dict(values), tmp_path / "shards"), refused, start_from=str(folder))
    assert {path.name for path in refused.iterdir()} <= {".lock"}


@pytest.mark.parametrize("exported", ["plain"], indirect=True)
@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({}, "the index names no files"),
        ([], "the index names no files"),
        ({"weight_map": []}, "the index names no files"),
        ({"weight_map": {}}, "the index names no files"),
        ({"weight_map": {"a": 3}}, "the index names no files"),
        (
            {"weight_map": {"a": "gone.safetensors"}},
            "gone.safetensors: no such file; .*download the model again",
        ),
        ({"weight_map": {"a": "cut.safetensors"}}, "cut.safetensors: damaged.*download the model again"),
        ({"weight_map": {"a": ".."}}, "stays within"),
    ],
    ids=str,
)
def test_an_odd_index_is_one_sentence(exported, corpus, tmp_path, index, message):
    recipe, _, folder = exported
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    whole = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").unlink()
    (other / "cut.safetensors").write_bytes(whole[:1000])
    (other / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message) as told:
        run(recipe, corpus, tmp_path / "run", start_from=str(other))
    assert "checkpoint" not in str(told.value)


def test_another_model_given_to_a_run_that_has_begun_is_refused(exported, corpus, tmp_path):
    recipe, _, folder = exported
    run(recipe, corpus, tmp_path / "run", start_from=str(folder), stop_after=1)
    assert read_state(next((tmp_path / "run" / "checkpoints").iterdir()))["clock"] > 0
    with pytest.raises(UserError, match="holds a run already"):
        run(recipe, corpus, tmp_path / "run", start_from=str(tmp_path))
