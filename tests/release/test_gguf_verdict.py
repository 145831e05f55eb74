"""The verdict on a GGUF file: what was measured of it is taken or refused. No llama.cpp is needed to judge."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from flyweight import release
from flyweight.cli.model import _export_to_gguf
from flyweight.release import ExportError
from flyweight.release.gguf.checks import ROUNDED_DIFFERENCE, GgufChecks, judge
from flyweight.release.gguf.export import GgufExport

EXPECTED = [5, 6, 7, 8]
GREEDY = torch.tensor([[3.0], [5.0], [4.0], [6.0]]) * torch.eye(10)[EXPECTED]
"""The logits of the checkpoint's greedy text: 3, 5, 4 and 6 for the tokens that it writes, 0 for others."""
SOUND: dict[str, Any] = {
    "differences": {"long": 9e-4, "random": 2e-4, "text": 1e-4},
    "relative": {"long": 3e-3, "random": 2e-3, "text": 1e-3},
    "positions": 228,
    "largest_logit": 8.5,
    "generated": EXPECTED,
    "conversation_differs": False,
    "conversation_tokens": 60,
    "builtin_template": "same",
    "texts": 900,
    "wrong_texts": [],
    "architecture": "llama",
    "end_of_text": 0,
    "versions": {"python": "3.12", "llama_cpp": "0.3"},
}
"""What `load_back.py` measures of a file as it should be; its differences are just below what is allowed."""
OFF: dict[str, dict[str, Any]] = {
    "its architecture is qwen3, not llama": {"architecture": "qwen3"},
    "its tokenizer differs on ['é', ' 7']": {"wrong_texts": ["é", " 7"]},
    "its chat template gives other tokens than training's": {"conversation_differs": True},
    "its end_of_text is 2, not 0": {"end_of_text": 2},
}
"""Faults of a file of any type, by the words that they are refused with."""


def verdict(kind: Any = "f32", greedy: Tensor = GREEDY, **change: Any) -> GgufChecks:
    return judge(SOUND | change, greedy, kind, "llama", 0)


def refusal(kind: Any = "f32", greedy: Tensor = GREEDY, **change: Any) -> str:
    with pytest.raises(ExportError) as refused:
        verdict(kind, greedy, **change)
    beginning, _, faults = str(refused.value).partition(": ")
    assert beginning == "the file, loaded by llama.cpp, is not the checkpoint's model"
    return faults


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_a_sound_measurement_passes_with_its_figures(kind: str) -> None:
    checks = verdict(kind)
    assert checks.maximum_difference == 9e-4
    assert checks.tolerance == (1e-3 if kind == "f32" else ROUNDED_DIFFERENCE[kind])
    assert checks.same_tokens == checks.generated_tokens == 4
    assert checks.gap_at_first_other is None
    kept = (
        "differences",
        "relative",
        "largest_logit",
        "positions",
        "texts",
        "conversation_tokens",
        "builtin_template",
        "versions",
    )
    assert {key: checks.to_dict()[key] for key in kept} == {key: SOUND[key] for key in kept}


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
@pytest.mark.parametrize("words", OFF)
def test_a_single_fault_is_refused_with_its_words(kind: str, words: str) -> None:
    assert refusal(kind, **OFF[words]) == words


def test_all_faults_are_named() -> None:
    every = {key: value for change in OFF.values() for key, value in change.items()}
    assert refusal(**every).split("; ") == list(OFF)


@pytest.mark.parametrize("name", SOUND["differences"])
@pytest.mark.parametrize("difference", [1e-3, math.inf, math.nan])
def test_float32_is_judged_by_the_largest_difference_of_each_input(name: str, difference: float) -> None:
    wrong = SOUND["differences"] | {name: difference}
    assert refusal(differences=wrong) == f"its logits differ by {wrong} (differences), allowed is 1.00e-03"


@pytest.mark.parametrize(("kind", "allowed"), ROUNDED_DIFFERENCE.items())
@pytest.mark.parametrize("name", SOUND["relative"])
def test_other_types_are_judged_by_the_relative_difference_of_each_input(kind, allowed, name: str) -> None:
    for difference in (allowed, math.inf, math.nan):
        wrong = SOUND["relative"] | {name: difference}
        assert (
            refusal(kind, relative=wrong)
            == f"its logits differ by {wrong} (relative), allowed is {allowed:.2e}"
        )


def test_each_type_is_judged_by_its_own_figure_alone() -> None:
    assert verdict("q8_0", differences={"text": 0.5}).maximum_difference == 0.5
    assert verdict("f32", relative={"text": 0.5}).relative == {"text": 0.5}


def test_other_greedy_tokens_are_refused_in_float32_and_counted_in_other_types() -> None:
    words = "it writes [5, 6, 9, 8], not [5, 6, 7, 8], a gap of 4.0"
    assert refusal(generated=[5, 6, 9, 8]) == words
    checks = verdict("q8_0", generated=[5, 6, 9, 8])
    assert (checks.same_tokens, checks.generated_tokens, checks.gap_at_first_other) == (2, 4, 4.0)


@pytest.mark.parametrize(("below", "tie"), [(0.0, True), (9e-4, True), (1.1e-3, False), (math.nan, False)])
def test_the_first_other_token_is_forgiven_in_float32_if_the_checkpoint_has_a_tie(
    below: float, tie: bool
) -> None:
    """What comes after it is another text, and is not held against it."""
    greedy, generated = GREEDY.clone(), [5, 6, 9, 1]
    greedy[2, 9] = 4.0 - below
    if math.isnan(below):
        greedy[2] = torch.nan
    if not tie:
        assert refusal(greedy=greedy, generated=generated).startswith("it writes [5, 6, 9, 1], not [5, 6, ")
        return
    checks = verdict(greedy=greedy, generated=generated)
    assert (checks.same_tokens, checks.generated_tokens) == (2, 4)
    assert checks.gap_at_first_other == pytest.approx(below, abs=1e-6)


def test_a_tie_later_on_does_not_forgive_the_first_other_token() -> None:
    greedy = GREEDY.clone()
    greedy[3, 1] = 6.0
    assert refusal(greedy=greedy, generated=[5, 6, 9, 1]).endswith("a gap of 4.0")


@pytest.mark.parametrize(
    ("builtin", "words"),
    [
        ("same", None),
        (None, None),
        ("different", "do not run Jinja but llama.cpp's built-in renderer would feed the model other tokens"),
        (
            "unknown",
            "built-in renderer does not know it, so programs that do not run Jinja would refuse it or",
        ),
    ],
)
def test_what_the_builtin_renderer_writes_is_no_fault_but_is_said(
    builtin: str | None, words: str | None, tmp_path, monkeypatch, capsys
) -> None:
    checks = verdict(builtin_template=builtin)
    assert checks.to_dict()["builtin_template"] == builtin
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    done = GgufExport(tmp_path, file, "f32", checks, 1.0)
    monkeypatch.setattr(release, "export_gguf", lambda *_arguments, **_options: done)
    _export_to_gguf("run", tmp_path, "f32", lambda folder: None)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("chat template: ")]
    assert len(said) == (words is not None)
    assert words is None or words in said[0]
