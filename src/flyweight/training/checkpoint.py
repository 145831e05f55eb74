"""Checkpoints: safetensors for tensors, JSON for the rest, atomic, the newest few and milestones kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from flyweight.base import UserError, atomic_folder, write_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import layout, list_checkpoints, read_checkpoint_recipe, read_state, read_tensors
from flyweight.model import Decoder
from flyweight.recipe import Recipe
from flyweight.training.averaging import WeightAverage
from flyweight.training.optimizers import OptimizerByRole
from flyweight.training.parallel import ALONE, Ranks
from flyweight.training.parallel.tensors import fill
from flyweight.training.precision import Float8Layers
from flyweight.training.saving import Files, write_together


@dataclass(frozen=True)
class State:
    """Where a run stands, beside its tensors."""

    clock: int
    step: int
    sequence: int
    optimizer: str
    corpus: str
    """Fingerprint of the token shards."""
    milestone: bool
    order: dict[str, Any] = field(default_factory=dict)
    """What was passed over, and where the walk of the mixture stands."""
    guard: dict[str, Any] = field(default_factory=dict)
    """What the guard remembers: the losses that a spike is told by, and what was skipped in a row."""
    rope_theta: float | None = None
    """Base of the rotary positions in the last step; the model's own where it is not on record."""
    average: dict[str, Any] | None = None
    """What the weights are an average of, where they are one: `kind` (mean or ema), `clocks`, of an ema `half_life`."""
    format: int = layout.CHECKPOINT_FORMAT


def save_checkpoint(
    run: Path,
    state: State,
    recipe: Recipe,
    tokenizer: TextTokenizer,
    files: Files,
    ranks: Ranks = ALONE,
) -> None:
    """Write a checkpoint that is either wholly there or not at all.

    It is complete in itself: weights, optimizer, FP8 scaling, state, recipe and tokenizer. Of several ranks each
    calls it with the tensors that it writes.

    Raises:
        UserError: the disk is full; earlier checkpoints are intact.
    """
    path = checkpoint_path(run, state.clock)

    def add_rest(folder: Path) -> None:
        if not (folder / layout.OPTIMIZER_FILE).exists():  # before the first step it has no state
            save_file({}, folder / layout.OPTIMIZER_FILE)
        write_json(folder / layout.RECIPE_FILE, recipe.to_dict())
        write_json(folder / layout.STATE_FILE, asdict(state))
        tokenizer.save(folder)

    if not ranks.alone:
        write_together(path, files, ranks, add_rest)
        return
    with atomic_folder(path) as folder:
        for name, tensors in files.items():
            if tensors:
                save_file(tensors, folder / name)
        add_rest(folder)


def checkpoint_path(run: Path, clock: int) -> Path:
    """The folder of a run's checkpoint at `clock`."""
    return run / layout.CHECKPOINTS_FOLDER / layout.checkpoint_name(clock)


def rewrite_state(path: Path, state: State) -> None:
    """Replace the state of a checkpoint; its tensors stay.

    Raises:
        UserError: the disk is full; the checkpoint is as it was.
    """
    write_json(path / layout.STATE_FILE, asdict(state))


def is_saved(run: Path, clock: int) -> bool:
    """Whether the run has a checkpoint at this clock."""
    return any(saved == clock for saved, _ in list_checkpoints(run))


def prune_checkpoints(run: Path, keep: int) -> list[Path]:
    """Delete all but the newest `keep` checkpoints and the milestones; what was deleted comes back."""
    ordinary = [path for _, path in list_checkpoints(run) if _may_go(path)]
    deleted = ordinary[:-keep]
    for path in deleted:
        delete_checkpoint(path)
    return deleted


def delete_checkpoint(path: Path) -> None:
    """Delete a checkpoint, renamed first: a kill in between must not leave half of one under its name."""
    gone = path.with_name(f".{path.name}.old.tmp")
    path.rename(gone)
    shutil.rmtree(gone)


def _may_go(path: Path) -> bool:
    """Whether a checkpoint is no milestone; one that the user has thinned out is left alone."""
    try:
        return not read_state(path).get("milestone")
    except UserError:
        return False


def load_state(path: Path) -> State:
    """The state of a checkpoint; a newer format or a broken file is a UserError."""
    return State(**read_state(path))


def load_weights(decoder: Decoder, weights: Mapping[str, Tensor]) -> None:
    """Copy whole `weights`, by name, into a decoder, or into the rows of it that this process holds."""
    for name, value in decoder.state_dict().items():
        fill(value, weights[name])


def load_tensors(
    path: Path,
    decoder: Decoder,
    optimizer: OptimizerByRole | None,
    float8: Float8Layers,
    average: WeightAverage,
    *,
    same_run: bool = True,
) -> None:
    """Fill the decoder, its FP8 scaling, the average of its weights, and the optimizer where given, from a checkpoint.

    The average goes on where the checkpoint is of the `same_run` and has one of the same half-life; else it begins
    with the checkpoint's weights.

    Raises:
        UserError: a file is missing or damaged, or holds another model.
    """
    weights = read_tensors(path / layout.MODEL_FILE)
    odd = other_shapes(weights, decoder.state_dict())
    if odd:
        raise UserError(f"{path}: this checkpoint holds another model: {odd}.")
    load_weights(decoder, weights)
    if optimizer is not None:
        optimizer.load_state_tensors(read_tensors(path / layout.OPTIMIZER_FILE))
    if (path / layout.FLOAT8_FILE).exists():
        float8.load_state_tensors(read_tensors(path / layout.FLOAT8_FILE))
    goes_on = same_run and average.half_life and (path / layout.AVERAGE_FILE).exists()
    if goes_on and average.half_life == read_checkpoint_recipe(path).execution.ema_half_life:
        average.load_state_tensors(read_average(path, decoder))
    else:
        average.reset()


def read_average(path: Path, decoder: Decoder) -> dict[str, Tensor]:
    """The moving average of the weights that a checkpoint holds.

    Raises:
        UserError: the file is damaged, or its tensors are not those of `decoder`.
    """
    average = read_tensors(path / layout.AVERAGE_FILE)
    odd = other_shapes(average, decoder.state_dict())
    if odd:
        raise UserError(
            f"{path / layout.AVERAGE_FILE}: this is no average of the model's weights: {odd}. Use another checkpoint, "
            f"or delete this file: a run that goes on from here then begins its average anew."
        )
    return average


def other_shapes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """The first tensor that is not there, is too many, or has another shape than is wanted; None where none is."""
    for name in sorted(found.keys() | wanted.keys()):
        there, here = (tuple(part[name].shape) if name in part else "absent" for part in (found, wanted))
        if there != here:
            return f"{name} is {there} there, {here} in the recipe"
    return None
