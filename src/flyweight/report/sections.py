"""The parts of the page about one run."""

from __future__ import annotations

import datetime
import io
import itertools
from collections.abc import Mapping, Sequence

from ruamel.yaml import YAML

from flyweight.planning import Plan, plan_recipe
from flyweight.planning.rendering import format_duration
from flyweight.recipe import Recipe, format_bytes, format_tokens
from flyweight.report import figures
from flyweight.report.markup import Html, h, pairs, section, table
from flyweight.report.results import Measurement, bits_per_byte_rows, measurements
from flyweight.report.run import RunRecord
from flyweight.report.spending import caveat, energy_rows, time_rows

MANY_ROWS = 12
"""A group with more rows than this is folded away."""


def run_sections(run: RunRecord) -> list[Html]:
    """Everything about one run, section by section; what is not on record has none."""
    plan = plan_recipe(run.recipe, run.corpus_tokens or None, realised=run.realised)
    return [
        h("div", [_tile(*item) for item in headline(run, plan)], class_="tiles"),
        section("Training", figures.grid(figures.training_figures([run]))),
        section("Where the time went", *_spending(run)),
        section("Results", *_results(run)),
        section("Data", figures.grid([figures.mixture_svg(run)]), *_sources(run, plan)),
        section("Plan", _cost(plan), figures.grid(figures.timeline_figures(run), small=True)),
        section("Samples", *_samples(run)),
        section("Faults", _faults(run)),
        section("Notices", _notices(run)),
        section("Record", *_record(run)),
        section(
            "Recipe",
            h("details", h("summary", "Every value, with defaults"), h("pre", recipe_yaml(run.recipe))),
        ),
    ]


def headline(run: RunRecord, plan: Plan) -> list[tuple[str, str]]:
    """The numbers that come first: (label, value)."""
    rows = [("parameters", format_tokens(plan.parameters["total"]))]
    if run.steps:
        rows.append(("tokens trained on", format_tokens(run.clock)))
        rows.append(("steps", f"{run.steps[-1]['step']:,}"))
        rows.append(("training loss at the end", f"{run.steps[-1]['loss']:.3f}"))
    if bits := run.bits_per_byte:
        label = "bits per byte, held-out" + (f", mean of {len(bits)} sources" if len(bits) > 1 else "")
        rows.append((label, f"{sum(bits.values()) / len(bits):.3f}"))
    if run.tokens_per_second is not None:
        rows.append(("tokens per second, median", f"{run.tokens_per_second:,.0f}"))
    if run.share_of_peak is not None:
        rows.append(("share of peak, median", f"{run.share_of_peak:.0%}"))
    if run.training_seconds is not None:
        rows.append(("training time", format_duration(run.training_seconds)))
    return rows


def _tile(label: str, value: str) -> Html:
    return h("div", h("b", value), h("span", label), class_="tile")


def _spending(run: RunRecord) -> list[Html]:
    rows = time_rows(run.spent) if run.spent is not None else []
    if run.spent is None or not rows:
        return []
    missing, energy = caveat(run.spent), energy_rows(run.spent)
    return [
        table(["", "time", "share"], rows),
        *([h("p", missing, class_="quiet")] if missing else []),
        *([pairs(energy)] if energy else []),
    ]


def _results(run: RunRecord) -> list[Html]:
    rows = measurements(run.results)
    drawn = [item for item in (figures.bits_bars(run), figures.task_bars(rows)) if item]
    parts = [_bits_table(run), figures.grid(drawn)]
    for task, group in itertools.groupby(rows, key=lambda row: row.task):
        parts += [h("h3", task), *_task_tables(list(group))]
    return parts


def _bits_table(run: RunRecord) -> Html:
    rows = bits_per_byte_rows(run.results, run.bits_per_byte)
    sources = list(dict.fromkeys(source for row in rows.values() for source in row))
    if not sources:
        return Html()
    return table(
        ["", *sources],
        [[label, *(f"{row[s]:.3f}" if s in row else "" for s in sources)] for label, row in rows.items()],
        "Bits per byte on held-out text; less is better",
    )


