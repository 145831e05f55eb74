"""All stages on a small model, on this machine, with no account and no download."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flyweight.base import UserError, write_json
from flyweight.base.progress import StageProgress
from flyweight.corpus import OpenCorpus, prepare
from flyweight.evaluation import (
    RESULTS_FILE,
    compressor_bits_per_byte,
    evaluate,
    held_out_text,
    recipe_tasks,
)
from flyweight.events import read_events
from flyweight.inference import generate, layout, load_model
from flyweight.planning import plan_recipe, render
from flyweight.recipe import Recipe, format_tokens, load_recipe, recipe_from_dict
from flyweight.release import Export, export
from flyweight.report import write_model_card, write_report
from flyweight.training import measured_speed, train

TRAINING_SECONDS = 200
"""A slower machine trains on fewer tokens rather than longer; the whole then takes about 6 minutes."""

OWN_SOURCE = "own"
OWN_SHARE = 0.9
"""With `--data`, the rest is generated arithmetic, so that the arithmetic score means something."""

OWN_LIMIT = "20MB"
"""More than the run trains on; the rest of a large folder is left unread."""

PROMPTS = {OWN_SOURCE: "", "english": "Return the "}


@dataclass(frozen=True)
class Places:
    """Where everything goes."""

    corpus: Path
    run: Path
    export: Path
    report: Path

    @classmethod
    def under(cls, folder: Path) -> Places:
        """The places in one folder."""
        return cls(folder / "corpus", folder / "run", folder / "export", folder / "report.html")


def quickstart(data: Path | None = None, folder: Path | None = None) -> None:
    """Gather text, train, evaluate, export, load back, generate, report; print what came out.

    Args:
        data: the user's own files instead of the text that is on every machine.
        folder: where everything goes. A folder in which an earlier quickstart was stopped goes on.

    Raises:
        UserError: no such data, or too little of it.
    """
    if data is not None and not data.exists():
        raise UserError(f"{data}: no such file or folder; --data takes your own text files.")
    name = "quickstart" if data is None else f"quickstart-{data.resolve().stem}"
    places = Places.under(folder or Path("runs") / name)
    console = Console()
    recipe = quickstart_recipe(data)
    with StageProgress() as progress:
        corpus = prepare(recipe, places.corpus, progress)
    for line in corpus.summary():
        console.print(line, highlight=False, markup=False)
    recipe = _fitted(recipe, places.run)
    console.print(render(plan_recipe(recipe, {name: stream.tokens for name, stream in corpus.train.items()})))
    if not train(recipe, corpus, places.run).finished:
        console.print("stopped; the same command goes on from here")
        return
    with StageProgress() as progress:
        results = _measure(recipe, corpus, places.run, progress)
        exported = export(places.run, places.export, progress=progress)
    prompt = PROMPTS.get(next(iter(recipe.sources)), "")
    model = load_model(places.export, recipe.execution.device, trust_remote_code=True)
    sample = generate(model, prompt, max_new_tokens=80, temperature=0.7, top_p=0.95, seed=1)
    results["sample"] = {"prompt": prompt, "text": sample, "model": "the export, loaded back"}
    write_json(places.run / RESULTS_FILE, results)
    write_model_card(places.run, places.export)
    write_report([places.run], places.report)
    console.print(_table(results, read_events(places.run)))
    _print_end(console, results["sample"], exported, places)


def quickstart_recipe(data: Path | None) -> Recipe:
    """The quick-start's recipe, on the user's own text where given."""
    recipe = load_recipe("quickstart")
    if data is None:
        return recipe
    values = recipe.to_dict()
    arithmetic = values["sources"]["arithmetic"]
    values["name"] = f"quickstart-{data.resolve().stem}"
    own = {"kind": "files", "path": str(data), "limit": OWN_LIMIT}
    values["sources"] = {OWN_SOURCE: own, "arithmetic": arithmetic}
    weights = {OWN_SOURCE: OWN_SHARE, "arithmetic": 1 - OWN_SHARE}
    values["training"]["mixture"] = [{"at": 0, "weights": weights}]
    return recipe_from_dict(values, "quickstart")


def _fitted(recipe: Recipe, run: Path) -> Recipe:
    """The recipe over as many tokens as this machine trains on in TRAINING_SECONDS, if that is fewer."""
    if (run / layout.RUN_RECIPE_FILE).exists():
        return load_recipe(run / layout.RUN_RECIPE_FILE)
    tokens = int(measured_speed(recipe) * TRAINING_SECONDS)
    if tokens >= recipe.training.tokens:
        return recipe
    return recipe.scaled(max(tokens, recipe.training.first_step_tokens * 20))


def _measure(recipe: Recipe, corpus: OpenCorpus, run: Path, progress: StageProgress) -> dict[str, Any]:
    """Tasks, and bits per byte before and after beside the compressors on the same text."""
    model = load_model(run, recipe.execution.device)
    results = evaluate(model, recipe_tasks(run), progress=progress)
    validations = [event for event in read_events(run) if event["kind"] == "validated"]
    compressed: dict[str, dict[str, float]] = {}
    for name, held_out in corpus.held_out.items():
        text = held_out_text(held_out, corpus.tokenizer)
        for compressor, bits in compressor_bits_per_byte(text).items():
            compressed.setdefault(compressor, {})[name] = bits
    results["bits_per_byte"] = {
        "before": validations[0]["bits_per_byte"],
        "after": validations[-1]["bits_per_byte"],
        **compressed,
    }
    return results


def _table(results: dict[str, Any], events: list[dict[str, Any]]) -> Table:
    bits = results["bits_per_byte"]
    sources = list(bits["after"])
    table = Table(title="What came out", title_justify="left")
    table.add_column("")
    for source in sources:
        table.add_column(source, justify="right")
    labels = {"before": "before training", "after": "after training"}
    for row, values in bits.items():
        style = "bold" if row == "after" else ""
        label = f"bits per byte, {labels.get(row, row)}"
        table.add_row(label, *(f"{values[source]:.3f}" for source in sources), style=style)
    table.add_section()
    for name, accuracy, error in _arithmetic(results):
        table.add_row(f"{name} accuracy (chance 25%)", f"{accuracy:.1%} ± {error:.1%}")
    steps = [event for event in events if event["kind"] == "step"]
    speeds = sorted(event["tokens_per_second"] for event in steps)
    table.add_row("tokens trained on", format_tokens(steps[-1]["clock"]))
    table.add_row("tokens per second, median", f"{speeds[len(speeds) // 2]:,.0f}")
    return table


def _arithmetic(results: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Accuracy and standard error of the generated arithmetic, by form."""
    metrics = results["tasks"]["arithmark-gen"]["metrics"]
    return [
        (f"arithmark-gen {name.partition(',')[2]}", metrics[name]["value"], metrics[name]["stderr"])
        for name in ("acc,v1", "acc,v2", "acc,v3")
    ]


def _print_end(console: Console, sample: dict[str, str], exported: Export, places: Places) -> None:
    console.print("[bold]The export, loaded back, writes:[/]")
    text = " ".join(sample["text"].split())
    console.print(Text.assemble("  ", sample["prompt"], (text, "cyan")))
    console.print(
        f"run: {places.run}\nexport: {places.export} ({exported.model_class}; logits within "
        f"{exported.maximum_difference:.0e} of the checkpoint's after loading back)\nreport: {places.report}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
