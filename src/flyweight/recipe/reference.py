"""The reference page of the recipe, written from the schema: `python -m flyweight.recipe.reference`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flyweight.recipe.schema import EXECUTION, Frozen, MixtureKnot, OptimizerKnot, Recipe
from flyweight.recipe.timeline import WSD, Knot, Timeline
from flyweight.recipe.units import Bytes, Tokens

_INTRODUCTION = """\
# The recipe

<!-- Written from the schema: python -m flyweight.recipe.reference > docs/reference/recipe.md -->

A recipe is one YAML file that is the whole run: model, tokenizer, sources, mixture, schedules, evaluation.
The rules are those of YAML 1.2, so `1e-3` is a number and `no` is a word. Defaults lose to the file, the
file loses to `key=value` words on the command line, where a dot goes one section down:

```sh
flyweight train gpt-s-5m training.tokens=5M execution.device=cpu
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


def _table(section: type[BaseModel], prefix: str = "", execution: bool | None = False) -> str:
    """A Markdown table of a section's own keys; `execution` None leaves the column out."""
    inner = {name.removesuffix(".*") for name, _ in _parts(section)}
    head = ["key", "type", "default", *([] if execution is None else ["kind"]), "what it is"]
    rows = [head, ["---"] * len(head)]
    for name, field in section.model_fields.items():
        if name in inner:
            continue
        row = [f"`{prefix}{name}`", _type(field.annotation, field.metadata), _default(name, field)]
        if execution is not None:
            row.append("execution" if execution or field.json_schema_extra == EXECUTION else "identity")
        rows.append([*row, " ".join((field.description or "").split())])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _prose(section: type[BaseModel]) -> str:
    return re.sub(r"\n[ \t]+", "\n", (section.__doc__ or "").strip())


def _section(section: type[BaseModel], prefix: str, execution: bool) -> list[str]:
    """The page's part on one section and on those inside it, in the order of the schema."""
    text = [f"## `{prefix.removesuffix('.')}`", _prose(section), _table(section, prefix, execution)]
    for name, part in _parts(section):
        field = section.model_fields[name.removesuffix(".*")]
        if part is not Timeline:
            text += _section(part, f"{prefix}{name}.", execution or field.json_schema_extra == EXECUTION)
    return text


def render_reference() -> str:
    """The page as Markdown: every key with its type, its default, its kind and what it is."""
    text = [_INTRODUCTION.strip(), "## The file", _table(Recipe)]
    for name, part in _parts(Recipe):
        field = Recipe.model_fields[name.removesuffix(".*")]
        text += _section(part, f"{name}.", field.json_schema_extra == EXECUTION)
    text += [_TIMELINE.strip()]
    for title, shape in (
        ("### A knot", Knot),
        ("### `wsd`", WSD),
        ("### A mixture knot", MixtureKnot),
        ("### An optimizer knot", OptimizerKnot),
    ):
        text += [title, _prose(shape), _table(shape, execution=None)]
    return "\n\n".join(text) + "\n"


if __name__ == "__main__":
    print(render_reference(), end="")