def _task_tables(rows: Sequence[Measurement]) -> list[Html]:
    """The whole task and its parts as one table; long groups folded away under it."""
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for row in rows:
        key = (*row.part[:-1], row.part[-1].split(" ")[0]) if row.grouped else ()
        groups.setdefault(key, []).append(row)
    short = [
        row for group in groups.values() if len(group) <= MANY_ROWS or not group[0].grouped for row in group
    ]
    order = {id(row): index for index, row in enumerate(rows)}
    parts = [_measurement_table(sorted(short, key=lambda row: order[id(row)]))] if short else []
    for key, group in groups.items():
        if group[0].grouped and len(group) > MANY_ROWS:
            summary = h("summary", f"{' '.join([*key[:-1], 'by', key[-1]])} ({len(group)} rows)")
            parts.append(h("details", summary, _measurement_table(group)))
    return parts


def _measurement_table(rows: Sequence[Measurement]) -> Html:
    columns = [
        ("", [row.label for row in rows]),
        ("metric", [row.metric for row in rows]),
        ("value", [row.text() for row in rows]),
        ("standard error", [row.stderr_text() for row in rows]),
        ("chance", [row.chance_text() for row in rows]),
        ("items", ["" if row.n is None else f"{row.n:,}" for row in rows]),
    ]
    kept = [(name, cells) for name, cells in columns if any(cells)]
    return table([name for name, _ in kept], zip(*(cells for _, cells in kept), strict=True))


