"""What every part of a recipe is: strict, frozen, and marked where it changes nothing that is learned."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

EXECUTION: dict[str, Any] = {"execution": True}
"""Marks a field, and all below it, as execution: a run goes on when it changes."""


class Frozen(BaseModel):
    """A part of the recipe: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
