"""Where things lie in a run folder and in a checkpoint: written by training, read from here on."""

from __future__ import annotations

import re

CHECKPOINT_FORMAT = 1
"""Version of the checkpoint's layout; a newer one is refused by name."""

MODEL_FILE = "model.safetensors"
"""Weights by the Decoder's own parameter names."""
OPTIMIZER_FILE = "optimizer.safetensors"
"""State of the optimizer; only training reads it."""
FLOAT8_FILE = "float8.safetensors"
"""History and scales of FP8 layers with delayed scaling, absent without them; only training reads it."""
AVERAGE_FILE = "ema.safetensors"
"""Exponential moving average of the weights, by the same names; absent where the run keeps none."""
STATE_FILE = "state.json"
"""`format`, `clock`, `step` and what else training needs to go on."""
RECIPE_FILE = "recipe.json"
"""The recipe, as `Recipe.to_dict()` gives it."""
TOKENIZER_FILE = "tokenizer.json"
"""The tokenizer, in the format of Hugging Face's `tokenizers`."""
NEEDED_TO_READ = (STATE_FILE, RECIPE_FILE, TOKENIZER_FILE, MODEL_FILE)
"""Files without which a checkpoint cannot be loaded for inference."""

CHECKPOINTS_FOLDER = "checkpoints"
"""Inside a run folder."""
RUN_RECIPE_FILE = "recipe.yaml"
"""The recipe of the run, for people."""
PLAN_FILE = "plan.json"
"""The resolved execution plan, frozen when the run first starts."""
EVENTS_FILE = "events.jsonl"
"""Every event of the run, one JSON object a line."""

_NAME = re.compile(r"tokens-(\d{15,})")


def checkpoint_name(clock: int) -> str:
    """The folder name of the checkpoint at `clock`; sorting names sorts clocks."""
    return f"tokens-{clock:015d}"


def checkpoint_clock(name: str) -> int | None:
    """The clock that `name` stands for; None when it is not a checkpoint's name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None
