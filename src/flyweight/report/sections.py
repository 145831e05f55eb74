"""The parts of the page about one run."""

from __future__ import annotations

import io
from collections.abc import Mapping

from ruamel.yaml import YAML

from flyweight.planning import Plan, plan_recipe
from flyweight.planning.rendering import format_duration
from flyweight.plots import figure_width
from flyweight.recipe import Recipe, format_bytes, format_tokens
from flyweight.report import figures
from flyweight.report.calibration import calibration_of
from flyweight.report.context import context_of
from flyweight.report.markup import Html, Part, beside, folded, grid, h, pairs, table
from flyweight.report.on_the_way import on_the_way
from flyweight.report.record import faults_of, notices_of, record_of
from flyweight.report.run import RunRecord
from flyweight.report.samples import samples_of
from flyweight.report.scores import MANY_ROWS, results_of
from flyweight.report.spending import spending_of


def run_parts(run: RunRecord) -> tuple[Html, list[Part]]:
    """The numbers that come first, and everything else about one run; what is not on record has no content."""
    plan = plan_recipe(run.recipe, run.corpus_tokens or None, realised=run.realised)
    tiles = h("div", [_tile(*item) for item in headline(run, plan)], class_="tiles")
    return tiles, [
        Part.of("Training", grid(figures.training_figures([run])), _bits_by_source(run)),
        Part.of("Tasks during training", *on_the_way([run])),
        Part.of("Results", *results_of(run)),
        Part.of("Calibration", *calibration_of([run])),
        Part.of("Law of context", *context_of([run])),
        Part.of("Samples", *samples_of(run)),
        Part.of("Faults", faults_of(run)),
        Part.of("Where the time went", *spending_of(run)),
        Part.of("Data", beside(figures.mixture_svg(run), *_sources(run, plan))),
        Part.of("Plan", _cost(plan), grid(figures.timeline_figures(run), small=True)),
        Part.of("Notices", notices_of(run)),
        Part.of("Record", *record_of(run)),
        Part.of(
            "Recipe", folded("Every value, with defaults", h("pre", recipe_yaml(run.recipe), tabindex="0"))
        ),
    ]


def _bits_by_source(run: RunRecord) -> Html:
    """A figure a source, where these are too many for one figure."""
    with figure_width(figures.SMALL):
        drawn = figures.bits_by_source([run])
    if len(drawn) <= figures.MANY_LINES:
        return Html()
    return folded(f"Bits per byte of each of the {len(drawn)} sources", grid(drawn, small=True))


def headline(run: RunRecord, plan: Plan) -> list[tuple[str, str]]:
    """The numbers that come first: (label, value)."""
    rows = [("parameters", format_tokens(plan.parameters["total"]))]
    if run.steps:
        loss, _ = run.last_loss
        planned = run.recipe.training.tokens
        share = "" if run.clock >= planned else f" ({run.clock / planned:.0%} of {format_tokens(planned)})"
        rows.append(("tokens trained on", format_tokens(run.clock) + share))
        rows.append(("steps", f"{run.steps[-1]['step']:,}"))
        mean = "not a number" if loss is None else f"{loss:.3f}"
        rows.append(("training loss, mean of the last steps", mean))
    if bits := run.bits_per_byte:
        label = "bits per byte, held-out" + (f", mean of {len(bits)} sources" if len(bits) > 1 else "")
        rows.append((label, f"{sum(bits.values()) / len(bits):.3f}"))
    if run.tokens_per_second is not None:
        rows.append(("tokens per second, median", f"{run.tokens_per_second:,.0f}"))
    if run.share_of_peak is not None:
        rows.append(("share of peak, median", f"{run.share_of_peak:.0%}"))
    if run.training_seconds is not None:
        rows.append(("training time", format_duration(run.training_seconds)))
    if faults := len(run.of("step_skipped")) + len(run.of("rolled_back")):
        rows.append(("steps skipped, or gone back", f"{faults:,}"))
    return rows


def _tile(label: str, value: str) -> Html:
    return h("div", h("b", value), h("span", label), class_="tile")


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
    words = {column for column, name in enumerate(header) if name == "licence"}
    shown = table(header, rows, words=words, name="Sources")
    if len(rows) > MANY_ROWS:
        shown = folded(f"{len(rows)} sources", shown)
    return [shown, *parts, *warnings]


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


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as YAML, every value."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[attr-defined]
    stream = io.StringIO()
    yaml.dump(recipe.to_dict(), stream)
    return stream.getvalue()
