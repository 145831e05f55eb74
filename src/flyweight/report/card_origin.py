"""Where a model comes from, as its card says it: its text, what it cannot do, how to train it again."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from flyweight.planning import Plan
from flyweight.recipe import Recipe, format_tokens, recipe_from_dict
from flyweight.recipe.schema import Source
from flyweight.report.card_results import measured_tasks
from flyweight.report.markdown import code, fenced, inline, table
from flyweight.report.results import Measurement, measurements
from flyweight.report.run import RunRecord
from flyweight.report.scores import quoted
from flyweight.report.sections import recipe_yaml, source_rows

_PLACE = re.compile(r"(?:^|[\s'\"(=])(?:~|\.{0,2})/\w|\b[A-Za-z]:\\|\w/[^\s/]*\.\w|\w/[^\s/]+/")
"""Where a sentence names a place on a disk: absolute, relative, with a suffix or with several folders."""

_PATHS = ("path", "data")
"""Keys of a recipe, at any depth, that name a place on a disk."""


def trained_context(record: RunRecord) -> int:
    """The longest sequence that the model has seen."""
    if record.steps:
        return max(step["sequence_length"] for step in record.steps)
    return int(record.recipe.training.sequence_length.maximum)


def data_text(record: RunRecord, plan: Plan) -> str:
    """The sources with their shares and licences, where they come from, what was taken out."""
    header, rows = source_rows(record, plan)
    sources = record.recipe.sources
    parts = [table([name.capitalize() for name in header], rows)]
    parts.append("\n".join(f"- {code(name)}: {_origin(source)}" for name, source in sources.items()))
    unknown = [
        name
        for name, source in sources.items()
        if not (record.corpus.get(name, {}).get("licence") or source.licence)
    ]
    if unknown:
        named = ", ".join(code(name) for name in unknown)
        parts.append(f"Nobody has said under which licence the text of {named} stands.")
    parts.append(_cleaning(record))
    return "\n\n".join(parts)


def _origin(source: Source) -> str:
    """Where a source's text is from, without saying where it lies on somebody's disk."""
    if source.dataset is not None:
        details = [
            *([f"subset {code(source.subset)}"] if source.subset else []),
            *(
                [f"files {', '.join(map(code, source.files))}"]
                if source.files
                else [f"split {code(source.split)}"]
            ),
            *([f"revision {code(source.revision)}"] if source.revision else []),
        ]
        place = f"[{inline(source.dataset)}](https://huggingface.co/datasets/{source.dataset}), {', '.join(details)}"
    elif source.builtin is not None:
        place = {
            "english": "help texts and docstrings of the Python packages of the machine it was trained on",
            "python": "source code of the Python packages of the machine it was trained on",
        }.get(source.builtin, f"{source.builtin} problems, generated")
    else:
        place = f"files of the one who trained it, {code(PurePath(source.path or '').name)}"
    if source.filter:
        place += f", where {code(source.filter)}"
    return place + (f", turned into TinyDSL ({source.tinydsl})" if source.tinydsl else "")


def _cleaning(record: RunRecord) -> str:
    corpus = record.recipe.corpus
    removed = ["duplicates"] if corpus.exact_duplicates else []
    removed += ["near duplicates"] if corpus.near_duplicates == "remove" else []
    said = f"Removed from it: {' and '.join(removed)}. " if removed else ""
    if corpus.decontaminate:
        names = ", ".join(inline(name) for name in corpus.decontaminate)
        return f"{said}Documents that share a run of 13 words with one of these sets were left out: {names}."
    if measured_tasks(record.results):
        return f"{said}It was not searched for the questions of the tasks that the model was measured on."
    return said.strip()


def limitations_text(record: RunRecord, *, chats: bool = False) -> str:
    """What a reader must not expect of the model.

    Args:
        record: the run.
        chats: whether the export brings a chat template.
    """
    guesses = [row for row in quoted(record.results).values() if _like_guessing(row)]
    lines = [
        "A base model with the format of conversations: it was not taught to be helpful, truthful or safe."
        if chats
        else "A base model: it continues text. It was not taught to follow instructions, to be helpful or to be safe.",
        "It says false things fluently, and repeats what its training text holds, biases included.",
        f"It has not seen sequences longer than {trained_context(record):,} tokens.",
    ]
    sources = record.recipe.sources.values()
    if any(source.kind == "builtin" and source.builtin in ("english", "python") for source in sources):
        lines.append(
            "Some of its text was read from the Python packages of the machine it was trained on: technical English "
            "and code, not the breadth of the language."
        )
    if record.clock and record.clock < record.recipe.training.tokens * 0.99:
        lines.append(
            f"The run was to see {format_tokens(record.recipe.training.tokens)} tokens; this checkpoint has seen "
            f"{format_tokens(record.clock)}."
        )
    if guesses:
        named = "; ".join(
            f"{inline(row.task)} ({inline(row.metric)} {row.text()} {row.stderr_text()}, guessing {row.chance_text()}"
            + (f", {row.n:,} items)" if row.n else ")")
            for row in guesses
        )
        lines.append(f"As far as the items tell, it does no better than guessing on {named}.")
    if not measurements(record.results):
        lines.append("No task was measured.")
    return "\n".join(f"- {line}" for line in lines)


def _like_guessing(row: Measurement) -> bool:
    """Whether the value lies less than two standard errors above chance."""
    return row.chance is not None and row.stderr is not None and row.value - row.chance < 2 * row.stderr


def repeat_text(record: RunRecord) -> str:
    """The commands, the versions, what the run said about itself, and the recipe with every value."""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    said = f"Trained with {versions}. " if versions else ""
    local = [name for name, source in record.recipe.sources.items() if source.path and not source.dataset]
    lines = [
        f"{said}Save the recipe below as `recipe.yaml`, then:",
        fenced(
            "flyweight train recipe.yaml --run runs/again\nflyweight export runs/again exports/again", "sh"
        ),
    ]
    if local:
        named = ", ".join(code(name) for name in local)
        lines.append(
            f"The files of {named} are not published here: put your own in their place (`sources.NAME.path`)."
        )
    if record.recipe.evaluation.benchmarks and record.recipe.evaluation.benchmarks.data:
        lines.append(
            "The files of the tasks during training are not here either: put your own folder in their place "
            "(`evaluation.benchmarks.data`), or leave the line out, and they come from the hub."
        )
    if record.began:
        lines.append(
            f"The run started from another run's checkpoint at {record.began:,} tokens (`--from RUN@TOKENS`)."
        )
    notes = [event["message"] for event in record.of("notice") if not _PLACE.search(event["message"])]
    if notes:
        listed = "\n".join(f"- {inline(note)}" for note in dict.fromkeys(notes))
        lines.append(f"What the run said about itself:\n\n{listed}")
    block = fenced(recipe_yaml(_without_paths(record.recipe)), "yaml")
    lines.append(f"<details>\n<summary>The exact recipe</summary>\n\n{block}\n\n</details>")
    return "\n\n".join(lines)


def _without_paths(recipe: Recipe) -> Recipe:
    """The recipe with names for paths: where things lie on somebody's disk is nobody else's business."""
    return recipe_from_dict(_named(recipe.to_dict()))


def _named(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _named(inner, name) for name, inner in value.items()}
    return PurePath(value).name if key in _PATHS and isinstance(value, str) else value
