"""The quick-start, whole, on the user's own text and a model that trains in a moment."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from flyweight import quickstart
from flyweight.evaluation import Settings
from flyweight.inference import list_checkpoints
from flyweight.recipe import Recipe, recipe_from_dict

TEXT = "one small model reads many words and writes some of them again with [care] and [/list] d[str] = 1"


@pytest.fixture
def own_text(tmp_path: Path) -> Path:
    rng = random.Random(0)
    folder = tmp_path / "texts"
    folder.mkdir()
    for part in range(2):
        lines = (
            " ".join(rng.choice(TEXT.split()) for _ in range(60)) + f" {rng.random()}" for _ in range(100)
        )
        (folder / f"{part}.jsonl").write_text(
            "\n".join(json.dumps({"text": line}) for line in lines) + "\n{bad\n"
        )
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A recipe a hundred times smaller, evaluated on a few items."""
    original = quickstart.quickstart_recipe

    def tiny(data: Path | None) -> Recipe:
        values = original(data).to_dict()
        values["model"] |= {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "vocab_size": 300,
        }
        values["tokenizer"] |= {"vocab_size": 300, "sample": 100_000}
        values["sources"]["arithmetic"]["limit"] = 60_000
        values["training"]["tokens"] = 16 * 256 * 25
        values["training"]["learning_rate"] = 3e-3
        return recipe_from_dict(values)

    evaluate = quickstart.evaluate
    monkeypatch.setattr(quickstart, "quickstart_recipe", tiny)
    monkeypatch.setattr(
        quickstart, "evaluate", lambda *args, **more: evaluate(*args, Settings(limit=2), **more)
    )


def test_everything_that_was_promised_is_there(own_text, tmp_path, capsys):
    folder = tmp_path / "out"
    quickstart.quickstart(own_text, folder)
    text = capsys.readouterr().out
    for expected in (
        "2 x broken JSON", "bits per byte, before training", "bits per byte, after training",
        "bits per byte, zstd-19", "arithmark-gen v1 accuracy (chance 25%)", "tokens per second",
        "The export, loaded back, writes:", "report.html", "FlyweightForCausalLM",
    ):  # fmt: skip
        assert expected in text
    results = json.loads((folder / "run" / "results.json").read_text())
    bits = results["bits_per_byte"]
    assert bits["after"]["own"] < bits["before"]["own"]
    assert results["sample"]["model"] == "the export, loaded back"
    assert (folder / "export" / "README.md").is_file()
    assert "<svg" in (folder / "report.html").read_text()


def test_a_stopped_run_is_not_evaluated_as_if_it_were_finished(own_text, tmp_path, capsys, monkeypatch):
    original = quickstart.train
    monkeypatch.setattr(
        quickstart,
        "train",
        lambda recipe, corpus, run: original(recipe, corpus, run, stop_after=16 * 256 * 3),
    )
    quickstart.quickstart(own_text, tmp_path / "out")
    assert "stopped; the same command goes on from here" in capsys.readouterr().out
    assert not (tmp_path / "out" / "export").exists()
    monkeypatch.setattr(quickstart, "train", original)
    quickstart.quickstart(own_text, tmp_path / "out")
    assert (tmp_path / "out" / "export").exists()
    assert list_checkpoints(tmp_path / "out" / "run")[-1][0] == 16 * 256 * 25
