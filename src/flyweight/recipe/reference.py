"""Every key of the recipe for people, read from the schema.

`python -m flyweight.recipe.reference` prints the reference page.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flyweight.recipe.frozen import EXECUTION, Frozen
from flyweight.recipe.schema import Recipe
from flyweight.recipe.timeline import WSD, Knot, Timeline
from flyweight.recipe.training import MixtureKnot, OptimizerKnot
from flyweight.recipe.units import Bytes, Tokens

_INTRODUCTION = """\
# The recipe

<!-- Written from the schema: python -m flyweight.recipe.reference > docs/reference/recipe.md -->

A recipe is one YAML file that is the whole run: model, tokenizer, sources, mixture, schedules, evaluation.
The rules are those of YAML 1.2, so `1e-3` is a number and `no` is a word. Defaults lose to the file, the
file loses to `key=value` words on the command line, where a dot goes one section down:

```sh
flyweight train quickstart training.tokens=2M execution.device=cpu
```

An unknown key is an error that names the nearest known one. Every key is either *identity* (it changes
what is learned) or *execution* (device, micro-batch, logging, what is measured). A run continues under
other execution keys; other identity keys need a new run.

## Ways to write a value

- **tokens**: `75B`, `1.5e9`, `2000 x 512 x 1024` (steps x sequences x tokens), and sums of those,
  `270000 x 480 x 3712 + 260000 x 960 x 3712`. `K`, `M`, `B` and `T` are powers of ten. At `at`, `warmup`,
  `decay_start`, `end` and `half_life` inside `training` also a share of the run, `80%`.
- **bytes**: `50GB` (10^9 each), `2GiB` (2^30 each).
- **timeline**: a number (constant), a list of [knots](#a-knot), or [`wsd`](#wsd).
"""

_TIMELINE = """\
## Timelines

A timeline is a pure function of the tokens seen. It passes through its knots, is constant before the
first and after the last, and two knots at the same place are a jump:

```yaml
weight_decay:
  - {at: 0, value: 0.1}
  - {at: 31B, value: 0.01}                  # a step
z_loss:
  - {at: 0, value: 1e-4}
  - {at: 80%, value: 1e-4}
  - {at: 100%, value: 0, shape: linear}     # a line from the knot before to this one
learning_rate:
  wsd: {peak: 1e-3, warmup: 2%, decay_start: 80%, decay: linear}
```
"""


def _parts(section: type[BaseModel]) -> list[tuple[str, type[BaseModel]]]:
    """The sections inside a section, with their keys; `*` stands for a name that the user chooses."""
    parts = []
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if get_origin(annotation) is dict:
            name, annotation = f"{name}.*", get_args(annotation)[1]
        elif type(None) in get_args(annotation):  # a section that may be left out
            annotation = get_args(annotation)[0]
        if isinstance(annotation, type) and issubclass(annotation, Frozen):
            parts.append((name, annotation))
    return parts


_NAMES: dict[Any, str] = {
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    str: "text",
    Timeline: "timeline",
    Knot: "[knots](#a-knot)",
    MixtureKnot: "[mixture knots](#a-mixture-knot)",
    OptimizerKnot: "[optimizer knots](#an-optimizer-knot), or its `kind` alone",
}
_UNITS = [(get_args(Tokens)[1], "tokens"), (get_args(Bytes)[1], "bytes")]
_FILLED_IN = {"end": "the run's tokens"}
"""Keys that a section needs but that the section around it fills in."""


def _type(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """A few words for people: `tokens`, `timeline`, `one of a, b`."""
    for marker, unit in _UNITS:
        if marker in metadata:
            return unit
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], arguments[1:])
    if origin is Literal:
        values = ", ".join(f"`{value}`" for value in arguments)
        return f"one of {values}" if len(arguments) > 1 else values
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        keys = "each source" if arguments[0] is str else _type(arguments[0])
        return f"{_type(arguments[1])} for {keys}"
    if arguments:  # a union
        return " or ".join(_type(part) for part in arguments if part is not type(None))
    return _NAMES[annotation]


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return _FILLED_IN.get(name, "needed")
    value = field.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, Timeline):
        return f"`{value.knots[0].value:g}`"
    if isinstance(value, tuple) and any(isinstance(knot, OptimizerKnot) for knot in value):
        return ", ".join(f"`{knot.kind}`" for knot in value)
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


class Row(NamedTuple):
    """One key of the recipe."""

    key: str
    type: str
    default: str
    kind: str
    description: str


def _rows(section: type[BaseModel], prefix: str = "", execution: bool = False) -> list[Row]:
    """A section's own keys, without those of the sections inside it."""
    inner = {name.removesuffix(".*") for name, _ in _parts(section)}
    return [
        Row(
            prefix + name,
            _type(field.annotation, field.metadata),
            _default(name, field),
            "execution" if execution or field.json_schema_extra == EXECUTION else "identity",
            " ".join((field.description or "").split()),
        )
        for name, field in section.model_fields.items()
        if name not in inner
    ]


_BARRED_CODE = re.compile(r"`([^`]*\|[^`]*)`")


def _in_html(code: re.Match[str]) -> str:
    """A bar inside code ends a table's cell in some readers of Markdown, and shows its escape in others."""
    return f"<code>{html.escape(code[1]).replace('|', '&#124;')}</code>"


def _table(rows: list[Row], with_kind: bool = True) -> str:
    columns = [name for name in Row._fields if with_kind or name != "kind"]
    lines = [columns, ["---"] * len(columns)]
    for row in rows:
        cells = row._replace(key=f"`{row.key}`")._asdict()
        lines.append([_BARRED_CODE.sub(_in_html, cells[column]) for column in columns])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _sections(
    section: type[BaseModel] = Recipe, prefix: str = "", execution: bool = False
) -> Iterator[tuple[str, type[BaseModel], list[Row]]]:
    """Every section with its prefix and its rows, in the order of the schema."""
    yield prefix, section, _rows(section, prefix, execution)
    for name, part in _parts(section):
        field = section.model_fields[name.removesuffix(".*")]
        yield from _sections(part, f"{prefix}{name}.", execution or field.json_schema_extra == EXECUTION)


def _prose(section: type[BaseModel]) -> str:
    return re.sub(r"\n[ \t]+", "\n", (section.__doc__ or "").strip())


def render_reference() -> str:
    """The page as Markdown: every key with its type, its default, its kind and what it is."""
    text = [_INTRODUCTION.strip()]
    for prefix, section, rows in _sections():
        heading = (
            ["## The file"] if section is Recipe else [f"## `{prefix.removesuffix('.')}`", _prose(section)]
        )
        text += [*heading, _table(rows)]
    text += [_TIMELINE.strip()]
    for title, shape in (
        ("### A knot", Knot),
        ("### `wsd`", WSD),
        ("### A mixture knot", MixtureKnot),
        ("### An optimizer knot", OptimizerKnot),
    ):
        text += [title, _prose(shape), _table(_rows(shape), with_kind=False)]
    return "\n\n".join(text) + "\n"


def key_lines(execution_only: bool = False) -> list[str]:
    """A line of plain text for every key: `key (type; default): what it is`."""
    lines = []
    for _, _, rows in _sections():
        for row in rows:
            if execution_only and row.kind != "execution":
                continue
            facts = "; ".join(filter(None, (row.type, row.default)))
            line = f"{row.key} ({facts}): {row.description}"
            lines.append(re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", line).replace("`", ""))
    return lines


if __name__ == "__main__":
    print(render_reference(), end="")
