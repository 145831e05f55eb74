"""Checkpoints: safetensors for tensors, JSON for the rest, atomic, the newest few and milestones kept."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from flyweight.base import UserError, atomic_folder, write_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import layout, list_checkpoints, read_state, read_tensors
from flyweight.model import Decoder
from flyweight.recipe import Recipe
from flyweight.training.optimizers import OptimizerByRole
from flyweight.training.precision import Float8Layers


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
    format: int = layout.CHECKPOINT_FORMAT


def save_checkpoint(
    run: Path,
    state: State,
    recipe: Recipe,
    tokenizer: TextTokenizer,
    decoder: Decoder,
    optimizer: OptimizerByRole,
    float8: Float8Layers,
) -> Path:
    """Write a checkpoint that is either wholly there or not at all, and return its folder.

    It is complete in itself: weights, optimizer, FP8 scaling, state, recipe and tokenizer.

    Raises:
        UserError: the disk is full; earlier checkpoints are intact.
    """
    path = run / layout.CHECKPOINTS_FOLDER / layout.checkpoint_name(state.clock)
    with atomic_folder(path) as folder:
        weights = {name: value.detach().cpu().contiguous() for name, value in decoder.state_dict().items()}
        save_file(weights, folder / layout.MODEL_FILE)
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in optimizer.state_tensors().items()
        }
        save_file(tensors, folder / layout.OPTIMIZER_FILE)
        if scaling := float8.state_tensors():
            tensors = {name: value.detach().cpu().contiguous() for name, value in scaling.items()}
            save_file(tensors, folder / layout.FLOAT8_FILE)
        write_json(folder / layout.RECIPE_FILE, recipe.to_dict())
        write_json(folder / layout.STATE_FILE, asdict(state))
        tokenizer.save(folder)
    return path


def rewrite_state(path: Path, state: State) -> None:
    """Replace the state of a checkpoint; its tensors stay.

    Raises:
        UserError: the disk is full; the checkpoint is as it was.
    """
    write_json(path / layout.STATE_FILE, asdict(state))


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


def load_tensors(
    path: Path, decoder: Decoder, optimizer: OptimizerByRole | None, float8: Float8Layers
) -> None:
    """Fill the decoder, its FP8 scaling, and the optimizer where given, from a checkpoint.

    Raises:
        UserError: a file is missing or damaged, or holds another model.
    """
    device = next(decoder.parameters()).device
    weights = read_tensors(path / layout.MODEL_FILE)
    wanted = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise UserError(
            f"{path}: this checkpoint holds another model: {odd[0]} is {found.get(odd[0], 'absent')} there, "
            f"{wanted.get(odd[0], 'absent')} in the recipe."
        )
    decoder.load_state_dict({name: value.to(device) for name, value in weights.items()})
    if optimizer is not None:
        optimizer.load_state_tensors(read_tensors(path / layout.OPTIMIZER_FILE))
    if (path / layout.FLOAT8_FILE).exists():
        float8.load_state_tensors(read_tensors(path / layout.FLOAT8_FILE))
