"""The Open SLM index: one number of the leaderboard for models below 150 M parameters.

It rescales each accuracy so that chance is 0 and all right is 100, and weighs them:

    N(score) = 100 (score - chance) / (100 - chance)
    index = (N(HellaSwag) + N(ARC) + N(PIQA) + 0.65 N(ArithMark 3)) / 3.65

ARC is the mean of easy and challenge before it is rescaled. The scores are zero-shot `acc_norm`: lm-eval's for the
first four, ArithMark's own for the last. The leaderboard scores in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flyweight.evaluation.results import Metric, TaskResult

WEIGHT_OF_ARITHMARK = 0.65

NEEDED: dict[str, tuple[str, str]] = {
    "hellaswag": ("hellaswag", "acc_norm"),
    "arc_easy": ("arc_easy", "acc_norm"),
    "arc_challenge": ("arc_challenge", "acc_norm"),
    "piqa": ("piqa", "acc_norm"),
    "arithmark_3": ("arithmark", "acc_norm,v3"),
}
"""Task and metric of each part."""


@dataclass(frozen=True)
class OpenSlmIndex:
    """The index of a model."""

    index: float
    """0 is chance everywhere, 100 is everything right."""
    stderr: float | None
    """From the standard errors of the parts, which are independent samples."""
    parts: dict[str, float]
    """The rescaled scores: hellaswag, arc, piqa, arithmark_3."""

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def normalised(score: float, chance: float) -> float:
    """100 (score - chance) / (1 - chance); both are shares of 1."""
    return 100 * (score - chance) / (1 - chance)


def open_slm_index(
    hellaswag: float, arc_easy: float, arc_challenge: float, piqa: float, arithmark_3: float
) -> float:
    """The index of five accuracies, each a share of 1."""
    return _weighed(_parts(hellaswag, arc_easy, arc_challenge, piqa, arithmark_3))


def open_slm_of(tasks: Mapping[str, TaskResult]) -> OpenSlmIndex | str:
    """The index from a run's results, or a sentence that says what is missing for it."""
    found: dict[str, Metric] = {}
    missing = []
    for part, (task, metric) in NEEDED.items():
        result = tasks.get(task)
        if result is None or metric not in result.metrics:
            missing.append(f"{task} ({metric})")
        elif result.shots:
            missing.append(f"{task} with no examples in the prompt")
        else:
            found[part] = result.metrics[metric]
    if missing:
        return f"the Open SLM index needs {', '.join(missing)} as well."
    values = {name: metric.value for name, metric in found.items()}
    parts = _parts(**values)
    errors = [metric.stderr for metric in found.values()]
    stderr = None
    if None not in errors:
        # How far the index moves with each part; it is linear in them.
        moves = [_weighed(_parts(**{**values, name: values[name] + 1})) - _weighed(parts) for name in values]
        stderr = math.sqrt(
            math.fsum((move * (error or 0)) ** 2 for move, error in zip(moves, errors, strict=True))
        )
    return OpenSlmIndex(_weighed(parts), stderr, parts)


def _parts(
    hellaswag: float, arc_easy: float, arc_challenge: float, piqa: float, arithmark_3: float
) -> dict[str, float]:
    return {
        "hellaswag": normalised(hellaswag, 0.25),
        "arc": normalised((arc_easy + arc_challenge) / 2, 0.25),
        "piqa": normalised(piqa, 0.5),
        "arithmark_3": normalised(arithmark_3, 0.25),
    }


def _weighed(parts: Mapping[str, float]) -> float:
    total = parts["hellaswag"] + parts["arc"] + parts["piqa"] + WEIGHT_OF_ARITHMARK * parts["arithmark_3"]
    return total / (3 + WEIGHT_OF_ARITHMARK)
