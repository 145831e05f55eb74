from __future__ import annotations

from pathlib import Path

from flyweight.recipe import Recipe, all_keys
from flyweight.recipe.reference import key_lines, render_reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "recipe.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == render_reference()


def test_the_page_has_every_key_with_its_description():
    text = render_reference()
    keys = all_keys(Recipe)
    leaves = [key for key in keys if not any(other.startswith(key + ".") for other in keys)]
    knots = ("training.mixture.", "training.optimizer.")
    shown = [key.split(".")[-1] if key.startswith(knots) else key for key in leaves]
    assert [key for key in shown if f"| `{key}` |" not in text] == []
    assert "|  |\n" not in text  # a key without a description


def test_kinds_are_those_of_the_schema():
    kinds = {
        line.split(" | ")[0].strip("| `"): line.split(" | ")[3]
        for line in render_reference().splitlines()
        if line.startswith("| `") and line.count(" | ") == 4
    }
    assert (
        kinds["model.hidden_size"]
        == kinds["sources.*.text_field"]
        == kinds["training.adamw.beta1"]
        == "identity"
    )
    assert kinds["name"] == kinds["execution.device"] == kinds["sources.*.path"] == "execution"
    assert kinds["evaluation.tasks"] == "execution"


def test_lines_of_plain_text():
    lines = key_lines()
    names = [line.split(" (")[0] for line in lines]
    assert len(names) == len(set(names))
    assert (
        "training.tokens (tokens; needed): Tokens to train on; the run takes as many whole steps as fit."
        in lines
    )
    assert not [line for line in lines if "`" in line or "](#" in line or line.endswith(": ")]
    execution = key_lines(execution_only=True)
    assert set(execution) < set(lines)
    assert {"name", "tokenizer.path", "execution.device"} <= {line.split(" (")[0] for line in execution}
    assert not [line for line in execution if line.startswith(("model.", "training.", "seed"))]
