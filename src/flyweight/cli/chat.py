"""The command that talks to a model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flyweight.base import UserError
from flyweight.cli.options import (
    CheckpointArgument,
    Device,
    MaxNewTokens,
    NoRepeatNgramSize,
    RepetitionPenalty,
    Seed,
    Temperature,
    TopK,
    TopP,
    Trust,
)

if TYPE_CHECKING:
    from flyweight.chat import Place, Playground

app = typer.Typer()

PORT = 8765
"""Where the page is, unless told otherwise."""


@app.command()
def chat(
    checkpoint: CheckpointArgument,
    system: Annotated[str, typer.Option(help="The system message.")] = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="Let a model that knows conversations go on with texts.")
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="On a local page, beside the probabilities of each token.")
    ] = False,
    host: Annotated[
        str | None, typer.Option(help="With --web: where to listen; this machine only when left out.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help=f"With --web: {PORT} when left out; 0: any that is free.")
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="With --web: open the page in the browser.")
    ] = False,
    max_new_tokens: MaxNewTokens = 256,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    top_k: TopK = 0,
    repetition_penalty: RepetitionPenalty = 1.0,
    no_repeat_ngram_size: NoRepeatNgramSize = 0,
    seed: Seed = 0,
    device: Device = "auto",
    trust_remote_code: Trust = False,
) -> None:
    """Talk to a model, in the terminal or on a local page."""
    for option, given in (
        ("--host", host is not None),
        ("--port", port is not None),
        ("--open", open_browser),
    ):
        if given and not web:
            raise UserError(f"{option} goes with --web.")
    from flyweight.chat import LOOPBACK, Place, Playground, Settings, Terminal
    from flyweight.inference import load_model

    settings = Settings(
        temperature, top_p, top_k, repetition_penalty, no_repeat_ngram_size, max_new_tokens, seed
    )
    place = Place(LOOPBACK if host is None else host, PORT if port is None else port) if web else None
    model = load_model(checkpoint, device, trust_remote_code=trust_remote_code)
    playground = Playground(model, settings, raw=raw, system=system)
    if place is not None:
        _serve(playground, place, open_browser)
    else:
        raise typer.Exit(Terminal(playground).run())


def _serve(playground: Playground, place: Place, open_browser: bool) -> None:
    import webbrowser

    from flyweight.chat import Server

    server = Server(playground, place)
    if not place.loopback:
        print(
            f"flyweight: warning: --host {place.host}: everybody who can reach this machine can use the model, and "
            f"what they ask passes the network unencrypted; there is no password.",
            file=sys.stderr,
        )
    print(f"{place.url}\nCtrl-C ends it.", flush=True)
    if open_browser:
        webbrowser.open(place.url)
    server.serve()
