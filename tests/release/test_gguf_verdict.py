"""The verdict on a GGUF file: what was measured of it is taken or refused. No llama.cpp is needed to judge."""

from __future__ import annotations

import math
from typing import Any

import pytest

from flyweight.release import ExportError
from flyweight.release.gguf.checks import ROUNDED_DIFFERENCE, GgufChecks, judge

EXPECTED = [5, 6, 7, 8]
SOUND: dict[str, Any] = {
    "differences": {"long": 9e-4, "random": 2e-4, "text": 1e-4},
    "relative": {"long": 3e-3, "random": 2e-3, "text": 1e-3},
    "positions": 228,
    "largest_logit": 8.5,
    "generated": EXPECTED,
    "conversation_differs": False,
    "conversation_tokens": 60,
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


def verdict(kind: Any = "f32", **change: Any) -> GgufChecks:
    return judge(SOUND | change, EXPECTED, kind, "llama", 0)


def refusal(kind: Any = "f32", **change: Any) -> str:
    with pytest.raises(ExportError) as refused:
        verdict(kind, **change)
    beginning, _, faults = str(refused.value).partition(": ")
    assert beginning == "the file, loaded by llama.cpp, is not the checkpoint's model"
    return faults


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0"])
def test_a_sound_measurement_passes_with_its_figures(kind: str) -> None:
    checks = verdict(kind)
    assert checks.maximum_difference == 9e-4
    assert checks.tolerance == (1e-3 if kind == "f32" else ROUNDED_DIFFERENCE[kind])
    assert checks.same_tokens == checks.generated_tokens == 4
    kept = (
        "differences",
        "relative",
        "largest_logit",
        "positions",
        "texts",
        "conversation_tokens",
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
    assert refusal(generated=[5, 6, 9, 8]) == "it writes [5, 6, 9, 8], not [5, 6, 7, 8]"
    assert verdict("q8_0", generated=[5, 6, 9, 8]).same_tokens == 2
