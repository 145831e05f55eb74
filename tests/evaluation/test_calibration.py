from __future__ import annotations

import json

import numpy as np
import pytest

from flyweight.base import UserError
from flyweight.evaluation.calibration import READINGS, Calibration, calibrate, calibration_of
from flyweight.evaluation.results import Metric, TaskResult


def drawn(items: int, sharpness: float, truth: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihoods (items, 4) scaled by `sharpness`, and answers drawn as they would be at `truth`."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=(items, 4))
    weights = np.exp(truth * scores)
    steps = (weights / weights.sum(1, keepdims=True)).cumsum(1)
    gold = (random.random((items, 1)) > steps[:, :-1]).sum(1)
    return sharpness * scores - 3.0, gold


def by_hand(values: np.ndarray, gold: np.ndarray, bins: int, top: bool) -> float:
    """ECE with plain loops."""
    pairs = []
    for row, right in zip(values, gold, strict=True):
        p = np.exp(row) / np.exp(row).sum()
        pairs += [(p[k], k == right) for k in ([int(np.argmax(p))] if top else range(4))]
    error = 0.0
    for b in range(bins):
        inside = [
            (p, hit) for p, hit in pairs if b / bins <= p < (b + 1) / bins or (b == bins - 1 and p == 1)
        ]
        if inside:
            ps, hits = zip(*inside, strict=True)
            error += len(inside) / len(pairs) * abs(np.mean(hits) - np.mean(ps))
    return error


def test_the_definitions_are_those_of_plain_loops():
    values, gold = drawn(300, 2.0, 1.0)
    found = calibrate(values, gold, top_bins=15, resamples=20)
    assert found.reading("options").ece == pytest.approx(by_hand(values, gold, 10, top=False))
    assert found.reading("top-1").ece == pytest.approx(by_hand(values, gold, 15, top=True))
    p = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    assert found.accuracy == np.mean(p.argmax(1) == gold)
    assert found.brier == pytest.approx(np.mean(((p - np.eye(4)[gold]) ** 2).sum(1)))
    assert found.mass_mean == pytest.approx(np.exp(values).sum(1).mean())
    counts = [one.count for one in found.reading("options-equal-count").bins]
    assert sum(counts) == 1200
    assert max(counts) - min(counts) <= 1
    for reading, total in (("options", 1200), ("top-1", 300)):
        assert sum(one.count for one in found.reading(reading).bins) == total


def test_a_calibrated_model_is_within_its_own_bias_and_an_overconfident_one_is_not():
    bold = calibrate(*drawn(2000, 3.0, 1.0), resamples=200)
    calm = [calibrate(*drawn(300, 1.0, 1.0, seed), resamples=100) for seed in range(60)]
    for reading in READINGS:
        off = bold.reading(reading)
        assert off.ece > 3 * off.ece_if_calibrated_high
        assert off.ece_low < off.ece < off.ece_high
        above = sum(one.reading(reading).ece > one.reading(reading).ece_if_calibrated_high for one in calm)
        assert above <= 9  # of 60 about 3 are expected
    assert bold.accuracy == calibrate(*drawn(2000, 1.0, 1.0), resamples=2).accuracy
    assert bold.brier > calibrate(*drawn(2000, 1.0, 1.0), resamples=2).brier


def test_the_bias_at_small_n_is_told_and_falls_with_the_root_of_n():
    small, large = (calibrate(*drawn(n, 1.0, 1.0), resamples=300).reading("top-1") for n in (100, 10_000))
    assert small.ece_if_calibrated / large.ece_if_calibrated == pytest.approx(10, rel=0.3)
    # Fresh samples of a calibrated model have on average what is said.
    errors = [calibrate(*drawn(100, 1.0, 1.0, seed), resamples=2).reading("top-1").ece for seed in range(100)]
    assert np.mean(errors) == pytest.approx(small.ece_if_calibrated, rel=0.15)


def test_the_band_covers_the_truth_about_as_often_as_it_says():
    inside = []
    for seed in range(40):
        found = calibrate(*drawn(400, 1.0, 1.0, seed), resamples=200)
        for one in found.reading("options").bins:
            if one.count >= 100:
                inside.append(one.right_low <= one.confidence <= one.right_high)
    assert 0.87 < np.mean(inside) < 0.99  # percentiles fall a little short in small bins


def test_a_flat_model_knows_nothing_and_is_calibrated():
    gold = np.arange(400) % 4
    found = calibrate(np.full((400, 4), -9.0), gold, resamples=20)
    assert (found.accuracy, found.brier) == (0.25, 0.75)
    assert all(one.ece == pytest.approx(0) for one in found.readings if one.reading != "top-1")
    assert found.mass_mean == pytest.approx(4 * np.exp(-9.0))
    assert [one.count for one in found.reading("options").bins if one.count] == [1600]


def test_the_seed_decides_and_json_takes_it():
    values, gold = drawn(50, 1.0, 1.0)
    one, two, other = (calibrate(values, gold, resamples=20, seed=seed) for seed in (1, 1, 2))
    assert one == two != other
    text = json.dumps(one.to_json(), allow_nan=False)
    assert set(json.loads(text)["readings"]) == {"options", "options-equal-count", "top-1"}


def result_of(rows: list[list[float]]) -> TaskResult:
    items = {"id": list(range(len(rows))), "loglikelihoods": rows, "gold": [0] * len(rows)}
    return TaskResult({"acc": Metric(0.5, None, len(rows))}, items)


def test_results_without_choices_are_refused():
    assert isinstance(calibration_of(result_of([[-1.0, -2.0]] * 4), "piqa", resamples=5), Calibration)
    with pytest.raises(UserError, match=r"arc_easy have different numbers of choices \(3, 4\)"):
        calibration_of(result_of([[-1.0] * 3, [-1.0] * 4]), "arc_easy")
    with pytest.raises(UserError, match="gsm8k have no column 'loglikelihoods'"):
        calibration_of(TaskResult({}, {"id": [1], "text": ["x"]}), "gsm8k")
    with pytest.raises(UserError, match="1 of 2 items have a log-likelihood that is not a finite number"):
        calibrate([[0.0, -1.0], [-np.inf, -1.0]], [0, 1])
    with pytest.raises(UserError, match="found none"):
        calibrate([], [])
