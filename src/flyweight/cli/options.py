"""What several commands share: their arguments, and how a recipe is loaded from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from flyweight.base import UserError

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file, or the name of one that comes with Flyweight.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Recipe keys that win over the file, such as training.tokens=5M."
    ),
]
Scaled = Annotated[
    str | None, typer.Option(help="Use a small, honest copy of the recipe over this many tokens, such as 5M.")
]
Factor = Annotated[
    int, typer.Option(help="With --scaled: a model about this many times narrower and shallower.")
]
CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="A checkpoint, a run folder, RUN@TOKENS, or a Hugging Face folder."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for programs.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run the modeling code that lies in a Hugging Face folder."),
]
MaxNewTokens = Annotated[int, typer.Option(help="At most this many tokens.")]
Temperature = Annotated[float, typer.Option(help="0 takes the most likely token each time.")]
TopP = Annotated[float, typer.Option(help="Keep the likeliest tokens that make up this much.")]
TopK = Annotated[int, typer.Option(help="Keep this many of the likeliest tokens; 0: all.")]
RepetitionPenalty = Annotated[float, typer.Option(help="Above 1: make what was said less likely.")]
NoRepeatNgramSize = Annotated[int, typer.Option(help="No run of so many tokens comes twice; 0: no limit.")]
Seed = Annotated[int, typer.Option(help="The same seed writes the same text.")]
CorpusOption = Annotated[
    Path | None, typer.Option(help="Folder of the token shards; corpora/NAME when left out.")
]


def print_json(value: Any) -> None:
    """Print an answer for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def recipe_of(name: str, overrides: list[str] | None, scaled: str | None = None, factor: int = 1) -> Any:
    """The recipe that a command's words name.

    Raises:
        UserError: no such recipe, or words that do not fit it.
    """
    from flyweight.recipe import load_recipe

    recipe = load_recipe(name, overrides or [])
    if scaled is None:
        if factor != 1:
            raise UserError("--factor goes with --scaled.")
        return recipe
    return recipe.scaled(tokens_of(scaled, "--scaled"), factor)


def tokens_of(text: str, option: str) -> int:
    """Tokens that an option's text names.

    Raises:
        UserError: it names none.
    """
    from flyweight.recipe import parse_tokens

    try:
        return parse_tokens(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}.") from None


def bytes_of(text: str, option: str) -> int:
    """Bytes that an option's text names.

    Raises:
        UserError: it names none.
    """
    from flyweight.recipe import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}.") from None


def numbers_of(text: str, option: str) -> list[int]:
    """Whole numbers that an option's text lists.

    Raises:
        UserError: it lists something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(
            f"{option} is {text!r}; expected whole numbers with commas between, such as 64,128,256."
        ) from None
