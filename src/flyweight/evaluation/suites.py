"""The tables by which the four systems are known: their tasks, their settings, their columns, their rows.

The published rows come from their authors' own harnesses, which are not public in every detail: a row measured here
stands beside them, not among them. Sources: the model cards of GPT-X2-125M, GPT-S-5M and Xmodel-2.5 with the latter's
evaluation settings in its training code, and tables 2 and 3 of the Xmodel-2 report (arXiv 2412.19638).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.statistics import mean
from flyweight.recipe.units import parse_tokens


class Part(NamedTuple):
    """One number of a task."""

    task: str
    """Name of the task."""
    metric: str
    """Which of its metrics."""
    shots: int | None = None
    """Examples in the prompt; None takes the task's own number."""

    @property
    def key(self) -> str:
        """How results name the task with this number of examples."""
        return task_key(self.task, self.shots)


def task_key(task: str, shots: int | None) -> str:
    """How results name a task: `gsm8k`, or `gsm8k@8` where the number of examples was chosen."""
    return task if shots is None else f"{task}@{shots}"


class Column(NamedTuple):
    """A column of a table: the mean of its parts."""

    title: str
    parts: tuple[Part, ...]


SIMILAR = 8
"""Models up to so many times larger or smaller are peers: GPT-S-5M, say, is known for beating one of six times."""

FEWEST_PEERS = 3
"""Where fewer models are so near in size, these are the nearest ones."""


class PublishedRow(NamedTuple):
    """A model's numbers from its authors, in percent; None where they give none."""

    model: str
    parameters: int
    """As its name says, or its authors; rounded."""
    values: tuple[float | None, ...]
    """One a column, then the average as printed."""


@dataclass(frozen=True)
class Suite:
    """One table."""

    columns: tuple[Column, ...]
    """The tasks, in the card's order; the average over them follows."""
    published: tuple[PublishedRow, ...]
    """The rows of the card."""
    source: str
    """Where they stand, and how they were measured."""

    @property
    def parts(self) -> list[Part]:
        """Everything that has to be measured, each once."""
        return list({part.key: part for column in self.columns for part in column.parts}.values())

    def peers(self, parameters: int) -> list[PublishedRow]:
        """The published rows of models of about this size (`SIMILAR`, `FEWEST_PEERS`), in the card's order."""
        far = {row.model: abs(math.log(row.parameters / parameters)) for row in self.published}
        nearest = sorted(self.published, key=lambda row: far[row.model])
        alike = sum(distance <= math.log(SIMILAR) for distance in far.values())
        kept = nearest[: max(alike, FEWEST_PEERS)]
        return [row for row in self.published if row in kept]


class Row(NamedTuple):
    """A model's numbers in a suite's columns, in percent; None where something could not be measured."""

    values: tuple[float | None, ...]
    average: float | None
    """Over all columns; None where one is missing."""
    errors: tuple[float | None, ...]
    """Standard errors of the values; None where one is not known."""
    average_error: float | None
    """Standard error of the average: columns share no items, so that their errors add up as squares."""


def suite_row(suite: Suite, results: Mapping[str, TaskResult]) -> Row:
    """The numbers of a run in the columns of a suite.

    Args:
        suite: which table.
        results: by `Part.key`.
    """
    found = [_value(column, results) for column in suite.columns]
    values, errors = tuple(value for value, _ in found), tuple(error for _, error in found)
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    return Row(values, mean(known) if whole else None, errors, _error_of_mean(errors) if whole else None)


def measured_suites(results: Mapping[str, TaskResult], without: Collection[str] = ()) -> list[str]:
    """The suites that were asked for, and of which more than half of the columns are filled.

    Args:
        results: by `Part.key`.
        without: keys of what was asked for and could not be measured.
    """
    found = []
    for name, suite in SUITES.items():
        filled = [value is not None for value in suite_row(suite, results).values]
        asked = all(part.key in results or part.key in without for part in suite.parts)
        if asked and 2 * sum(filled) > len(filled):
            found.append(name)
    return found


