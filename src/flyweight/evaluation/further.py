"""What is measured besides tasks: calibration of multiple-choice answers, bits per byte and the law of context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flyweight.base import UserError, path_inside, write_json
from flyweight.evaluation.calibration import calibration_of
from flyweight.evaluation.context_law import context_law
from flyweight.evaluation.engine import Wanted, task_results
from flyweight.evaluation.results import RESULTS_FILE
from flyweight.evaluation.text_bits import measure_texts
from flyweight.evaluation.texts import read_texts
from flyweight.inference import LanguageModel

LETTERED = ("mmlu", "cmmlu", "ceval-valid")
"""Tasks whose choices are letters, one token each."""

_NOT_LETTERED = f"calibration needs a task with lettered answers: {', '.join(LETTERED)}."

Progress = Callable[[str, float], None]


def check_further(wanted: Sequence[Wanted], paths: Sequence[Path], *, calibration: bool) -> None:
    """Whether there is something to measure besides `wanted`, before these are run.

    Raises:
        UserError: no task with lettered answers to calibrate, or no text at `paths`.
    """
    if calibration and not any(one.task in LETTERED for one in wanted):
        raise UserError(_NOT_LETTERED)
    if paths:
        read_texts(paths, max_bytes=1)


def add_calibration(results: dict[str, Any], output: Path | None) -> list[str]:
    """How the probabilities of lettered answers compare with how often they are right, for tasks in `results`.

    It goes into `results["calibration"]` by task, and with an output folder to `calibration-TASK.png`. Returns a
    sentence for each task.

    Raises:
        UserError: no task with lettered answers was run.
    """
    tasks = {
        key: result for key, result in task_results(results).items() if key.partition("@")[0] in LETTERED
    }
    if not tasks:
        raise UserError(_NOT_LETTERED)
    lines = []
    for key, result in tasks.items():
        found = calibration_of(result, key)
        results.setdefault("calibration", {})[key] = found.to_json()
        errors = ", ".join(f"{one.reading} {one.ece:.3f}" for one in found.readings)
        lines.append(f"{key}: accuracy {found.accuracy:.3f}, calibration error {errors}.")
        if output is not None:
            from flyweight.evaluation.figures import reliability_figure

            _save(
                reliability_figure(found, title=results["model"]["name"]),
                output,
                f"calibration-{key}.png",
                lines[-1],
            )
    _keep(results, output)
    return lines


def add_texts(
    results: dict[str, Any],
    model: LanguageModel,
    paths: Sequence[Path],
    output: Path | None,
    *,
    law: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Bits per byte of the documents at `paths`, beside general compressors, as the task `text` of `results`.

    With `law` the loss by position is measured and fitted too: `results["context_law"]`, and with an output folder
    `context-law.png`. Returns a sentence for each.

    Raises:
        UserError: no text there, or too little of it for the law.
    """
    texts = read_texts(paths)
    measured = measure_texts(model, texts, compressors=True, progress=_named(progress, "text"))
    before = results["tasks"].get("text", {}).get("data")
    results["tasks"]["text"] = {"task": "text", **measured.to_result().to_json()}
    if before != results["tasks"]["text"]["data"]:
        results.pop("context_law", None)  # of another text
    yardsticks = ", ".join(f"{name} {value:.4f}" for name, value in measured.compressors.items())
    lines = [
        f"text: {measured.total.bits_per_byte:.4f} bits per byte over {measured.total.bytes:,} bytes "
        f"(general compressors on the same text: {yardsticks})."
    ]
    if law:
        found = context_law(model, texts, progress=_named(progress, "law of context"))
        results["context_law"] = found.to_json()
        a, b, c = (f"{getattr(found.law, name):.3f}" for name in ("a", "b", "c"))
        lines.append(f"law of context: L(t) = {b} + (t / {c})^{a} nats.")
        lines += found.warnings
        if output is not None:
            from flyweight.evaluation.figures import context_law_figure

            _save(
                context_law_figure(found, title=results["model"]["name"]), output, "context-law.png", lines[1]
            )
    _keep(results, output)
    return lines


def _save(figure: Any, output: Path, name: str, description: str) -> None:
    from flyweight.plots import write_figure

    # The names of tasks may come from results that were there before.
    write_figure(figure, path_inside(output, name, output / RESULTS_FILE), description)


def _keep(results: dict[str, Any], output: Path | None) -> None:
    if output is not None:
        write_json(output / RESULTS_FILE, results)


def _named(progress: Progress | None, name: str) -> Callable[[float], None] | None:
    return None if progress is None else lambda share: progress(name, share)
