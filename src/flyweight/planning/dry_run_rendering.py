"""A dry run as tables for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flyweight.planning.dry_run import DryRun
from flyweight.planning.rendering import format_duration, new_table
from flyweight.recipe import format_bytes, format_tokens


def render_dry_run(result: DryRun) -> RenderableType:
    """What was measured as a group of small tables, the planner's numbers beside."""
    head = Text(f"{result.plan.name}, rehearsed on {result.hardware} in {result.precision}", style="bold")
    parts: list[RenderableType] = [head]
    if result.random_tokens:
        parts.append(
            Text("the corpus is not prepared: the tokens were drawn at random, and losses mean nothing")
        )
    parts += [Text(""), _stages(result), Text(""), _needs(result), Text("")]
    parts.append(
        Text(
            "time: micro-batches and updates as measured once, times as many as the run has; validation, and "
            "waiting for data, come on top. Memory: above what the process held before the model was built; measured "
            "with no checkpoint on its way to the disk.",
            style="dim",
        )
    )
    parts += [Text(f"note: {note}", style="dim") for note in result.plan.notes]
    return Group(*parts)


def _stages(result: DryRun) -> Table:
    table = new_table("Stages", "from", "batch", "optimizer", "pass", "update", "tokens/s", "steps", "time")
    for stage in result.stages:
        table.add_row(
            format_tokens(stage.clock),
            f"{stage.batch_size:,} x {stage.sequence_length:,}",
            stage.optimizer,
            f"{stage.passes} x {format_duration(stage.pass_seconds)}",
            format_duration(stage.update_seconds),
            f"{stage.batch_size * stage.sequence_length / stage.step_seconds:,.0f}",
            f"{stage.steps:,}",
            format_duration(stage.seconds),
        )
    return table


def _needs(result: DryRun) -> Table:
    plan, disk = result.plan, result.plan.disk
    table = new_table("What the run will need", "", "measured", "planned")
    speed = plan.speed["share_of_peak"] if plan.speed else 0.0
    planned = "" if plan.seconds is None else f"{format_duration(plan.seconds)} at {speed:.0%} of the peak"
    table.add_row("time", format_duration(result.training_seconds), planned)
    table.add_row(
        f"{result.saves:,} saves, {format_duration(result.save_seconds)} each",
        format_duration(result.saves * result.save_seconds),
        "",
    )
    table.add_row("memory", format_bytes(result.memory_bytes), format_bytes(plan.memory_bytes))
    table.add_row("a checkpoint", format_bytes(result.checkpoint_bytes), format_bytes(disk.checkpoint_bytes))
    table.add_row(
        f"checkpoints ({disk.checkpoints_kept} kept)",
        format_bytes(result.checkpoints_bytes),
        format_bytes(disk.checkpoints),
    )
    table.add_row(
        f"export ({result.export_class}, {format_duration(result.export_seconds)})",
        format_bytes(result.export_bytes),
        format_bytes(disk.export),
    )
    table.add_row("token shards", "", format_bytes(disk.shards))
    return table
