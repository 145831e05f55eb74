"""The model card of an export: what the model is, what was measured, how to repeat it. Real numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flyweight.base import UserError, atomic_write, read_json
from flyweight.evaluation import RESULTS_FILE
from flyweight.inference import find_checkpoint, layout, read_checkpoint_recipe, read_state
from flyweight.inference.checkpoint import checkpoint_title
from flyweight.plots import to_png
from flyweight.release import EXPORT_FILE
from flyweight.release.publish import ASSETS, CARD_FILE
from flyweight.release.record import record_card
from flyweight.report import figures
from flyweight.report.card_metadata import check_base_model, front_matter
from flyweight.report.card_text import card_body
from flyweight.report.run import RunRecord, is_measured, measured_model, read_run


@dataclass(frozen=True)
class CardFacts:
    """What the user tells for a card; no file knows it."""

    licence: str | None = None
    """Of the model, as the Hub's identifier (`apache-2.0`), or the name or address of another one."""
    language: Sequence[str] | None = None
    """Codes of the languages of the text; where not given, English if the sources are built in."""
    base_model: str | None = None
    """The repository that this model is made from, such as that of the weights of a GGUF file."""
    results: Path | None = None
    """results.json of the exported checkpoint, or its folder; the one in the run's folder where not given."""

    def __post_init__(self) -> None:
        """What is wrong with them is said before a long export, not after it.

        Raises:
            UserError: a base model that is no name of a repository, or results that are not there.
        """
        check_base_model(self.base_model)
        if self.results is not None and not self.results.exists():
            raise UserError(f"--results {self.results}: no such file or folder.")

    def check(self, checkpoint: str | Path) -> None:
        """See that the results are those of `checkpoint`, as far as their name says it.

        Raises:
            UserError: they are not, or there is no such checkpoint.
        """
        if self.results is not None:
            found = find_checkpoint(checkpoint)
            state, recipe = read_state(found), read_checkpoint_recipe(found)
            read_results(self.results, checkpoint_title(recipe, state["clock"], state.get("average")))


def write_model_card(run: Path, export_folder: Path, facts: CardFacts | None = None) -> Path:
    """Write README.md, with the drawings it shows, into the folder of an export.

    The card speaks of the checkpoint that was exported: what the run did after it is left out.

    Args:
        run: the run's folder.
        export_folder: the Hugging Face folder, or that of a GGUF file.
        facts: what no file knows.

    Raises:
        UserError: no run, or no export, or a broken file in one of them; results of another model.
    """
    return _write(read_run(run), export_folder, facts or CardFacts())


def card_for_export(checkpoint: str | Path, export_folder: Path, facts: CardFacts | None = None) -> Path:
    """The same for whatever `checkpoint` names; outside of a run folder only the recipe is known."""
    found = find_checkpoint(checkpoint)
    run = found.resolve().parent.parent
    if found.resolve().parent.name == layout.CHECKPOINTS_FOLDER and (run / layout.EVENTS_FILE).is_file():
        return write_model_card(run, export_folder, facts)
    recipe = read_checkpoint_recipe(found)
    return _write(RunRecord(recipe.name, recipe, found.name), export_folder, facts or CardFacts())


def read_results(path: Path, title: str, fingerprint: str = "") -> dict[str, Any]:
    """results.json at `path`, a file or the folder that it lies in, of the model that results call `title`.

    Args:
        path: of them.
        title: `checkpoint_title`.
        fingerprint: of the weights, where it is known.

    Raises:
        UserError: no results there, or those of another model.
    """
    file = path / RESULTS_FILE if path.is_dir() else path
    found = read_json(file, "results of an evaluation")
    results = found if isinstance(found, dict) else {}
    if is_measured(results, title, fingerprint):
        return results
    measured = measured_model(results)
    if measured == title:
        raise UserError(
            f"{file}: these results are of a model that is called {title!r} too, but has other weights."
        )
    raise UserError(
        f"{file}: these results are of {measured!r}; expected those of {title!r}, which is exported."
    )


def _write(record: RunRecord, folder: Path, facts: CardFacts) -> Path:
    export: dict[str, Any] = read_json(folder / EXPORT_FILE, "record of an export")
    source, fingerprint = export.get("source", {}), str(export.get("fingerprint") or "")
    clock, average = source.get("clock"), source.get("average")
    if clock is not None:
        record = record.until(clock, average, fingerprint)
    if facts.results is not None:
        title = checkpoint_title(record.recipe, clock or 0, average)
        record = replace(record, results=read_results(facts.results, title, fingerprint))
    images = _draw(record, folder / ASSETS)
    languages = list(facts.language) if facts.language is not None else _builtin_language(record)
    head = front_matter(record, export, facts.licence, languages, facts.base_model)
    text = head + "\n" + card_body(record, export, folder, images, facts.licence, facts.base_model)
    path = folder / CARD_FILE
    with atomic_write(path) as file:
        file.write(text)
    record_card(folder, [CARD_FILE, *images.values()])
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