def _value(column: Column, results: Mapping[str, TaskResult]) -> tuple[float | None, float | None]:
    """The mean of a column's parts and its standard error, in percent."""
    found: list[Metric] = []
    for part in column.parts:
        result = results.get(part.key)
        if result is None or part.metric not in result.metrics:
            return None, None
        found.append(result.metrics[part.metric])
    error = _error_of_mean([metric.stderr for metric in found])
    return 100 * mean([metric.value for metric in found]), None if error is None else 100 * error


def _error_of_mean(errors: Sequence[float | None]) -> float | None:
    """The standard error of a mean of independent numbers with these."""
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / len(known) if known and len(known) == len(errors) else None


def _column(title: str, task: str, metric: str, shots: int | None = None) -> Column:
    return Column(title, (Part(task, metric, shots),))


def _rows(text: str) -> tuple[PublishedRow, ...]:
    """Lines of a name, a size and numbers; a dash for what was not published."""
    rows = []
    for line in text.strip().splitlines():
        name, size, values = (cell.strip() for cell in line.split("|"))
        numbers = tuple(None if value == "-" else float(value) for value in values.split())
        rows.append(PublishedRow(name, parse_tokens(size), numbers))
    return tuple(rows)


_HELLASWAG, _PIQA = _column("HellaSwag", "hellaswag", "acc_norm"), _column("PIQA", "piqa", "acc_norm")

