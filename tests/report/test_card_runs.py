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
from flyweight.inference import layout
from flyweight.model import Decoder
from flyweight.recipe import recipe_from_dict
from flyweight.release import export, export_gguf, plan_publication
from flyweight.report import card_for_export
from flyweight.report.card_usage import PROMPT


@pytest.fixture
def checkpoint_of_our_own(real_run: Any, tmp_path: Path) -> Path:
    """A checkpoint that no stock class holds, with weights that nobody trained."""
    values = real_run.recipe.to_dict()
    values["model"] |= {"exclusive_attention": True, "num_attention_heads": 2, "head_dim": 8}
    recipe = recipe_from_dict(values)
    folder = tmp_path / "runs" / "own" / "checkpoints" / layout.checkpoint_name(1_000)
    folder.mkdir(parents=True)
    save_file(
        Decoder(recipe.model, recipe.parametrization).initialize(0).state_dict(), folder / layout.MODEL_FILE
    )
    write_json(folder / layout.RECIPE_FILE, recipe.to_dict())
    write_json(folder / layout.STATE_FILE, {"format": 1, "clock": 1_000, "step": 5})
    real_run.corpus.tokenizer.save(folder)
    return folder


def run_examples(folder: Path) -> list[str]:
    """What each Python example of the folder's card prints, run by somebody without Flyweight."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder.parent / "modules")}
    printed = []
    for code in re.findall(r"```python\n(.*?)\n```", text, re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
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
