"""`evaluation:` of a recipe: what is measured, and when; nothing here changes what is learned."""

from __future__ import annotations

from pydantic import Field

from flyweight.recipe.frozen import EXECUTION, Frozen
from flyweight.recipe.units import Tokens


class Benchmarks(Frozen):
    """Tasks that are measured during training, on a part of their items."""

    tasks: tuple[str, ...] = ()
    """Names as `flyweight evaluate --tasks` takes them, such as `hellaswag` or `gsm8k@8`."""
    items: int = Field(default=200, ge=1)
    """At most this many items of each subset."""
    every: Tokens = 0
    """Measure after this many tokens; 0: only at the end."""
    data: str | None = None
    """Folder with local files; the hub when left out."""


class Samples(Frozen):
    """Text that the model writes at every validation, for the terminal, the trackers and the report."""

    prompts: tuple[str, ...] = ("",)
    """Beginnings that it goes on from; `""` is nothing. Without any, it writes nothing."""
    tokens: int = Field(default=64, ge=1)
    """New tokens after each, at most."""
    temperature: float = Field(default=0.8, ge=0)
    """0 takes the likeliest token each time."""


class Evaluation(Frozen):
    """What is measured, and when."""

    every: Tokens = Field(default=0, json_schema_extra=EXECUTION)
    """Validate after this many tokens; 0: only at the end."""
    tokens: Tokens = Field(default=200_000, json_schema_extra=EXECUTION)
    """Held-out tokens of each source in a validation during training."""
    final_tokens: Tokens = Field(default=0, json_schema_extra=EXECUTION)
    """Held-out tokens of each source in the last validation; 0: all."""
    tasks: tuple[str, ...] = Field(default=("arithmark-gen",), json_schema_extra=EXECUTION)
    """Tasks that `flyweight evaluate` runs on a checkpoint of this recipe when it is given none."""
    benchmarks: Benchmarks = Field(default=Benchmarks(), json_schema_extra=EXECUTION)
    """Tasks that are measured during training."""
    samples: Samples = Field(default=Samples(), json_schema_extra=EXECUTION)
    """Text that is written during training."""
