from __future__ import annotations

import pytest

from flyweight.evaluation.open_slm import NEEDED, OpenSlmIndex, open_slm_index, open_slm_of
from flyweight.evaluation.results import Metric, TaskResult

SMOLLM2_135M = {
    "hellaswag": 43.22,
    "arc_easy": 58.63,
    "arc_challenge": 29.69,
    "piqa": 68.44,
    "arithmark_3": 39.20,
}


def shares(percent: dict[str, float]) -> dict[str, float]:
    return {name: value / 100 for name, value in percent.items()}


def test_the_published_row():
    assert open_slm_index(**shares(SMOLLM2_135M)) == pytest.approx(27.13, abs=0.005)


def test_chance_is_zero_and_everything_right_is_a_hundred():
    chance = {"hellaswag": 0.25, "arc_easy": 0.25, "arc_challenge": 0.25, "piqa": 0.5, "arithmark_3": 0.25}
    assert open_slm_index(**chance) == 0
    assert open_slm_index(**dict.fromkeys(chance, 1.0)) == pytest.approx(100)


def results(shots: int = 0) -> dict[str, TaskResult]:
    found: dict[str, TaskResult] = {}
    for part, (task, metric) in NEEDED.items():
        value = SMOLLM2_135M[part] / 100
        found[task] = TaskResult({metric: Metric(value, 0.01, 1000)}, {"id": []}, shots=shots)
    return found


def test_a_run_has_an_index_with_an_error():
    found = open_slm_of(results())
    assert isinstance(found, OpenSlmIndex)
    assert found.index == pytest.approx(27.13, abs=0.005)
    # 1 point of error: 4/3 of a point on a four-way part, half of that on each half of ARC, 2 on PIQA.
    parts = (4 / 3, 2 / 3, 2 / 3, 2, 0.65 * 4 / 3)
    assert found.stderr == pytest.approx(sum(part**2 for part in parts) ** 0.5 / 3.65)
    assert found.parts["arc"] == pytest.approx(100 * (0.4416 - 0.25) / 0.75)


def test_what_is_missing_is_said():
    some = results()
    del some["piqa"]
    assert open_slm_of(some) == "the Open SLM index needs piqa (acc_norm) as well."
    assert "with no examples" in str(open_slm_of(results(shots=5)))
