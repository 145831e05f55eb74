"""A model folder of somebody else runs no code, reads no file elsewhere, and says in one sentence what it tried."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from flyweight.base import UserError, read_json, write_json
from flyweight.inference import load_model
from flyweight.inference.checkpoint import read_tensors


class Touch:
    """Pickled, it makes a file where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def folder(llama_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama_folder, tmp_path / "model"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "it-ran"


def change(file: Path, **values: Any) -> None:
    write_json(file, (read_json(file) if file.exists() else {}) | values)


def test_the_pickle_of_these_tests_runs_code(mark: Path) -> None:
    pickle.loads(pickle.dumps(Touch(mark)))
    assert mark.exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_in_place_of_safetensors(folder: Path, mark: Path, protocol: int) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"x": Touch(mark)}, protocol))
    with pytest.raises(UserError, match="cannot load the model"):
        load_model(folder, "cpu")
    with pytest.raises(UserError, match="damaged or cut short"):
        read_tensors(folder / "model.safetensors")
    assert not mark.exists()


def test_a_pickled_archive_under_the_old_name(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": Touch(mark)}, folder / "pytorch_model.bin")
    assert zipfile.is_zipfile(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load the model"):
        load_model(folder, "cpu")
    assert not mark.exists()


def test_the_old_format_is_read_as_tensors(folder: Path, llama_folder: Path) -> None:
    weights = read_tensors(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert load_model(folder, "cpu").fingerprint == load_model(llama_folder, "cpu").fingerprint


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "/etc/passwd", "a/../../x", ""])
@pytest.mark.parametrize("trusted", [False, True])
def test_an_index_that_leads_out(folder: Path, tmp_path: Path, name: str, trusted: bool) -> None:
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    write_json(
        folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    )
    with pytest.raises(
        UserError, match=r"model\.safetensors\.index\.json: it names the file .* stays within"
    ):
        load_model(folder, "cpu", trust_remote_code=trusted)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": []}])
def test_an_index_that_is_none(folder: Path, index: Any) -> None:
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", index)
    with pytest.raises(UserError, match="expected a weight_map"):
        load_model(folder, "cpu")


def test_a_folder_of_links_is_read(folder: Path, tmp_path: Path, llama_folder: Path) -> None:
    """The hub's own cache is one: names lead to links, and these to the files."""
    linked = tmp_path / "snapshot"
    linked.mkdir()
    for file in folder.iterdir():
        (linked / file.name).symlink_to(file)
    assert load_model(linked, "cpu").fingerprint == load_model(llama_folder, "cpu").fingerprint


def code(folder: Path, mark: Path) -> None:
    for name in ("modeling_x.py", "tokenization_x.py", "configuration_x.py"):
        (folder / name).write_text(f"import os\nos.system('touch {mark}')\n")


def test_code_of_the_model_waits_for_trust(folder: Path, mark: Path) -> None:
    code(folder, mark)
    change(
        folder / "config.json",
        auto_map={"AutoModelForCausalLM": "modeling_x.X", "AutoConfig": "configuration_x.X"},
    )
    with pytest.raises(UserError, match=r"modeling_x\.py.*--trust-remote-code"):
        load_model(folder, "cpu")
    assert not mark.exists()


def test_code_of_the_model_runs_with_trust(folder: Path, mark: Path) -> None:
    code(folder, mark)
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "modeling_x.X"})
    with pytest.raises(UserError, match="cannot load the model"):  # it holds no class X
        load_model(folder, "cpu", trust_remote_code=True)
    assert mark.exists()  # so that the test above can fail


def test_code_of_the_tokenizer_waits_for_trust(folder: Path, mark: Path) -> None:
    code(folder, mark)
    file = folder / "tokenizer_config.json"
    change(file, auto_map={"AutoTokenizer": [None, "tokenization_x.X"]}, tokenizer_class="X")
    with pytest.raises(UserError, match="cannot load the tokenizer"):
        load_model(folder, "cpu")
    assert not mark.exists()


def test_code_that_generation_settings_name_is_not_run(folder: Path, mark: Path) -> None:
    code(folder, mark)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(f"import os\nos.system('touch {mark}')\n")
    change(folder / "generation_config.json", custom_generate=str(folder))
    load_model(folder, "cpu")
    assert not mark.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel"},
        {"experts_implementation": "somebody/kernel:f"},
        {"attn_implementation": {"": "sdpa", "text_config": "somebody/kernel"}},
        {"text_config": {"attn_implementation": "paged|somebody/kernel"}},
    ],
    ids=str,
)
def test_a_kernel_from_the_hub_waits_for_trust(folder: Path, values: dict[str, Any]) -> None:
    change(folder / "config.json", **values)
    with pytest.raises(UserError, match="compiled code from the hub"):
        load_model(folder, "cpu")


def test_a_built_in_attention_needs_no_trust(folder: Path, llama_folder: Path) -> None:
    change(folder / "config.json", attn_implementation="eager")
    load_model(folder, "cpu")


def test_a_template_in_a_folder_is_not_run(folder: Path, mark: Path) -> None:
    change(
        folder / "tokenizer_config.json",
        chat_template=f"{{{{ lipsum.__globals__['os'].system('touch {mark}') }}}}",
    )
    load_model(folder, "cpu")
    assert not mark.exists()


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_missing_reader_of_gguf_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str):
    (tmp_path / "x.gguf").touch()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf"x\.gguf: reading GGUF needs {package}: pip install 'flyweight\[eval\]'"
    ):
        load_model(tmp_path / "x.gguf", "cpu")


def test_a_broken_gguf_file_is_named(tmp_path: Path):
    (tmp_path / "x.gguf").write_text("no gguf")
    with pytest.raises(UserError, match=r"x\.gguf: transformers cannot load the model here"):
        load_model(tmp_path / "x.gguf", "cpu")


def test_the_extra_that_measures_brings_the_readers_of_gguf():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["eval"]
    assert {"gguf", "accelerate"} <= {wanted.partition(">")[0] for wanted in extra}
