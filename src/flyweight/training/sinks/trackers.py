"""Trackers: which of them a run feeds, and what all of them are told.

A run of ours is one run of the tracker: its project is the recipe's name, its name the run folder's. An attempt
that goes on goes on there too; only W&B's files, where it is offline, hold one run for each attempt, all of one group,
since it cannot join them. What an earlier attempt had told past that clock stays, drawn twice: trackers cannot take
back what they were told. `events.jsonl` is the truth.
"""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from flyweight.base import UserError, read_json, write_json
from flyweight.events import Event, Sampled
from flyweight.recipe import Recipe
from flyweight.training.sinks.scalars import sample, scalars

IDENTITY_FILE = "trackers.json"
"""In the run's folder: what the trackers call the run."""


def require(tracker: str) -> None:
    """Refuse a tracker that the recipe names and that is not installed.

    Raises:
        UserError: it is not.
    """
    if importlib.util.find_spec(tracker) is None:
        extra = "track" if tracker == "tensorboard" else tracker
        raise UserError(
            f"execution.trackers names {tracker!r}, which is not installed: pip install 'flyweight[{extra}]', or take "
            f"it out of the list."
        )


def begin(name: str, recipe: Recipe, run: Path, clock: int) -> Trackio | WeightsAndBiases:
    """The view of a tracker.

    Raises:
        UserError: it does not begin, as without a network where it is told to need one.
    """
    try:
        return {"trackio": Trackio, "wandb": WeightsAndBiases}[name](recipe, run, clock)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"execution.trackers: {name} does not begin ({reason}); mend its settings, or take it out of the list."
        ) from error


def public_configuration(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, with file names for paths: a tracker may pass them on."""
    return _without_folders(recipe.to_dict())


def _without_folders(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: PurePath(item).name
        if key in ("path", "data") and isinstance(item, str)
        else _without_folders(item)
        for key, item in value.items()
    }


def _identity(run: Path, tracker: str, new: Callable[[], str], fresh: bool) -> str:
    """What `tracker` calls the run: as an earlier attempt wrote it down, else `new()`."""
    file = run / IDENTITY_FILE
    known: dict[str, str] = read_json(file, "names of trackers' runs") if file.exists() else {}
    if fresh or tracker not in known:
        known[tracker] = new()
        write_json(file, known)
    return known[tracker]


class Trackio:
    """Trackio: an SQLite file on this machine (TRACKIO_DIR), looked at with `trackio show`; nothing leaves it,
    unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say so.

    Args:
        recipe: what is trained.
        run: its folder.
        clock: at which this attempt begins.
    """

    def __init__(self, recipe: Recipe, run: Path, clock: int):
        import trackio  # type: ignore[import-not-found, unused-ignore]  # pyright: ignore[reportMissingImports]

        # Trackio finds a run by its name, of which there may be another one of another folder.
        folder = run.resolve().name
        name = _identity(run, "trackio", lambda: f"{folder}-{uuid.uuid4().hex[:6]}", fresh=not clock)
        self._run = trackio.init(
            project=recipe.name,
            name=name,
            config=public_configuration(recipe),
            resume="allow",
            embed=False,  # a dashboard's address holds a token
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def handle(self, event: Event) -> None:
        """See `Sink`."""
        if values := scalars(event):
            self._run.log(values, step=event.clock)  # type: ignore[attr-defined]  # "step" is no key of its values
        elif isinstance(event, Sampled):
            name, text = sample(event)
            self._run.log({name: text}, step=event.clock)

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


class WeightsAndBiases:
    """Weights & Biases: files under RUN/wandb, for `wandb sync`; online where the user has set WANDB_MODE or
    WANDB_API_KEY. The x axis counts tokens. Offline every attempt is a run of its own, of the run's group.

    Args: as of `Trackio`.
    """

    def __init__(self, recipe: Recipe, run: Path, clock: int):
        chosen = os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY")
        if not chosen:  # its reports about itself do not go out either; it asks when it is imported
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # type: ignore[import-not-found, unused-ignore]  # pyright: ignore[reportMissingImports]

        identity = _identity(run, "wandb", _new_id, fresh=not clock)
        # `wandb sync` cannot join files of one id: those that it sends later replace the others (wandb#3841, #5865).
        joins = chosen not in (None, "offline", "dryrun")
        self._run = wandb.init(
            project=recipe.name,
            name=run.resolve().name,
            group=identity,
            id=identity if joins else _new_id(),
            resume="allow",
            dir=str(run),
            config=public_configuration(recipe),
            mode=None if chosen else "offline",
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        # An axis of our own: W&B drops what comes at a step that it has seen, as after a resume.
        self._run.define_metric("clock")
        self._run.define_metric("*", step_metric="clock")

    def handle(self, event: Event) -> None:
        """See `Sink`."""
        if values := scalars(event):
            self._run.log({**values, "clock": event.clock})  # type: ignore[attr-defined]
        elif isinstance(event, Sampled):
            name, text = sample(event)
            self._run.log({name: text, "clock": event.clock})

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()
