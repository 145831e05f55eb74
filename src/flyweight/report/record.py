"""What is on record about how a run was carried out: faults, notices, attempts, checkpoints, export."""

from __future__ import annotations

import datetime
from typing import Any

from flyweight.recipe import format_tokens
from flyweight.report.markup import Html, folded, h, pairs, table
from flyweight.report.run import RunRecord
from flyweight.report.scores import MANY_ROWS

_KINDS = {"loss_spike": "loss spike", "step_skipped": "step skipped", "rolled_back": "went back"}


def faults_of(run: RunRecord) -> Html:
    """Loss spikes, skipped steps and returns to a checkpoint, oldest first; nothing where none is on record."""
    rows = []
    for event in run.events:
        if event["kind"] not in _KINDS:
            continue
        deviation = event.get("deviation")
        why = event.get("reason") or (
            f"{deviation:.1f} robust standard deviations above the steps before"
            if isinstance(deviation, float | int)
            else ""
        )
        passed = f"{event['end'] - event['first']:,}" if "end" in event else ""
        clock = f"{event['clock']:,}" + (f" from {event['failed_at']:,}" if "failed_at" in event else "")
        rows.append([_KINDS[event["kind"]], clock, passed, why])
    if not rows:
        return Html()
    head, tail = rows[:MANY_ROWS], rows[MANY_ROWS:]
    columns = ["what", "clock", "sequences passed over", "why"]
    counted = {what: sum(row[0] == what for row in rows) for what in _KINDS.values()}
    told = ", ".join(f"{what}: {count:,}" for what, count in counted.items() if count)
    more = (
        folded(f"{len(tail)} more", table(columns, tail, words={3}, name="More faults")) if tail else Html()
    )
    return h("div", table(columns, head, told, words={3}), more)


def notices_of(run: RunRecord) -> Html:
    """What the run wanted its user to know, each thing once."""
    messages = list(dict.fromkeys(event["message"] for event in run.of("notice")))
    return h("ul", [h("li", message) for message in messages]) if messages else Html()


def record_of(run: RunRecord) -> list[Html]:
    """State, attempts, checkpoints, machine, versions, export."""
    parts = [pairs([("state", run.state), *_execution(run), *run.versions.items()])]
    starts = run.of("run_started")
    if starts:
        rows = [
            [str(event.get("attempt", "")), _when(event.get("time")), _origin(event.get("resumed_from"))]
            for event in starts
        ]
        parts.append(table(["attempt", "began", "from"], rows, name="Attempts"))
    if saved := run.of("checkpoint_saved"):
        rows = [
            [event["path"], format_tokens(event["clock"]), "milestone" if event.get("milestone") else ""]
            for event in saved
        ]
        columns = ["checkpoint", "tokens", ""]
        parts.append(folded(f"{len(saved)} checkpoints written", table(columns, rows, name="Checkpoints")))
    if run.export:
        parts += [h("h3", "Export"), pairs(_export_rows(run))]
    return parts


def _execution(run: RunRecord) -> list[tuple[str, str]]:
    """What the machine came to; what the notices say already is left out."""
    known = {
        key: value for key, value in run.execution.items() if value not in (None, [], {}) and key != "reasons"
    }
    return [(key.replace("_", " "), _plain(key, value)) for key, value in known.items()]


def _export_rows(run: RunRecord) -> list[tuple[str, str]]:
    checks = run.export.get("checks")
    rows = [
        (key.replace("_", " "), str(run.export[key])) for key in ("model_class", "dtype") if key in run.export
    ]
    if isinstance(checks, dict):
        single = [(key, value) for key, value in checks.items() if isinstance(value, str | int | float)]
        rows += [(key.replace("_", " "), _plain(key, value)) for key, value in single]
    return rows


def _plain(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "peak_flops" and isinstance(value, int | float):
        return f"{value:.3g} FLOP/s"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {found}" for name, found in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _origin(resumed_from: int | None) -> str:
    return "the beginning" if resumed_from is None else f"{format_tokens(resumed_from)} tokens"


def _when(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
