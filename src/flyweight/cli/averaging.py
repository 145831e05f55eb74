"""The command that averages weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flyweight.base import UserError

app = typer.Typer()


@app.command()
def average(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN[@TOKENS]", help="A run, at its newest checkpoint or the one named."),
    ],
    out: Annotated[Path, typer.Argument(help="A new folder, or that of an earlier average.")],
    last: Annotated[
        int | None, typer.Option(metavar="K", help="The mean of the last K checkpoints.", show_default=False)
    ] = None,
    ema: Annotated[
        bool, typer.Option("--ema", help="The moving average that execution.ema_half_life kept.")
    ] = False,
) -> None:
    """Write a checkpoint whose weights are an average; evaluate, export or start from it like any other."""
    from flyweight.inference import average_in_words
    from flyweight.training.averaged_checkpoint import average_ema, average_last

    if (last is None) != ema:
        raise UserError("average: say which, --last K (the mean of the last K checkpoints) or --ema.")
    about = average_ema(run, out) if last is None else average_last(run, out, last)
    print(average_in_words(about))
    print(f"checkpoint: {out}")
