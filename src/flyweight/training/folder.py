"""A run's folder: whose run it is, where it stands, and that only one process works on it."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flyweight.base import (
    UserError,
    atomic_write,
    exclusive,
    explain_write_errors,
    is_held,
    read_json,
    write_json,
)
from flyweight.corpus import OpenCorpus
from flyweight.inference import (
    find_checkpoint,
    layout,
    list_checkpoints,
    load_tokenizer,
    read_checkpoint_recipe,
)
from flyweight.recipe import Recipe, identity_differences, identity_hash, load_recipe
from flyweight.training.checkpoint import State, load_state
from flyweight.training.importing import check_tokenizer, import_weights, is_model_folder

_LOCK = ".lock"
_ORIGIN = "origin.json"
"""From which other run's checkpoint, or from which model, a run started."""


@dataclass(frozen=True)
class Start:
    """From where an attempt goes on: a checkpoint, or nothing."""

    checkpoint: Path | None
    state: State | None
    from_other_run: bool = False
    same_order: bool = True
    """Whether the checkpoint's recipe draws the same sequences as this one."""
    model: Path | None = None
    """Instead of a checkpoint: the Hugging Face folder whose weights a new run begins with, at clock 0."""


@contextlib.contextmanager
def locked_run(run: Path) -> Iterator[None]:
    """Hold the run folder's lock; it ends with the process, however that ends.

    Raises:
        UserError: another process holds it, or the folder cannot be made.
    """
    with explain_write_errors(run):
        run.mkdir(parents=True, exist_ok=True)
    with exclusive(run / _LOCK, f"{run}: another process is training in this folder; wait for it to end."):
        yield


def is_locked(run: Path) -> bool:
    """Whether some process trains in this folder now; False where that cannot be known."""
    return is_held(run / _LOCK)


def open_run(run: Path, recipe: Recipe, corpus: OpenCorpus, start_from: str | None = None) -> Start:
    """Make `run` a run of `recipe`, or find where it stands if it is one already.

    Everything is checked before anything is written. A folder without a checkpoint holds nothing that
    was learned, so it takes any recipe.

    Args:
        run: the run's folder, locked.
        recipe: must agree in every identity key with the recipe of the folder's checkpoints.
        corpus: the token shards.
        start_from: where a new run starts: RUN@TOKENS of another run, under other identity keys, or the folder of
            a Hugging Face model.

    Raises:
        UserError: the folder is another recipe's or holds something else, or was trained on other
            shards; a start from a checkpoint that does not fit.
    """
    _sweep(run)
    checkpoints, origin = list_checkpoints(run), _origin(run)
    from_origin = origin is not None and (
        start_from is None or Path(start_from).resolve() == Path(origin["given"]).resolve()
    )
    if checkpoints:
        start = _continued(run, recipe, corpus, checkpoints[-1][1])
        if start_from and not from_origin:
            raise UserError(
                f"{run}: this folder holds a run already, which did not start from {start_from}; name a new "
                f"folder with --run."
            )
    else:
        _refuse_foreign(run)
        given = origin["given"] if origin and from_origin else start_from
        place = _recorded_place(run, origin) if origin and from_origin else start_from
        start = _start_elsewhere(place, recipe, corpus) if place else Start(None, None)
        if start.model is not None:
            write_json(run / _ORIGIN, {"given": given})
        elif start.checkpoint is not None and start.state is not None:
            hash_ = identity_hash(read_checkpoint_recipe(start.checkpoint))
            write_json(run / _ORIGIN, {"given": given, "clock": start.state.clock, "recipe_hash": hash_})
    write_recipe(run / layout.RUN_RECIPE_FILE, recipe)  # execution keys may have changed
    return start


def _origin(run: Path) -> dict[str, Any] | None:
    path = run / _ORIGIN
    return read_json(path, "record of a run's origin") if path.exists() else None