def source_rows(run: RunRecord, plan: Plan) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of sources; columns about which nothing is known are left out.

    Shares are of tokens. A run that is under way is laid beside what was planned up to where it is.
    """
    beside = plan.realised or {"begin": 0, "end": plan.tokens["total"], "planned": {}, "read": {}}
    whole = beside["begin"] == 0 and beside["end"] == plan.tokens["total"]
    columns: dict[str, list[str]] = {}
    for name, tokens in plan.tokens["by_source"].items():
        corpus = run.corpus.get(name, {})
        cells = {
            "source": name,
            "planned": f"{tokens / plan.tokens['total']:.2%}",
            "planned so far": "" if whole else _share(beside["planned"], name),
            "realised": _share(beside["read"], name),
            "in the corpus": f"{format_tokens(corpus['tokens'])} tokens" if "tokens" in corpus else "",
            "documents": f"{corpus['documents']:,}" if "documents" in corpus else "",
            "text": format_bytes(corpus["bytes"]) if "bytes" in corpus else "",
            "epochs": f"{plan.epochs[name]:.2f}" if plan.epochs and name in plan.epochs else "",
            "licence": corpus.get("licence") or run.recipe.sources[name].licence or "",
        }
        for column, cell in cells.items():
            columns.setdefault(column, []).append(cell)
    kept = {column: cells for column, cells in columns.items() if any(cells)}
    return list(kept), [list(row) for row in zip(*kept.values(), strict=True)]


def _share(tokens: Mapping[str, float], name: str) -> str:
    total = sum(tokens.values())
    return f"{tokens[name] / total:.2%}" if total and name in tokens else ""


def _sources(run: RunRecord, plan: Plan) -> list[Html]:
    """The table of sources; the text that is needed where the corpus is not known; what is read too often."""
    header, rows = source_rows(run, plan)
    parts = []
    if plan.text_needed is not None and plan.assumed_bytes_per_token is not None:
        header = [*header, "text needed"]
        rows = [[*row, f"about {format_bytes(plan.text_needed[row[0]])}"] for row in rows]
        told = f"Text needed to read nothing twice, at an assumed {plan.assumed_bytes_per_token:.1f} bytes a token."
        parts.append(h("p", told, class_="quiet"))
    warnings = [h("p", f"Warning: {warning}.", class_="warning") for warning in plan.warnings]
    return [table(header, rows), *parts, *warnings]


def _cost(plan: Plan) -> Html:
    decay = (
        f"; the rate decays from step {plan.decay_start_step:,}" if plan.decay_start_step is not None else ""
    )
    counts = plan.parameters
    rows = [
        ("parameters", f"{counts['total']:,}: embedding {counts['embedding']:,}, "
                       f"{counts['blocks'] // counts['per_block']} blocks of {counts['per_block']:,}, "
                       f"final norm {counts['final_norm']:,}"
                       + (f", readout {counts['lm_head']:,}" if counts["lm_head"] else "")),
        ("length", f"{plan.tokens['total']:,} tokens in {plan.steps:,} steps{decay}"),
        ("compute", f"{plan.total_flops:.3g} FLOPs, {plan.flops_per_token:.4g} a token"),
        ("memory, estimated", f"{format_bytes(plan.memory_bytes)} with {plan.memory.micro_batch} x "
                              f"{plan.memory.sequence_length:,} tokens in a forward pass"),
        ("exports as", plan.export_class),
    ]  # fmt: skip
    return pairs(rows)


def _samples(run: RunRecord) -> list[Html]:
    parts = []
    sample = run.results.get("sample")
    if isinstance(sample, dict) and sample.get("text"):
        origin = sample.get("model")
        parts.append(
            _sample(f"{origin}" if origin else "after training", sample.get("prompt", ""), sample["text"])
        )
    newest = run.of("sampled")[::-1]
    parts += [
        _sample(f"at {format_tokens(event['clock'])} tokens", event["prompt"], event["text"])
        for event in newest
    ]
    if len(parts) > 4:
        folded = h("details", h("summary", f"{len(parts) - 3} earlier ones"), parts[3:])
        return [*parts[:3], folded]
    return parts


def _sample(title: str, prompt: str, text: str) -> Html:
    return h("div", h("h3", title), h("blockquote", h("em", prompt) if prompt else Html(), text))


def _notices(run: RunRecord) -> Html:
    messages = list(dict.fromkeys(event["message"] for event in run.of("notice")))
    return h("ul", [h("li", message) for message in messages]) if messages else Html()


def _faults(run: RunRecord) -> Html:
    """Loss spikes, skipped steps and returns to a checkpoint, oldest first; nothing where none is on record."""
    kinds = {"loss_spike": "loss spike", "step_skipped": "step skipped", "rolled_back": "went back"}
    rows = []
    for event in run.events:
        if event["kind"] not in kinds:
            continue
        why = (
            event.get("reason")
            or f"{event['deviation']:.1f} robust standard deviations above the steps before"
        )
        passed = f"{event['end'] - event['first']:,}" if "end" in event else ""
        clock = f"{event['clock']:,}" + (f" from {event['failed_at']:,}" if "failed_at" in event else "")
        rows.append([kinds[event["kind"]], clock, passed, why])
    if not rows:
        return Html()
    head, tail = rows[:MANY_ROWS], rows[MANY_ROWS:]
    columns = ["what", "clock", "sequences passed over", "why"]
    more = h("details", h("summary", f"{len(tail)} more"), table(columns, tail)) if tail else Html()
    return h("div", table(columns, head), more)


def _record(run: RunRecord) -> list[Html]:
    rows = [("state", run.state)]
    rows += [
        (key.replace("_", " "), _plain(key, value))
        for key, value in run.execution.items()
        if value is not None
    ]
    rows += list(run.versions.items())
    parts = [pairs(rows)]
    starts = run.of("run_started")
    if starts:
        parts.append(
            table(
                ["attempt", "began", "from"],
                [
                    [event["attempt"], _when(event["time"]), _origin(event["resumed_from"])]
                    for event in starts
                ],
            )
        )
    if saved := run.of("checkpoint_saved"):
        rows_saved = [
            [event["path"], format_tokens(event["clock"]), "milestone" if event["milestone"] else ""]
            for event in saved
        ]
        parts.append(h("details", h("summary", f"{len(saved)} checkpoints written"),
                       table(["checkpoint", "tokens", ""], rows_saved)))  # fmt: skip
    if run.export:
        parts += [h("h3", "Export"), pairs(_export_rows(run))]
    return parts


def _export_rows(run: RunRecord) -> list[tuple[str, str]]:
    checks = run.export.get("checks")
    rows = [
        (key.replace("_", " "), str(run.export[key])) for key in ("model_class", "dtype") if key in run.export
    ]
    if isinstance(checks, dict):
        single = [(key, value) for key, value in checks.items() if isinstance(value, str | int | float)]
        rows += [(key.replace("_", " "), _plain(key, value)) for key, value in single]
    return rows


def _plain(key: str, value: object) -> str:
    if key == "peak_flops" and isinstance(value, int | float):
        return f"{value:.3g} FLOP/s"
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _origin(resumed_from: int | None) -> str:
    return "the beginning" if resumed_from is None else f"{format_tokens(resumed_from)} tokens"


def _when(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as YAML, every value."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[attr-defined]
    stream = io.StringIO()
    yaml.dump(recipe.to_dict(), stream)
    return stream.getvalue()
