from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flyweight.base import UserError
from flyweight.evaluation.context_law import (
    FLATTEST,
    STEEPEST,
    XMODEL_2,
    Law,
    context_law,
    fit_context_law,
)
from flyweight.evaluation.context_losses import PositionLosses, position_losses
from flyweight.evaluation.texts import Text, Texts, read_texts
from flyweight.inference import DecoderModel, LanguageModel

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "eval" / "wikitext2"


@pytest.mark.parametrize(
    ("t", "loss"), [(1, 9.218), (10, 3.753), (50, 2.557), (100, 2.299), (200, 2.126), (500, 1.981)]
)
def test_the_published_law_has_the_published_values(t: int, loss: float):
    # To a unit of the last digit: the coefficients are rounded too.
    assert float(XMODEL_2.loss(t)) == pytest.approx(loss, abs=2e-3)


def made(law: Law, windows: int, length: int, noise: float, seed: int = 0) -> PositionLosses:
    random = np.random.default_rng(seed)
    losses = law.loss(np.arange(1, length + 1)) + noise * random.normal(size=(windows, length))
    return PositionLosses(losses.astype(np.float32), length, 0.3)


def test_a_law_without_noise_is_found_again():
    found = fit_context_law(made(XMODEL_2, 20, 512, 0.0), resamples=3)
    assert found.law == pytest.approx(XMODEL_2, rel=1e-3)
    assert found.residual < 1e-4
    assert not found.warnings


def test_the_intervals_cover_the_law_that_the_noise_was_added_to():
    inside = 0
    for seed in range(10):
        found = fit_context_law(made(XMODEL_2, 60, 256, 2.5, seed), resamples=60, seed=seed)
        low, high = found.band(np.array([4.0, 30.0, 250.0]))
        truth = XMODEL_2.loss(np.array([4.0, 30.0, 250.0]))
        inside += int(((low <= truth) & (truth <= high)).sum())
        assert found.residual_in_errors < 1.8
    assert inside >= 22  # of 30 at 90 percent: 27 expected


def test_what_is_no_such_law_is_seen_in_the_residuals():
    measured = made(XMODEL_2, 50, 256, 0.5)
    measured.losses[:, 100:] += 1.0
    assert fit_context_law(measured, resamples=3).residual_in_errors > 4


def test_a_law_that_does_not_fall_is_told():
    found = fit_context_law(made(Law(-1.0, 3.0, 1e-9), 30, 64, 0.1), resamples=3)
    assert "does not fall" in found.warnings[0]


@pytest.mark.parametrize(
    "shape",
    [lambda t: 8.0 + 0.15 * np.log(t), lambda t: 8.0 - 0.05 * np.log(t)],
    ids=["rises", "falls by as much at every doubling"],
)
def test_an_exponent_at_either_bound_is_told(shape: Callable[[np.ndarray], np.ndarray]):
    measured = made(XMODEL_2, 20, 256, 0.0)
    measured.losses[:] = shape(np.arange(1, 257))
    found = fit_context_law(measured, resamples=3)
    assert min(abs(found.law.a - FLATTEST), abs(found.law.a - STEEPEST)) < 1e-2
    assert any("is at its bound" in warning for warning in found.warnings), found.law


def test_the_first_position_and_those_beyond_the_trained_length_are_not_fitted():
    measured = made(XMODEL_2, 20, 300, 0.0)
    measured.losses[:, 0] = 50.0
    measured.losses[:, 200:] = 9.0
    found = fit_context_law(PositionLosses(measured.losses, 200, 0.3), resamples=3)
    assert found.law == pytest.approx(XMODEL_2, rel=1e-3)
    assert [one.in_fit for one in found.bins if one.first == 1 or one.last > 200] == [False] * (
        1 + sum(one.first > 200 for one in found.bins)
    )
    assert found.bins[0].loss == 50.0
    covered = [t for one in found.bins for t in range(one.first, one.last + 1)]
    assert covered == list(range(1, 301))


def some_text(size: int) -> Texts:
    random = np.random.default_rng(1)
    letters = "".join(chr(97 + n) for n in random.integers(0, 26, size))
    return Texts([Text("a", letters[: size // 3]), Text("b", letters[size // 3 :])], ("a", "b"), "")


def test_every_token_is_scored_after_the_prefix_and_what_stands_before_it(model: DecoderModel):
    texts = some_text(230)
    found = position_losses(model, texts, length=20, batch_tokens=45)
    tokens = model.tokenizer.encode(texts.documents[0].text + "\n\n" + texts.documents[1].text)
    assert found.losses.shape == (len(tokens) // 20, 20)
    assert found.tokens_per_byte == 1.0
    for window in (0, 5):
        row = tokens[20 * window : 20 * window + 20]
        for t in (0, 1, 7, 19):
            inputs = torch.tensor([[model.prefix_token, *row[:t]]])
            logits = model.logits_at(inputs, torch.tensor([0]), torch.tensor([t]))
            expected = -torch.log_softmax(logits.double(), 1)[0, row[t]].item()
            assert found.losses[window, t] == pytest.approx(expected, abs=1e-4)


def test_longer_windows_than_the_model_was_trained_on_are_marked(model: DecoderModel):
    found = context_law(model, some_text(600), length=40, resamples=3)
    assert (found.length, found.trained_length, found.windows) == (40, 24, 15)
    assert any(one.first > 24 for one in found.bins)
    assert not any(one.in_fit for one in found.bins if one.last > 24)


def test_equal_losses_are_the_logarithm_of_the_vocabulary(uniform: LanguageModel):
    found = context_law(uniform, some_text(400), resamples=3)
    assert "does not fall" in found.warnings[0]
    assert found.by_position == pytest.approx([math.log(260)] * 24, rel=1e-5)
    assert found.bits_per_byte(math.log(260)) == pytest.approx(math.log2(260))
    json.dumps(found.to_json(), allow_nan=False)


def test_too_little_text_is_told(model: DecoderModel):
    with pytest.raises(UserError, match="make 4 windows of 24 tokens; expected 8 or more"):
        position_losses(model, some_text(110))
    with pytest.raises(UserError, match="windows of 3 tokens"):
        position_losses(model, some_text(110), length=3)


def test_a_model_whose_positions_end_says_so(uniform: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    def ends(tokens: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        raise IndexError("index out of range in self")

    monkeypatch.setattr(uniform, "logits_at", ends)
    with pytest.raises(UserError, match=r"uniform cannot take windows of 40 tokens .* context is 24"):
        position_losses(uniform, some_text(600), length=40)
    with pytest.raises(IndexError):
        position_losses(uniform, some_text(600), length=20)


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no WikiText at {SHARED}")
def test_the_law_of_a_real_text(uniform: LanguageModel):
    texts = read_texts([SHARED])
    found = context_law(uniform, texts, max_windows=50, resamples=3)
    assert (found.windows, len(texts.documents)) == (50, 1)
