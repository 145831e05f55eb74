"""A plan as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flyweight.planning.fitting import Fit
from flyweight.planning.plan import OWN_CODE, Plan
from flyweight.planning.prediction import Prediction
from flyweight.planning.supply import MANY_EPOCHS
from flyweight.recipe import format_bytes, format_tokens


def render(plan: Plan) -> RenderableType:
    """The plan as a group of small tables."""
    parts: list[RenderableType] = [
        _summary(plan),
        _parameters(plan),
        _sources(plan),
    ]
    if len(plan.segments) > 1:
        parts.append(_segments(plan))
    parts.append(_space(plan))
    if plan.prediction is not None:
        parts.append(_prediction(plan.prediction))
    if plan.fit is not None:
        parts.append(_fit(plan.fit))
    if plan.overlaps:
        parts.append(_overlaps(plan))
    parts = [part for table in parts for part in (table, Text(""))]
    parts += [Text(f"warning: {warning}", style="yellow") for warning in plan.warnings]
    parts += [Text(f"note: {note}", style="dim") for note in plan.notes]
    return Group(Text(plan.name, style="bold"), *parts)


def new_table(title: str, *columns: str) -> Table:
    """A small table without lines; all columns but the first hold numbers."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", header_style="dim")
    return table


def _summary(plan: Plan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column()
    decay = (
        "no decay" if plan.decay_start_step is None else f"rate decays from step {plan.decay_start_step:,}"
    )
    table.add_row("tokens", f"{plan.tokens['total']:,} ({format_tokens(plan.tokens['total'])})")
    table.add_row("steps", f"{plan.steps:,}, {decay}")
    table.add_row("compute", f"{plan.total_flops:.3g} FLOPs, {plan.flops_per_token:.4g} a token")
    if plan.seconds is not None and plan.speed is not None:
        speed = f"at {plan.speed['share_of_peak']:.0%} of {plan.speed['peak_flops']:.3g} FLOP/s"
        table.add_row("time", f"{format_duration(plan.seconds)} {speed}")
    own = plan.export_class == OWN_CODE
    table.add_row("exports as", "its own modeling code (trust_remote_code)" if own else plan.export_class)
    return table


def format_duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`, `12 days`: about three digits."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= (2 if unit == "days" else 1) * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def _prediction(found: Prediction) -> RenderableType:
    table = new_table("Loss by the scaling law", "", "parameters in matrices", "tokens", "bits per byte")
    table.add_row(
        "this run",
        format_tokens(found.parameters),
        format_tokens(found.tokens),
        f"{found.bits_per_byte:.4f} ({found.low:.4f} to {found.high:.4f})",
    )
    notes = ["in brackets: where nine tenths of fits to branches drawn again lie"]
    if (best := found.best) is not None:
        table.add_row(
            f"best at {found.budget:.3g} FLOPs",
            f"{format_tokens(best.parameters)} ({format_tokens(best.low)} to {format_tokens(best.high)})",
            format_tokens(best.tokens),
            f"{best.bits_per_byte:.4f}",
        )
    else:
        notes.append("by this law the loss falls with parameters or tokens alone, so that no split is best")
    notes += found.outside
    if found.differences:
        more = f" and {len(found.differences) - 4} more" if found.differences[4:] else ""
        notes.append(f"the law is of a recipe that differs in {', '.join(found.differences[:4])}{more}")
    return Group(
        table, *(Text(note, style="dim" if index == 0 else "yellow") for index, note in enumerate(notes))
    )


def _parameters(plan: Plan) -> Table:
    table = new_table("Parameters", "part", "count", "share")
    counts = plan.parameters
    layers = counts["blocks"] // counts["per_block"]
    for name, label in (
        ("embedding", "embedding"),
        ("blocks", f"{layers} blocks of {counts['per_block']:,}"),
        ("final_norm", "final norm"),
        ("lm_head", "readout"),
    ):
        if counts[name]:
            table.add_row(label, f"{counts[name]:,}", f"{counts[name] / counts['total']:.1%}")
    table.add_row("total", f"{counts['total']:,}", "", style="bold")
    return table


def _sources(plan: Plan) -> RenderableType:
    """One row a source; columns about which nothing is known are left out."""
    table = new_table("Tokens by source", "source", *_source_columns(plan))
    for name, tokens in plan.tokens["by_source"].items():
        cells: list[str | Text] = [Text(name), f"{tokens:,}", f"{tokens / plan.tokens['total']:.2%}"]
        if plan.realised is not None:
            cells += [_share(plan.realised[side], name) for side in ("planned", "read")]
        if plan.text_needed is not None:
            cells.append(f"~{format_bytes(plan.text_needed[name])}")
        if plan.epochs is not None and plan.corpus_tokens is not None and name in plan.epochs:
            style = "yellow" if plan.epochs[name] > MANY_EPOCHS else ""
            cells += [f"{plan.corpus_tokens[name]:,}", Text(f"{plan.epochs[name]:.2f}", style=style)]
        table.add_row(*cells)
    if plan.assumed_bytes_per_token is None:
        return table
    told = (
        f"text: for one epoch, at an assumed {plan.assumed_bytes_per_token:.1f} bytes a token; a quarter of it, "
        f"read {MANY_EPOCHS:.0f} times, teaches nearly as much"
    )
    return Group(table, Text(told, style="dim"))


def _source_columns(plan: Plan) -> list[str]:
    columns = ["tokens", "share"]
    if plan.realised is not None:
        columns += [f"planned to {format_tokens(plan.realised['end'])}", "realised"]
    if plan.text_needed is not None:
        columns.append("text")
    return columns + (["in the corpus", "epochs"] if plan.epochs is not None else [])


def _share(tokens: Mapping[str, float], name: str) -> str:
    return f"{tokens[name] / sum(tokens.values()):.2%}" if name in tokens else ""


def _segments(plan: Plan) -> Table:
    table = new_table(
        "Stretches", "from step", "from", "steps", "batch", "sequence", "tokens a step", "FLOPs a token"
    )
    for part in plan.segments:
        table.add_row(
            f"{part['first_step']:,}",
            format_tokens(part["first_clock"]),
            f"{part['steps']:,}",
            f"{part['batch_size']:,}",
            f"{part['sequence_length']:,}",
            f"{part['batch_size'] * part['sequence_length']:,}",
            f"{part['flops_per_token']:.4g}",
        )
    return table


def _space(plan: Plan) -> Table:
    memory, disk = plan.memory, plan.disk
    sequences = "1 sequence" if memory.micro_batch == 1 else f"{memory.micro_batch} sequences"
    table = new_table("Space", "memory", "", "disk", "")
    table.columns[2].justify = "left"
    left = [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("average of the weights", memory.average),
        (f"{memory.precision} copies", memory.compute_copies),
        (f"activations ({sequences} of {memory.sequence_length:,})", memory.activations),
        ("readout", memory.readout),
        ("working memory", memory.working),
        ("parts of other devices", memory.gathered),
        ("checkpoint while it is written", memory.checkpoint_copy),
    ]
    right = [
        (f"shards ({disk.token_bytes} bytes a token)", disk.shards),
        (f"checkpoints ({disk.checkpoints_kept} kept)", disk.checkpoints),
        ("export", disk.export),
    ]
    left = [(label, size) for label, size in left if size]
    for index, (label, size) in enumerate(left):
        other = right[index] if index < len(right) else None
        table.add_row(label, format_bytes(size), *((other[0], format_bytes(other[1])) if other else ("", "")))
    table.add_row(
        "total", format_bytes(plan.memory_bytes), "total", format_bytes(plan.disk_bytes), style="bold"
    )
    return table


def _fit(fit: Fit) -> Text:
    """What fits into the device, by sequence length."""
    sizes = ", ".join(f"{count:,} of {length:,} tokens" for length, count in fit.micro_batches.items())
    where = f"{format_bytes(fit.device_memory)}, of which {fit.usable:.0%} are planned with"
    if fit.problem is not None:
        return Text(f"does not fit: {fit.problem}", style="yellow")
    return Text(f"fits into {where}: sequences in a forward pass, at most, {sizes}")


def _overlaps(plan: Plan) -> Table:
    """Overlaps of all sources together, by change; the JSON has them by source."""
    table = new_table("Expected to be met again", "from", "sequence", "sequences", "tokens")
    changes: dict[tuple[int, int], list[float]] = {}
    for overlap in plan.overlaps or []:
        sums = changes.setdefault((overlap.clock, overlap.sequence_length), [0.0, 0.0])
        sums[0] += overlap.sequences
        sums[1] += overlap.tokens
    for (clock, length), (sequences, tokens) in changes.items():
        table.add_row(format_tokens(clock), f"{length:,}", f"{sequences:,.0f}", format_tokens(tokens))
    return table