SUITES: dict[str, Suite] = {
    "gpt-x2": Suite(
        (
            _HELLASWAG,
            Column("ARC (avg)", (Part("arc_easy", "acc_norm"), Part("arc_challenge", "acc_norm"))),
            _PIQA,
            _column("LogicMark", "logicmark", "acc_norm"),
            _column("Winogrande", "winogrande", "acc"),
            _column("ArithMark", "arithmark", "acc,v1"),
        ),
        _rows("""
            SmolLM2-135M | 135M | 43.22 44.62 67.52 48.78 48.46 33.26 47.64
            GPT-X2-125M | 125M | 40.55 39.90 66.97 49.12 49.01 34.78 46.72
            SmolLM-135M | 135M | 42.70 43.17 67.19 43.89 50.43 32.34 46.62
            MobileLLM-R1-140M-base | 140M | 33.91 37.47 62.79 45.04 50.28 46.94 46.07
            GPT-X-125M | 125M | 36.57 38.84 65.72 43.83 50.83 30.52 44.39
            MobileLLM-125M | 125M | 38.90 35.50 65.30 42.04 53.10 31.16 44.33
            GPT-3 (125M) | 125M | 33.70 35.10 64.60 - 52.00 - -
            GPT-2 Medium (355M) | 355M | 39.40 34.80 66.30 44.90 50.40 34.80 43.94
            GPT-2 (124M) | 124M | 31.49 31.40 63.28 44.52 48.54 32.80 42.01
            Pythia-160M | 160M | 30.46 29.95 57.94 40.87 49.41 28.06 39.45
            OPT-125M | 125M | 31.39 31.53 62.02 43.81 49.96 27.48 41.03
            GPT-Neo-125M | 125M | 30.55 31.43 61.75 45.40 49.09 29.98 41.37
        """),
        "card of GPT-X2-125M: its authors' own harness modelled on lm-eval, zero-shot",
    ),
    "gpt-s-5m": Suite(
        (
            _HELLASWAG,
            _column("ARC (easy)", "arc_easy", "acc_norm"),
            _PIQA,
            _column("ArithMark", "arithmark", "acc,v2"),
            _column("BLiMP", "blimp", "acc"),
        ),
        _rows("""
            GPT-S-5M | 5M | 27.39 33.16 57.13 31.50 72.21 44.28
            pythia-31m | 31M | 27.14 33.88 56.26 29.44 67.78 42.90
            pythia-14m | 14M | 26.20 32.28 55.88 28.06 66.75 41.83
            Spark-5M-Base-v4 | 5M | 27.03 33.21 53.43 32.70 62.17 41.71
            Supra-Mini-v5-8M | 8M | 26.38 33.33 54.03 27.30 63.83 40.97
            Supra-Mini-v4-2M | 2M | 25.52 30.98 51.90 29.72 60.57 39.74
        """),
        "card of GPT-S-5M: its authors' own harness modelled on lm-eval, zero-shot, bfloat16",
    ),
    "xmodel-2": Suite(
        (
            _column("ARC-c", "arc_challenge", "acc"),
            _column("ARC-e", "arc_easy", "acc"),
            _column("BoolQ", "boolq", "acc"),
            _column("HellaSwag", "hellaswag", "acc"),
            _column("OBQA", "openbookqa", "acc"),
            _column("PIQA", "piqa", "acc"),
            _column("SciQ", "sciq", "acc"),
            _column("Winogrande", "winogrande", "acc"),
        ),
        _rows("""
            Xmodel-2 | 1.2B | 39.16 71.55 74.65 47.45 29.20 74.81 93.60 63.93 61.79
            Phi-1.5 | 1.3B | 44.80 76.22 74.95 47.96 38.60 76.66 93.30 72.93 65.68
            DCLM-1B | 1B | 41.30 74.79 71.41 53.59 32.20 76.93 94.00 66.22 63.81
            Qwen2.5-1.5B | 1.5B | 41.21 75.21 72.97 50.15 31.80 75.90 94.30 63.61 63.14
            SmolLM-1.7B | 1.7B | 43.43 76.47 65.93 49.58 30.00 75.79 93.20 60.93 61.92
            StableLM-2-zephyr-1.6B | 1.6B | 36.52 66.79 80.00 53.26 26.80 74.86 88.00 64.09 61.29
            Qwen2-1.5B | 1.5B | 33.11 66.41 72.60 48.57 27.00 75.57 94.60 65.75 60.45
            InternLM2.5-1.8B | 1.8B | 35.24 66.37 79.82 46.99 22.00 73.29 94.90 62.67 60.16
            Fox-1-1.6B | 1.6B | 34.73 69.91 71.77 46.33 24.60 75.24 93.20 60.77 59.57
            MiniCPM-1.2B | 1.2B | 36.86 70.29 67.92 49.91 23.60 74.43 91.80 60.77 59.45
            Llama-3.2-1B | 1B | 31.31 65.36 63.73 47.78 26.40 74.48 91.50 61.01 57.70
            OpenELM-1.1B | 1.1B | 28.84 62.37 63.58 48.36 25.40 74.76 90.60 61.72 56.95
            OLMo-1B | 1B | 28.67 63.34 61.74 46.97 25.00 75.03 87.00 59.98 55.97
            TinyLlama1.1-1.1B | 1.1B | 30.97 61.66 55.99 46.70 25.20 72.63 89.30 59.43 55.24
            MobiLlama-1B | 1B | 28.24 61.53 60.92 46.74 21.80 75.14 88.20 59.27 55.23
        """),
        "table 2 of the Xmodel-2 report: lm-eval of an unnamed version, zero-shot, plain accuracy",
    ),
    "xmodel-2-complex": Suite(
        (
            _column("GSM8K", "gsm8k", "exact_match,flexible-extract", 5),
            _column("MATH", "minerva_math", "exact_match", 4),
            _column("BBH", "bbh", "exact_match,get-answer", 3),
            _column("MMLU", "mmlu", "acc", 0),
            _column("HumanEval", "humaneval", "pass@1,create_test"),
            _column("MBPP", "mbpp", "pass_at_1"),
        ),
        _rows("""
            Xmodel-2 | 1.2B | 55.88 25.50 48.40 48.87 29.88 29.20 39.62
            Qwen2.5-1.5B | 1.5B | 62.40 28.28 43.99 59.72 5.49 40.00 39.98
            Qwen2-1.5B | 1.5B | 57.62 22.90 33.05 55.11 20.73 30.40 36.64
            MiniCPM-1.2B | 1.2B | 40.11 10.98 35.42 43.99 43.90 36.80 35.20
            InternLM2.5-1.8B | 1.8B | 27.90 16.68 41.76 46.30 27.40 29.60 31.61
            Phi-1.5 | 1.3B | 32.15 3.18 28.81 41.75 36.59 35.40 29.65
            StableLM-2-zephyr-1.6B | 1.6B | 41.32 10.12 32.71 41.30 25.61 19.40 28.41
            Fox-1-1.6B | 1.6B | 34.34 7.94 28.75 39.55 14.02 9.00 22.27
            SmolLM-1.7B | 1.7B | 7.51 3.18 29.21 27.73 21.34 31.80 20.13
            Llama-3.2-1B | 1B | 6.60 1.78 31.44 36.63 14.63 22.20 18.88
            DCLM-1B | 1B | 4.93 2.14 30.70 46.43 8.54 6.80 16.59
            MobiLlama-1B | 1B | 1.97 1.54 25.76 25.26 7.93 5.40 11.31
            TinyLlama1.1-1.1B | 1.1B | 2.50 1.48 25.57 25.35 1.83 3.40 10.02
            OLMo-1B | 1B | 2.35 1.46 25.60 24.46 5.49 0.20 9.93
            OpenELM-1.1B | 1.1B | 0.45 1.06 6.62 25.52 8.54 6.80 8.16
        """),
        "table 3 of the Xmodel-2 report: lm-eval of an unnamed version; code with bigcode's harness",
    ),
    "xmodel-2.5": Suite(
        (
            _column("ARC-Challenge", "arc_challenge", "acc_norm", 25),
            _column("ARC-Easy", "arc_easy", "acc_norm", 25),
            _column("PIQA", "piqa", "acc_norm", 0),
            _column("HellaSwag", "hellaswag", "acc_norm", 10),
            _column("WinoGrande", "winogrande", "acc", 5),
            _column("BBH", "bbh", "exact_match,get-answer", 3),
            _column("MMLU", "mmlu", "acc", 5),
            _column("GSM8K", "gsm8k", "exact_match,flexible-extract", 8),
            _column("MATH", "minerva_math", "math_verify", 4),
            _column("HumanEval", "humaneval", "pass@1,create_test"),
            _column("MBPP", "mbpp", "pass_at_1", 3),
            _column("CMMLU", "cmmlu", "acc_norm", 5),
            _column("C-Eval", "ceval-valid", "acc_norm", 5),
        ),
        _rows("""
            Xmodel-2.5 | 1.3B | 48.89 76.94 75.95 67.24 64.64 54.58 51.81 58.98 28.94 28.66 33.00 47.16 45.54 52.49
            Xmodel-2 | 1.2B | 46.16 76.22 75.14 64.05 64.25 48.90 49.98 56.56 25.64 29.27 30.80 44.29 43.16 50.34
            Qwen3-1.7B | 1.7B | - - - - - - - - - - - - - 56.96
            InternLM2.5-1.8B | 1.8B | - - - - - - - - - - - - - 50.19
            MiniCPM-1B | 1B | - - - - - - - - - - - - - 48.95
            SmolLM2-1.7B | 1.7B | - - - - - - - - - - - - - 46.88
            Llama-3.2-1B | 1B | - - - - - - - - - - - - - 44.72
        """),
        "card of Xmodel-2.5: lm-eval of an unnamed version, few-shot as in its training code",
    ),
}  # fmt: skip
"""By the names that `flyweight evaluate --suite` takes. GSM8K's rule of extraction is not published; it is the
flexible one here, which is the kinder of lm-eval's two."""
