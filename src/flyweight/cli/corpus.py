"""Commands from text to token shards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flyweight.base import UserError
from flyweight.base.progress import StageProgress
from flyweight.cli.options import (
    CorpusOption,
    Factor,
    Json,
    Overrides,
    RecipeArgument,
    Scaled,
    print_json,
    recipe_of,
)

app = typer.Typer()
tokenizer_app = typer.Typer(help="Train a recipe's tokenizer, or measure tokenizers.", no_args_is_help=True)
app.add_typer(tokenizer_app, name="tokenizer")


@tokenizer_app.command("train")
def tokenizer_train(
    recipe: RecipeArgument,
    out: Annotated[Path, typer.Option(help="Folder for tokenizer.json.")],
    overrides: Overrides = None,
) -> None:
    """Train the recipe's tokenizer on the training documents of its sources."""
    from flyweight.corpus import train_recipe_tokenizer

    loaded = recipe_of(recipe, overrides)
    with StageProgress() as progress:
        tokenizer = train_recipe_tokenizer(loaded, progress)
    tokenizer.save(out)
    print(f"{tokenizer.vocab_size:,} entries: {out / 'tokenizer.json'}")


@tokenizer_app.command("measure")
def tokenizer_measure(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    corpus: CorpusOption = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            help="Another tokenizer, measured on the same text: tokenizer.json, SentencePiece .model, a folder, "
            "or an id on the hub such as gpt2 or deepseek-ai/DeepSeek-V3."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print bytes per token by source on held-out text, and what share of the parameters the vocabulary takes."""
    from flyweight.evaluation import measure_tokenizers

    loaded = recipe_of(recipe, overrides)
    measure = measure_tokenizers(corpus or Path("corpora") / loaded.name, other or [], loaded)
    if as_json:
        print_json(asdict(measure))
        return
    from rich.table import Table

    names = list(measure.entries)
    view = Table("bytes per token on held-out text", *names)
    for source in measure.bytes_per_token[names[0]]:
        view.add_row(source, *(f"{measure.bytes_per_token[name][source]:.3f}" for name in names))
    view.add_section()
    view.add_row("entries", *(f"{measure.entries[name]:,}" for name in names))
    view.add_row("share of the parameters", *(f"{measure.vocabulary_share[name]:.1%}" for name in names))
    Console().print(view)


@app.command()
def normalize(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A Python file, or - for standard input.")],
    dialect: Annotated[str, typer.Option(help="compact: pseudocode. exact: reversible.")] = "compact",
    back: Annotated[bool, typer.Option("--back", help="From exact TinyDSL back to Python.")] = False,
) -> None:
    """Turn Python into TinyDSL, compact pseudocode made from its syntax tree, or back."""
    from flyweight.corpus.tinydsl import denormalize_file, normalize_file

    if dialect not in ("compact", "exact"):
        raise UserError(f"--dialect {dialect}: expected `compact` or `exact`.")
    place = None if file == "-" else Path(file)
    print(denormalize_file(place) if back else normalize_file(place, dialect), end="")


@app.command()
def prepare(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    out: CorpusOption = None,
    scaled: Scaled = None,
    factor: Factor = 1,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine. ray: tasks on a Ray cluster.")
    ] = "local",
    verify: Annotated[
        bool, typer.Option(help="Read prepared shards again and compare them with the manifest.")
    ] = False,
) -> None:
    """Turn the recipe's sources into a tokenizer and token shards; finished work is reused."""
    from flyweight.corpus import prepare as prepare_corpus
    from flyweight.corpus import verify as verify_corpus

    loaded = recipe_of(recipe, overrides, scaled, factor)
    folder = out or Path("corpora") / loaded.name
    if verify:
        verify_corpus(folder)
        print(f"{folder}: every shard is as it was written")
        return
    if engine not in ("local", "ray"):
        raise UserError(f"--engine {engine}: expected `local` or `ray`.")
    with StageProgress() as progress:
        corpus = prepare_corpus(loaded, folder, progress, engine)
    for line in corpus.summary():
        print(line)
    print(f"shards: {folder}")
