"""Items of LogicMark: read through a mapping of fields, since the published names are not on record; or generated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flyweight.base import UserError
from flyweight.corpus import ReadLog
from flyweight.corpus.generated.logic import Problem
from flyweight.corpus.reading.filters import MISSING, look_up
from flyweight.corpus.reading.records import read_records

SCHEMA_FILES = ("schema.yaml", "schema.yml", "schema.json")
"""Names under which a schema is found beside the data."""

DATA_ENDINGS = (".jsonl", ".jsonl.zst", ".jsonl.gz", ".json", ".parquet")

_LETTERS = "ABCDEFGHIJ"


class Schema(BaseModel):
    """What the fields of the data are called; names may be dotted (`metadata.hops`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ctx: str = Field(default="ctx", description="The premises and the question: what the model is given.")
    endings: str = Field(default="endings", description="The options, a list of texts.")
    label: str = Field(
        default="label", description="The right one: its place from 0, a letter from A, or its text."
    )
    hops: str | None = Field(
        default="hops", description="Premises that the answer needs; null: not in the data."
    )
    file: str | None = Field(
        default=None, description="The data file; needed where there are several, or on the hub."
    )
    dataset: str | None = Field(
        default=None, description="Id of the dataset on the hub, where it is to be fetched."
    )
    revision: str | None = Field(default=None, description="The dataset's commit.")


class LogicQuestion(NamedTuple):
    """What is scored."""

    context: str
    endings: list[str]
    """Each with a space before it."""
    label: int
    hops: int | None


def read_schema(file: Path) -> Schema:
    """A schema in YAML or JSON.

    Raises:
        UserError: no such file, no mapping, or an unknown key.
    """
    try:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text) if file.suffix == ".json" else YAML(typ="safe").load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: this schema cannot be read ({error}).") from None
    except (json.JSONDecodeError, YAMLError) as error:
        raise UserError(f"{file}: this schema is malformed ({' '.join(str(error).split())[:160]}).") from None
    try:
        return Schema.model_validate(data or {})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(
            f"{file}: {key}: {first['msg'].lower()}; a schema has the keys {', '.join(Schema.model_fields)}, each with "
            f"the name of a field."
        ) from None


def read_logic_questions(file: Path, schema: Schema) -> list[LogicQuestion]:
    """The questions of a file.

    Raises:
        UserError: unreadable, empty, or a record that the schema does not fit.
    """
    log = ReadLog()
    found = [_question(record, place, schema) for record, place in read_records([file], log)]
    if log.skipped:
        raise UserError(f"{file}: some of it is no item: {log.summary()}.")
    if not found:
        raise UserError(f"{file}: no items in this file.")
    return found


def _question(record: dict[str, Any], place: str, schema: Schema) -> LogicQuestion:
    values = {}
    for role in ("ctx", "endings", "label", "hops"):
        name = getattr(schema, role)
        if name is None:
            continue
        values[role] = record.get(name, MISSING)
        if values[role] is MISSING:
            values[role] = look_up(record, name)
        if values[role] is MISSING:
            raise UserError(
                f"{place}: the field {name!r} ({role}) is missing; this item has {', '.join(record)}. Say in a schema "
                f"file beside the data what its fields are called, such as `{role}: NAME`."
            )
    context, endings = values["ctx"], values["endings"]
    if not isinstance(context, str) or not context:
        raise UserError(f"{place}: {schema.ctx} is {context!r}; expected text.")
    if not (
        isinstance(endings, list)
        and len(endings) > 1
        and all(isinstance(e, str) and e.strip() for e in endings)
    ):
        raise UserError(
            f"{place}: {schema.endings} is {str(endings)[:80]}; expected a list of two texts or more."
        )
    hops = values.get("hops")
    if hops is not None:
        try:
            hops = int(hops)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"{place}: {schema.hops} is {hops!r}; expected a number.") from None
    label = _place(values["label"], endings)
    if label is None:
        raise UserError(
            f"{place}: {schema.label} is {values['label']!r}; expected the right ending's place from 0 to "
            f"{len(endings) - 1}, its letter, or its text."
        )
    spaced = [ending if ending[0].isspace() else f" {ending}" for ending in endings]
    return LogicQuestion(context.rstrip(" "), spaced, label, hops)


def _place(label: Any, endings: list[str]) -> int | None:
    """The place of the right ending, however it is told."""
    if isinstance(label, str):
        text = label.strip()
        same = [place for place, ending in enumerate(endings) if ending.strip() == text]
        if len(same) == 1:
            return same[0]
        if len(text) == 1 and text.upper() in _LETTERS:
            label = _LETTERS.index(text.upper())
        elif text.isdecimal():
            label = int(text)
    if isinstance(label, bool) or not isinstance(label, int):
        return None
    return label if 0 <= label < len(endings) else None


def item_of(problem: Problem) -> dict[str, Any]:
    """A generated problem in the fields of the default schema."""
    return {
        "ctx": problem.context,
        "endings": list(problem.endings),
        "label": problem.answer,
        "hops": problem.hops,
    }
