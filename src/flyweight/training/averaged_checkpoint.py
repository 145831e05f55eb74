"""A checkpoint whose weights are an average: of a run's last checkpoints, or the moving one that a run has kept.

It is read like any other: evaluated, exported, or the start of a run. It has no optimizer's state, since none belongs
to such weights.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from flyweight.base import UserError, atomic_folder, read_json, write_json
from flyweight.inference import (
    find_checkpoint,
    layout,
    list_checkpoints,
    load_tokenizer,
    read_checkpoint_recipe,
    read_tensors,
)
from flyweight.model import Decoder
from flyweight.recipe import identity_differences
from flyweight.training.checkpoint import load_state, read_average

NO_OPTIMIZER = "none"
"""In the state of such a checkpoint: whoever starts from it begins with fresh optimizer state."""


def average_last(checkpoint: str | Path, out: Path, last: int) -> dict[str, Any]:
    """Write to `out` the mean of the weights of a run's last checkpoints, summed in float64.

    Args:
        checkpoint: a run, RUN@TOKENS or a checkpoint in a run's folder, which is the newest of them.
        out: a new folder, or that of an earlier average, which is replaced.
        last: how many, at least 2.

    Returns:
        What it is an average of, as in `State.average`.

    Raises:
        UserError: fewer checkpoints than that, not all of one run, or damaged ones; an `out` that holds something else.
    """
    if last < 2:
        raise UserError(f"--last {last}: expected at least 2 checkpoints to take the mean of.")
    _refuse_other_folder(out)
    newest = find_checkpoint(checkpoint)
    folders = _last_of_run(newest, last)
    _refuse_other_runs(folders)
    total = {
        name: value.to(torch.float64) for name, value in read_tensors(newest / layout.MODEL_FILE).items()
    }
    for folder in folders[:-1]:
        tensors = read_tensors(folder / layout.MODEL_FILE)
        if {name: value.shape for name, value in tensors.items()} != {n: v.shape for n, v in total.items()}:
            raise UserError(f"{folder}: its weights are not those of the model in {newest}; it is damaged.")
        for name, value in tensors.items():
            total[name] += value
    # One parameter after another, so that both kinds of float never hold all of the model.
    weights = {name: total.pop(name).div_(last).to(torch.float32) for name in list(total)}
    about = {"kind": "mean", "clocks": [load_state(folder).clock for folder in folders]}
    _write(out, newest, weights, about)
    return about


def average_ema(checkpoint: str | Path, out: Path) -> dict[str, Any]:
    """Write to `out` the exponential moving average that a checkpoint holds.

    Args:
        checkpoint: a run, RUN@TOKENS or a checkpoint.
        out: a new folder, or that of an earlier average, which is replaced.

    Returns:
        What it is an average of, as in `State.average`.

    Raises:
        UserError: the run kept no average, or it is damaged; an `out` that holds something else.
    """
    _refuse_other_folder(out)
    found = find_checkpoint(checkpoint)
    if not (found / layout.AVERAGE_FILE).exists():
        raise UserError(
            f"{found}: this checkpoint has no moving average of the weights ({layout.AVERAGE_FILE}); train with "
            f"execution.ema_half_life, say a hundredth of training.tokens, or take the mean of checkpoints with --last."
        )
    recipe = read_checkpoint_recipe(found)
    with torch.device("meta"):
        model = Decoder(recipe.model, recipe.parametrization)
    about = {
        "kind": "ema", "half_life": recipe.execution.ema_half_life, "clocks": [load_state(found).clock]
    }  # fmt: skip
    _write(out, found, read_average(found, model), about)
    return about


def _last_of_run(newest: Path, last: int) -> list[Path]:
    """The checkpoint `newest` and those before it in its run's folder, oldest first, `last` in all."""
    place = newest.resolve()
    clock = layout.checkpoint_clock(place.name)
    if clock is None or place.parent.name != layout.CHECKPOINTS_FOLDER:
        raise UserError(f"{newest}: this checkpoint lies in no run's folder; name a run, or RUN@TOKENS.")
    found = [folder for at, folder in list_checkpoints(place.parent.parent) if at <= clock]
    if len(found) < last:
        have = "one checkpoint" if len(found) == 1 else f"{len(found)} checkpoints"
        raise UserError(
            f"{place.parent.parent}: this run has {have} up to {clock:,} tokens, not {last}; have it write more with "
            f"execution.checkpoint_every, and keep them with execution.keep_checkpoints or execution.milestones."
        )
    return found[-last:]


def _refuse_other_runs(folders: list[Path]) -> None:
    """Raise a UserError where someone has laid checkpoints of another run among them."""
    newest = folders[-1]
    recipe, state = read_checkpoint_recipe(newest), load_state(newest)
    for folder in folders[:-1]:
        odd = identity_differences(read_checkpoint_recipe(folder), recipe)
        if load_state(folder).corpus != state.corpus:
            odd = [*odd, "token shards"]
        if odd:
            raise UserError(
                f"{folder}: this is a checkpoint of another run than {newest.name} (it differs in {odd[0]}); only "
                f"checkpoints of one run have a meaningful mean."
            )


def _refuse_other_folder(out: Path) -> None:
    """Nothing that is not an average of ours is ever replaced, and nothing is put among a run's checkpoints."""
    if out.absolute().parent.name == layout.CHECKPOINTS_FOLDER:
        raise UserError(f"{out}: only a run writes into its folder of checkpoints; name another place.")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if (out / layout.STATE_FILE).is_file():
        state = read_json(out / layout.STATE_FILE, "checkpoint state")
        if isinstance(state, dict) and state.get("average"):
            return
    raise UserError(
        f"{out}: there is something here already that is not an earlier average; name a new folder, or remove it."
    )


def _write(out: Path, source: Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """A checkpoint of `weights` that is like `source` otherwise."""
    recipe = read_checkpoint_recipe(source)
    tokenizer = load_tokenizer(source, recipe)
    state = replace(load_state(source), optimizer=NO_OPTIMIZER, milestone=False, guard={}, average=about)
    with atomic_folder(out.absolute()) as folder:
        save_file(weights, folder / layout.MODEL_FILE)
        write_json(folder / layout.RECIPE_FILE, recipe.to_dict())
        write_json(folder / layout.STATE_FILE, asdict(state))
        tokenizer.save(folder)
