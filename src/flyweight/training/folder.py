"""A run's folder: whose run it is, and where it stands."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from flyweight.base import UserError, atomic_write
from flyweight.inference import find_checkpoint, layout, list_checkpoints, read_checkpoint_recipe
from flyweight.recipe import Recipe, identity_differences, load_recipe
from flyweight.training.checkpoint import State, load_state


@dataclass(frozen=True)
class Start:
    """From where an attempt goes on: a checkpoint, or nothing."""

    checkpoint: Path | None
    state: State | None
    from_other_run: bool = False


def open_run(run: Path, recipe: Recipe, corpus: str, start_from: str | None = None) -> Start:
    """Make `run` a run of `recipe`, or find where it stands if it is one already.

    Args:
        run: the run's folder; made if it does not exist.
        recipe: must agree in every identity key with the recipe that the folder holds.
        corpus: fingerprint of the token shards.
        start_from: RUN@TOKENS of another run, from which a new run starts under other identity keys.

    Raises:
        UserError: the folder is another recipe's, or was trained on other shards.
    """
    written = run / layout.RUN_RECIPE_FILE
    if not written.exists():
        if run.exists() and any(run.iterdir()):
            raise UserError(f"{run}: this folder is not empty and holds no run; choose another one.")
        run.mkdir(parents=True, exist_ok=True)
        write_recipe(written, recipe)
        return _start_elsewhere(start_from, recipe) if start_from else Start(None, None)
    _same_run(run, load_recipe(written), recipe)
    _sweep(run)
    checkpoints = list_checkpoints(run)
    if not checkpoints:
        return _start_elsewhere(start_from, recipe) if start_from else Start(None, None)
    newest = checkpoints[-1][1]
    state = load_state(newest)
    if state.corpus != corpus:
        raise UserError(
            f"{run}: this run was trained on other token shards (fingerprint {state.corpus}, now {corpus}); "
            f"bring those shards back, or start a new run with --from {run}."
        )
    write_recipe(written, recipe)  # execution keys may have changed
    return Start(newest, state)


def _sweep(run: Path) -> None:
    """Remove what a kill in the middle of saving or deleting a checkpoint left behind."""
    for leftover in (run / layout.CHECKPOINTS_FOLDER).glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _same_run(run: Path, old: Recipe, new: Recipe) -> None:
    differences = identity_differences(old, new)
    if differences:
        shown = "; ".join(differences[:5]) + (
            f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        )
        raise UserError(
            f"{run}: this folder holds a run of another recipe, which differs in {shown}. Choose another "
            f"folder, or start a new run from this one with --from {run}."
        )


def _start_elsewhere(start_from: str, recipe: Recipe) -> Start:
    checkpoint = find_checkpoint(start_from)
    other = read_checkpoint_recipe(checkpoint)
    for part in ("model", "parametrization", "tokenizer"):
        before, now = getattr(other, part), getattr(recipe, part)
        odd = [
            f"{part}.{key}"
            for key, value in before
            if getattr(now, key) != value and key not in ("path", "init_std", "sample", "rope_theta")
        ]
        if odd:
            raise UserError(
                f"{start_from}: a run of this recipe cannot start from that checkpoint: {', '.join(odd)} differ; "
                f"they must be the same."
            )
    return Start(checkpoint, load_state(checkpoint), from_other_run=True)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """The resolved recipe as YAML: every value, defaults included."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[attr-defined]
    text = io.StringIO()
    yaml.dump(recipe.to_dict(), text)
    with atomic_write(path) as file:
        file.write(
            f"# The resolved recipe of this run: every value, with defaults filled in.\n{text.getvalue()}"
        )