def _recorded_place(run: Path, origin: dict[str, Any]) -> str:
    """Where a run started: a checkpoint by its clock, since the other run may have gone on; or a model's folder."""
    given = origin["given"]
    if "clock" not in origin:
        return given
    found = find_checkpoint(given)
    if load_state(found).clock == origin["clock"]:
        return given
    others = dict(list_checkpoints(found.parent.parent))
    if origin["clock"] not in others:
        raise UserError(
            f"{given}: the checkpoint at {origin['clock']:,} tokens, from which {run} started, is gone; nothing was "
            f"saved in {run} yet: delete it, and start from another checkpoint."
        )
    return str(others[origin["clock"]])


def _refuse_foreign(run: Path) -> None:
    ours = {_LOCK, _ORIGIN, layout.RUN_RECIPE_FILE, layout.PLAN_FILE, layout.EVENTS_FILE}
    ours |= {layout.CHECKPOINTS_FOLDER, "tensorboard"}
    if not (run / layout.RUN_RECIPE_FILE).exists() and any(p.name not in ours for p in run.iterdir()):
        raise UserError(f"{run}: this folder is not empty and holds no run; choose another one.")


def _sweep(run: Path) -> None:
    """Remove what a kill in the middle of writing or deleting left behind."""
    checkpoints = run / layout.CHECKPOINTS_FOLDER
    for leftover in (*run.glob(".*.tmp"), *checkpoints.glob(".*.tmp"), *checkpoints.glob("*/.*.tmp")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _continued(run: Path, recipe: Recipe, corpus: OpenCorpus, newest: Path) -> Start:
    differences = identity_differences(load_recipe(run / layout.RUN_RECIPE_FILE), recipe)
    if differences:
        more = f"; and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise UserError(
            f"{run}: this folder holds a run of another recipe, which differs in {'; '.join(differences[:5])}"
            f"{more}. Choose another folder, or start a new run from this one with --run OTHER --from {run}."
        )
    try:
        state = load_state(newest)
    except UserError as error:
        raise UserError(f"{error} (Delete {newest} to go on from the checkpoint before it.)") from None
    if state.corpus != corpus.fingerprint:
        raise UserError(
            f"{run}: this run was trained on other token shards (fingerprint {state.corpus}, now "
            f"{corpus.fingerprint}); bring those shards back, or start a new run with --run OTHER --from {run}."
        )
    return Start(newest, state)


def _start_elsewhere(start_from: str, recipe: Recipe, corpus: OpenCorpus) -> Start:
    if is_model_folder(start_from):
        folder = Path(start_from)
        check_tokenizer(folder, corpus.tokenizer)
        import_weights(folder, recipe)  # so that what does not fit is told before anything is written
        return Start(None, None, model=folder)
    checkpoint = find_checkpoint(start_from)
    other, state = read_checkpoint_recipe(checkpoint), load_state(checkpoint)
    for part in ("model", "parametrization"):
        before, now = getattr(other, part), getattr(recipe, part)
        odd = [
            f"{part}.{key}"
            for key, value in before
            if getattr(now, key) != value and key not in ("init_std", "rope_theta", "max_position_embeddings")
        ]
        if odd:
            raise UserError(
                f"{start_from}: a run of this recipe cannot start from that checkpoint: {', '.join(odd)} differ; "
                f"they must be the same."
            )
    if load_tokenizer(checkpoint, other).fingerprint != corpus.tokenizer.fingerprint:
        raise UserError(
            f"{start_from}: that run has another tokenizer than these token shards; prepare them with "
            f"tokenizer.kind=existing tokenizer.path={checkpoint}."
        )
    if state.clock >= recipe.training.tokens - recipe.training.first_step_tokens:
        raise UserError(
            f"{start_from}: that checkpoint is at {state.clock:,} tokens, where this recipe of "
            f"{recipe.training.tokens:,} ends; name an earlier one with RUN@TOKENS, or raise training.tokens."
        )
    same = all(
        getattr(other.training, key) == getattr(recipe.training, key)
        for key in ("tokens", "mixture", "batch_size", "sequence_length")
    )
    return Start(checkpoint, state, from_other_run=True, same_order=same)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """The resolved recipe as YAML: every value, defaults included."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[attr-defined]
    text = io.StringIO()
    yaml.dump(recipe.to_dict(), text)
    head = "# The resolved recipe of this run: every value, with defaults filled in.\n"
    with atomic_write(path) as file:
        file.write(head + text.getvalue())
