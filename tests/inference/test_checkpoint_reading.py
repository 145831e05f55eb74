from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flyweight.base import UserError, read_json, write_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import (
    find_checkpoint,
    load_decoder,
    load_model,
    read_checkpoint_recipe,
    trained_length,
)
from flyweight.inference.layout import checkpoint_clock, checkpoint_name
from flyweight.model import Decoder
from flyweight.recipe import Recipe


def test_checkpoint_names_sort_by_clock():
    clocks = [0, 5, 75, 10**9, 75 * 10**9]
    names = [checkpoint_name(clock) for clock in clocks]
    assert names == sorted(names)
    assert [checkpoint_clock(name) for name in names] == clocks
    assert checkpoint_name(12_345_678) == "tokens-000000012345678"
    assert checkpoint_clock(".tokens-000000000000005.x.tmp") is None


def test_a_run_gives_its_newest_checkpoint_and_at_tokens_the_newest_not_after(run_folder: Path):
    checkpoints = run_folder / "checkpoints"
    (checkpoints / ".tokens-000000000009999.abc.tmp").mkdir()
    newest = checkpoints / "tokens-000000000006400"
    assert find_checkpoint(run_folder) == newest
    assert find_checkpoint(newest) == newest
    assert find_checkpoint(f"{run_folder}@3.2K") == checkpoints / "tokens-000000000003200"
    assert find_checkpoint(f"{run_folder}@6399") == checkpoints / "tokens-000000000003200"
    assert find_checkpoint(f"{run_folder}@1B") == newest


def test_a_folder_whose_name_holds_an_at_is_found(run_folder: Path):
    moved = run_folder.rename(run_folder.with_name("run@home"))
    assert find_checkpoint(moved).name == "tokens-000000000006400"
    assert find_checkpoint(f"{moved}@960").name == "tokens-000000000000960"


def test_what_is_not_there_is_told(run_folder: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"no checkpoint at or before 100 tokens.*960, 3,200, 6,400"):
        find_checkpoint(f"{run_folder}@100")
    with pytest.raises(UserError, match="expected RUN@TOKENS"):
        find_checkpoint(f"{run_folder}@soon")
    with pytest.raises(UserError, match="no such folder"):
        find_checkpoint(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no checkpoint here"):
        load_model(tmp_path / "empty", "cpu")
    (tmp_path / "empty" / "x.gguf").touch()
    with pytest.raises(UserError, match=r"no checkpoint here; \S+/empty/x\.gguf lies there: name the file"):
        load_model(tmp_path / "empty", "cpu")


def test_a_newer_format_is_refused_by_name(run_folder: Path):
    checkpoint = find_checkpoint(run_folder)
    state = read_json(checkpoint / "state.json")
    write_json(checkpoint / "state.json", state | {"format": 2})
    for reader in (find_checkpoint, load_decoder, read_checkpoint_recipe):
        with pytest.raises(UserError, match="has format 2, this Flyweight reads up to 1; a newer Flyweight"):
            reader(run_folder)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "recipe.json", "tokenizer.json"])
def test_a_missing_file_is_named(run_folder: Path, name: str):
    checkpoint = find_checkpoint(run_folder)
    (checkpoint / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(checkpoint, "cpu")


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "recipe.json", "tokenizer.json"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.95])
def test_a_file_cut_short_is_a_user_error(run_folder: Path, name: str, kept: float):
    file = find_checkpoint(run_folder) / name
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_model(run_folder, "cpu")


def test_weights_of_another_shape_are_refused_by_the_parameter_name(run_folder: Path):
    file = find_checkpoint(run_folder) / "model.safetensors"
    tensors = load_file(file)
    tensors["layers.1.mlp.down_proj.weight"] = torch.zeros(3, 3)
    save_file(tensors, file)
    with pytest.raises(
        UserError, match=r"layers\.1\.mlp\.down_proj\.weight is \(3, 3\), expected \(32, 48\)"
    ):
        load_decoder(run_folder)
    del tensors["layers.1.mlp.down_proj.weight"]
    save_file(tensors, file)
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.down_proj\.weight is nothing"):
        load_decoder(run_folder)


def test_a_loaded_model_is_the_saved_one(run_folder: Path, decoder: Decoder, tokenizer: TextTokenizer):
    model = load_model(f"{run_folder}@960", "cpu")
    tokens = torch.randint(0, 290, (2, 10))
    rows, positions = torch.tensor([0, 1, 1]), torch.tensor([3, 0, 9])
    expected = decoder.logits(decoder(tokens))[rows, positions]
    # Not bit for bit: how many rows a matrix product has decides the order of its sums.
    torch.testing.assert_close(model.logits_at(tokens, rows, positions), expected, rtol=1e-5, atol=1e-5)
    assert model.tokenizer.encode("the cat") == tokenizer.encode("the cat")
    assert (model.name, model.max_length) == ("tiny@960", 16)
    assert load_model(run_folder, "cpu").max_length == 32


def test_trained_length_is_the_longest_sequence_seen(recipe: Recipe):
    # The knot at 3,200 tokens takes effect with the step that starts there.
    assert [trained_length(recipe, clock) for clock in (0, 3200, 3201, 6400)] == [16, 16, 32, 32]


def test_a_file_is_not_a_model(run_folder: Path):
    with pytest.raises(UserError, match="this is a file"):
        load_model(find_checkpoint(run_folder) / "recipe.json", "cpu")


def test_a_copied_checkpoint_needs_no_optimizer(run_folder: Path, tmp_path: Path):
    copied = Path(shutil.copytree(find_checkpoint(run_folder), tmp_path / "copy"))
    assert not (copied / "optimizer.safetensors").exists()
    assert load_model(copied, "cpu").name == "tiny@6.4K"
