"""The model card of an export: what the model is, what was measured, how to repeat it. Real numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flyweight.base import atomic_write, read_json
from flyweight.inference import find_checkpoint, layout, read_checkpoint_recipe
from flyweight.plots import to_png
from flyweight.release import EXPORT_FILE
from flyweight.report import figures
from flyweight.report.card_metadata import front_matter
from flyweight.report.card_text import card_body
from flyweight.report.run import RunRecord, read_run

CARD_FILE = "README.md"
ASSETS = "assets"


def write_model_card(
    run: Path, export_folder: Path, licence: str | None = None, language: Sequence[str] | None = None
) -> Path:
    """Write README.md, with the drawings it shows, into the folder of an export.

    The card speaks of the checkpoint that was exported: what the run did after it is left out.

    Args:
        run: the run's folder.
        export_folder: the Hugging Face folder.
        licence: of the model, as the Hub's identifier (`apache-2.0`); left out where not given.
        language: codes of the languages of the text; where not given, English if the sources are built in.

    Raises:
        UserError: no run, or no export, or a broken file in one of them.
    """
    return _write(read_run(run), export_folder, licence, language)


def card_for_export(
    checkpoint: str | Path,
    export_folder: Path,
    licence: str | None = None,
    language: Sequence[str] | None = None,
) -> Path:
    """The same for whatever `checkpoint` names; outside of a run folder only the recipe is known."""
    found = find_checkpoint(checkpoint)
    run = found.resolve().parent.parent
    if found.resolve().parent.name == layout.CHECKPOINTS_FOLDER and (run / layout.EVENTS_FILE).is_file():
        return write_model_card(run, export_folder, licence, language)
    recipe = read_checkpoint_recipe(found)
    return _write(RunRecord(recipe.name, recipe, found.name), export_folder, licence, language)


def _write(record: RunRecord, folder: Path, licence: str | None, language: Sequence[str] | None) -> Path:
    export: dict[str, Any] = read_json(folder / EXPORT_FILE, "record of an export")
    clock = export.get("source", {}).get("clock")
    if clock is not None:
        record = record.until(clock)
    images = _draw(record, folder / ASSETS)
    languages = list(language) if language is not None else _builtin_language(record)
    text = front_matter(record, licence, languages) + "\n" + card_body(record, export, licence, images)
    path = folder / CARD_FILE
    with atomic_write(path) as file:
        file.write(text)
    return path


def _draw(record: RunRecord, folder: Path) -> dict[str, str]:
    """Loss curve and mixture as PNG, where there is something to draw: description to path in the card."""
    drawn = {"Mixture over tokens": ("mixture.png", figures.mixture_figure(record))}
    if record.steps:
        drawn = {"Training loss over tokens": ("loss.png", figures.loss_figure([record])), **drawn}
    for name, drawing in drawn.values():
        with atomic_write(folder / name, "wb") as file:
            file.write(to_png(drawing))
    return {description: f"{ASSETS}/{name}" for description, (name, _) in drawn.items()}


def _builtin_language(record: RunRecord) -> list[str]:
    """The builtin prose is English; what language other sources are in, nobody has told us."""
    sources = record.recipe.sources.values()
    builtin = all(source.kind == "builtin" for source in sources)
    return ["en"] if builtin and any(source.builtin == "english" for source in sources) else []
