"""The code in a card runs as it stands, in the folder where the card lies."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from flyweight.base import write_json
from flyweight.corpus import TextTokenizer
from flyweight.corpus.tokenizers.bpe import train_bpe
from flyweight.inference import layout
from flyweight.model import Decoder
from flyweight.recipe import recipe_from_dict
from flyweight.release import export, export_gguf, plan_publication
from flyweight.report import card_for_export
from flyweight.report.card_usage import PROMPT, QUESTION


def checkpoint_of(values: dict[str, Any], tokenizer: TextTokenizer, runs: Path) -> Path:
    """A checkpoint of the recipe of these values, with weights that nobody trained."""
    recipe = recipe_from_dict(values)
    folder = runs / recipe.name / "checkpoints" / layout.checkpoint_name(1_000)
    folder.mkdir(parents=True)
    save_file(
        Decoder(recipe.model, recipe.parametrization).initialize(0).state_dict(), folder / layout.MODEL_FILE
    )
    write_json(folder / layout.RECIPE_FILE, recipe.to_dict())
    write_json(folder / layout.STATE_FILE, {"format": 1, "clock": 1_000, "step": 5})
    tokenizer.save(folder)
    return folder


@pytest.fixture
def checkpoint_of_our_own(real_run: Any, tmp_path: Path) -> Path:
    """A checkpoint that no stock class holds."""
    values = real_run.recipe.to_dict()
    values["model"] |= {"exclusive_attention": True, "num_attention_heads": 2, "head_dim": 8}
    return checkpoint_of(values, real_run.corpus.tokenizer, tmp_path / "runs")


@pytest.fixture
def checkpoint_that_chats(real_run: Any, tmp_path: Path) -> Path:
    """A checkpoint whose recipe has a source of conversations."""
    values = real_run.recipe.to_dict()
    values["sources"]["one"] |= {"messages_field": "messages"}
    turns = ["<|im_start|>", "<|im_end|>"]
    tokenizer = train_bpe(["What is the sea? It is water."] * 9, 270, "qwen2", "<|endoftext|>", turns)
    return checkpoint_of(values, tokenizer, tmp_path / "runs")


def run_examples(folder: Path) -> list[str]:
    """What the Python of the folder's card prints, run from its top by somebody without Flyweight; by example."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder.parent / "modules")}
    examples, border = re.findall(r"```python\n(.*?)\n```", text, re.DOTALL), "-- the next example --"
    done = subprocess.run(
        [sys.executable, "-c", f"\nprint({border!r})\n".join(examples)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(f"{border}\n")
    assert len(printed) == len(examples)
    return printed


def test_the_example_of_an_export_writes(real_run, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(real_run.folder, folder)
    card_for_export(real_run.folder, folder)
    (text,) = run_examples(folder)
    assert text.startswith(PROMPT[:4])
    assert (
        len(plan_publication(folder, "me/real").files) >= 7
    )  # an export with its card is ready to be published


def test_the_example_of_a_model_with_its_own_code_writes(checkpoint_of_our_own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    assert export(checkpoint_of_our_own, folder).custom_code
    card_for_export(checkpoint_of_our_own, folder)
    (text,) = run_examples(folder)
    assert text.startswith(PROMPT[:4])
    assert "trust" not in text  # transformers asks where the example has not said it


def test_the_examples_of_a_model_that_chats_write(checkpoint_that_chats: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(checkpoint_that_chats, folder)
    card_for_export(checkpoint_that_chats, folder)
    text, answer = run_examples(folder)
    assert text.startswith(PROMPT[:4])
    assert answer.strip()
    assert QUESTION not in answer


@pytest.mark.slow
def test_the_examples_of_a_gguf_file_that_chats_write(checkpoint_that_chats: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    folder = tmp_path / "export"
    export_gguf(checkpoint_that_chats, folder)
    card_for_export(checkpoint_that_chats, folder)
    text, answer = run_examples(folder)
    assert text.startswith(PROMPT)
    assert answer.strip()
    assert QUESTION not in answer


@pytest.mark.slow
def test_the_example_of_a_gguf_file_writes(real_run, tmp_path: Path) -> None:
    if importlib.util.find_spec("llama_cpp") is None:
        pytest.skip("llama-cpp-python is not installed")
    folder = tmp_path / "export"
    export_gguf(real_run.folder, folder)
    card_for_export(real_run.folder, folder)
    (text,) = run_examples(folder)
    assert text.startswith(PROMPT)
    assert plan_publication(folder, "me/real-GGUF").size > (folder / "real-F16.gguf").stat().st_size
