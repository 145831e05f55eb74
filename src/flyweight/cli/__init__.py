"""The command line: one command a stage. It parses, calls and prints; the rooms do the work."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from flyweight import __version__
from flyweight.base import ToldByAnother, UserError
from flyweight.cli import averaging, chat, corpus, evaluation, model, run, tunnel, tunnel_sizes

app = typer.Typer(
    help="Train small language models: one recipe file in, one finished, measured, released model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
assert tunnel_sizes  # its commands are the tunnel's
for commands in (run.app, corpus.app, averaging.app, evaluation.app, model.app, chat.app, tunnel.app):
    app.add_typer(commands)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"flyweight {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point: a user's mistake is one sentence and exit code 2; a traceback is our own bug."""
    try:
        app()
    except UserError as error:
        if not isinstance(error, ToldByAnother):
            print(f"flyweight: {error}", file=sys.stderr)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from flyweight.training.parallel import end_process

            end_process(2)
        sys.exit(2)
