"""The code in a card runs as it stands, in the folder where the card lies."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flyweight.release import export, export_gguf, plan_publication
from flyweight.report import card_for_export
from flyweight.report.card_usage import PROMPT


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
