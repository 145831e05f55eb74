"""What was measured, as a model card says it: the cards' own tables, bits per byte, every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flyweight.evaluation.results import Metric, TaskResult
from flyweight.evaluation.suites import SUITES, PublishedRow, Row, Suite, measured_suites, suite_row
from flyweight.recipe import format_tokens
from flyweight.report.markdown import code, inline, table
from flyweight.report.results import bits_per_byte_rows, exported_bits, measurements, text_compressors
from flyweight.report.run import RunRecord

_WIDE = 8
"""A suite of more columns is shown on its side."""


def results_text(record: RunRecord, export: Mapping[str, Any], parameters: int) -> str:
    """Everything that was measured; what was not has no line.

    Args:
        record: the run.
        export: flyweight_export.json.
        parameters: of the model, by which its peers are found.
    """
    suites = _suite_parts(record, parameters)
    parts = [*suites, *_bits_parts(record, export), *_task_parts(record, headed=bool(suites))]
    if parts and "file" in export:
        weights = code(str(export.get("dtype")))
        parts.insert(0, f"Measured is the checkpoint, not this file, whose weights are in {weights}.")
    return "\n\n".join(parts)


def measured_tasks(results: Mapping[str, Any]) -> dict[str, TaskResult]:
    """Metrics by task, as far as results.json can be read."""
    found: dict[str, dict[str, Metric]] = {}
    for row in measurements(results):
        if not row.grouped:
            found.setdefault(row.task, {})[row.metric] = Metric(row.value, row.stderr, row.n or 0)
    return {task: TaskResult(metrics, {}) for task, metrics in found.items()}


def _suite_parts(record: RunRecord, parameters: int) -> list[str]:
    tasks = measured_tasks(record.results)
    partial = {row.task for row in measurements(record.results) if row.partial}
    parts = []
    without = [key for part in ("missing", "failed") for key in _keys(record.results.get(part))]
    for name in measured_suites(tasks, without):
        suite = SUITES[name]
        row, peers = suite_row(suite, tasks), suite.peers(parameters)
        cut = any(part.key in partial for part in suite.parts)
        parts += [
            f"In percent, ± standard error. {_how(record, wide=len(suite.columns) > _WIDE)}",
            _suite_table(
                suite, row, f"{record.name}{', on a part of each set' if cut else ''}", parameters, peers
            ),
            " ".join(_suite_notes(suite, row, peers, cut)),
        ]
    return parts


def _keys(node: Any) -> list[str]:
    return [str(key) for key in node] if isinstance(node, Mapping) else []


def _how(record: RunRecord, *, wide: bool) -> str:
    """With what the model's own row was measured, as far as that is on record."""
    versions, model = record.results.get("versions"), record.results.get("model")
    harness = versions.get("lm-eval") if isinstance(versions, Mapping) else None
    precision = model.get("precision") if isinstance(model, Mapping) else None
    tasks = f"with lm-eval {harness}'s tasks on Flyweight's engine" if harness else "with Flyweight"
    exact = f", in {precision}" if isinstance(precision, str) else ""
    return f"The first {'column' if wide else 'row'} was measured {tasks}{exact}."


def _suite_table(suite: Suite, row: Row, label: str, parameters: int, peers: Sequence[PublishedRow]) -> str:
    titles = ["Parameters", *(column.title for column in suite.columns), "Average"]
    mine = [
        _with_error(value, error)
        for value, error in zip((*row.values, row.average), (*row.errors, row.average_error), strict=True)
    ]
    rows = [[label, format_tokens(parameters), *mine]]
    rows += [
        [peer.model, format_tokens(peer.parameters),
         *("" if value is None else f"{value:.2f}" for value in peer.values)]
        for peer in peers
    ]  # fmt: skip
    if len(suite.columns) <= _WIDE:
        return table(["Model", *titles], rows)
    turned = [[title, *cells] for title, *cells in zip(titles, *(cells[1:] for cells in rows), strict=True)]
    return table(["", *(inline(cells[0]) for cells in rows)], turned)


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _suite_notes(suite: Suite, row: Row, peers: Sequence[PublishedRow], cut: bool) -> list[str]:
    notes = [
        f"The other {'columns' if len(suite.columns) > _WIDE else 'rows'} are published numbers, measured by others "
        f"and not here ({inline(suite.source)}): small differences between them and the first mean nothing."
    ]
    if (left := len(suite.published) - len(peers)) > 0:
        notes.append(f"Those nearest in size are shown, {left} of other sizes are not.")
    if missing := [
        column.title for column, value in zip(suite.columns, row.values, strict=True) if value is None
    ]:
        notes.append(
            f"{' and '.join(missing)} {'was' if len(missing) == 1 else 'were'} not measured, so no average."
        )
    if cut:
        notes.append(
            "This model answered a part of each set only: its numbers do not compare with the others."
        )
    return notes


def _bits_parts(record: RunRecord, export: Mapping[str, Any]) -> list[str]:
    bits = exported_bits(record, export)
    sources = list(dict.fromkeys(source for row in bits.values() for source in row))
    if not sources:
        return []
    rows = [[label, *(f"{row[s]:.3f}" if s in row else "" for s in sources)] for label, row in bits.items()]
    parts = [
        f"Bits per byte on held-out text (less is better):\n\n{table(['', *map(inline, sources)], rows)}"
    ]
    if bits_per_byte_rows(record.results, {}).keys() - {"before training", "after training"}:
        parts.append("The compressors start knowing nothing and learn from this text as it goes by.")
    return parts


def _task_parts(record: RunRecord, *, headed: bool) -> list[str]:
    rows = [
        [
            " ".join([row.named, *row.part]) + (", a part of the set" if row.partial else ""),
            row.metric,
            row.text(),
            row.stderr_text(),
            row.chance_text(),
            "" if row.n is None else f"{row.n:,}",
        ]
        for row in measurements(record.results)
        if not row.grouped or row.part[-1].startswith("operands ")
    ]
    if not rows:
        return []
    found = table(["Task", "Metric", "Value", "Standard error", "Chance", "Items"], rows, left=2)
    others = ", ".join(f"{name} {bits:.4g}" for name, bits in text_compressors(record.results).items())
    told = [f"General compressors take of the same text, in bits per byte: {others}."] if others else []
    return [f"Every task that was measured:\n\n{found}" if headed else found, *told]
