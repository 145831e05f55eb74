"""A study: what is searched, where its trials are on record, and that it is the same study as before."""

from __future__ import annotations

import importlib.util
import logging
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyweight import __version__
from flyweight.base import Busy, UserError, derive_seed, exclusive, read_json, write_json
from flyweight.corpus import OpenCorpus
from flyweight.recipe import Knob, Recipe, Tunnel, identity
from flyweight.windtunnel.database import database_errors, open_database
from flyweight.windtunnel.proxy import proxy_recipe, with_values
from flyweight.windtunnel.samplers import make_sampler
from flyweight.windtunnel.trials import Goal, check_weights, measured_on

if TYPE_CHECKING:
    import optuna

STUDY_FILE = "study.json"
JOURNAL_FILE = "journal.log"
TRIALS_FOLDER = "trials"

ABOUT = "about"
"""The attribute of a study in a database that says what study.json says in a folder."""

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Study:
    """A search on a proxy."""

    folder: Path
    proxy: Recipe
    """The proxy before its knobs are set."""
    tunnel: Tunnel
    storage: str | None
    """URL of a database that several machines share; a journal file in the folder where left out."""
    begin: int = 0
    """The clock at which trials begin, in tokens."""

    @property
    def name(self) -> str:
        """By which the record knows it."""
        return self.proxy.name

    def trial_folder(self, number: int) -> Path:
        """Of trial `number`, from 0."""
        return self.folder / TRIALS_FOLDER / f"{number:04d}"

    def recipe(self, values: dict[str, float], seed: int = 0) -> Recipe:
        """The proxy with these values, and with another seed for all but 0."""
        changed = with_values(self.proxy, values)
        return changed.model_copy(update={"seed": self.proxy.seed + seed})

    def start(self, seed: int = 0) -> str | None:
        """RUN@TOKENS that trials of this seed start from; None: from the beginning."""
        return None

    @property
    def goal(self) -> Goal:
        """What trials are judged by."""
        return Goal(self.tunnel.weights)

    @property
    def shown_keys(self) -> list[str]:
        """Keys of what `shown` says."""
        return sorted(self.tunnel.space)

    def shown(self, values: Mapping[str, float]) -> dict[str, float]:
        """What people are shown of a trial's values."""
        return dict(values)

    def load(self, number: int = 0) -> optuna.Study:
        """The record of all trials, with a sampler for trial `number`.

        The sampler's randomness comes from the recipe's seed and the trial's number, so that one worker's trials are
        the same every time.
        """
        optuna = require_optuna()
        seed = derive_seed(self.proxy.seed, "tunnel", number) % 2**32
        pruner = (
            optuna.pruners.MedianPruner(n_startup_trials=self.tunnel.startup_trials)
            if self.tunnel.prune == "median"
            else optuna.pruners.NopPruner()
        )
        with database_errors(self.storage):
            return optuna.create_study(
                study_name=self.name, storage=self._open(), load_if_exists=True, direction="minimize",
                sampler=make_sampler(self.tunnel, seed), pruner=pruner,
            )  # fmt: skip

    def _open(self) -> Any:
        if self.storage is not None:
            return open_database(self.storage)
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        return JournalStorage(JournalFileBackend(str(self.folder / JOURNAL_FILE)))

    def distributions(self) -> dict[str, Any]:
        """The space as the samplers know it."""
        return {key: _distribution(knob) for key, knob in self.tunnel.space.items()}

    @contextmanager
    def choosing(self) -> Iterator[None]:
        """One process of this machine at a time."""
        while True:
            try:
                with exclusive(self.folder / ".choosing", "held"):
                    yield
                return
            except Busy:
                time.sleep(0.05)


def require_optuna() -> Any:
    """Optuna, which is an extra.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError("a search needs Optuna; pip install 'flyweight[tunnel]'.")
    import optuna

    optuna.logging.set_verbosity(logging.ERROR)
    optuna.logging.disable_default_handler()
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def open_study(recipe: Recipe, corpus: OpenCorpus, folder: Path, storage: str | None = None) -> Study:
    """The study of `recipe` in `folder`, which is made or, if it is this very study, gone on with.

    Raises:
        UserError: the folder holds a study of another recipe, space, corpus or version; or values of the space are
            none that the model can take.
    """
    proxy = proxy_recipe(recipe, recipe.tunnel.proxy)
    study = Study(folder, proxy, recipe.tunnel, storage)
    _check_space(study)
    keep_to(study, corpus)
    return study


def keep_to(study: Study, corpus: OpenCorpus, more: Mapping[str, Any] | None = None) -> None:
    """Write down in the study's folder, and in its database, what it is of; refuse another one.

    Args:
        study: what is opened.
        corpus: the token shards.
        more: what else must stay the same.

    Raises:
        UserError: the folder or the database holds another study.
    """
    check_weights(study.tunnel.weights, corpus)
    folder, storage = study.folder, study.storage
    about = {
        "format": FORMAT_VERSION,
        "version": __version__,
        "recipe": identity(study.proxy),
        "space": {key: knob.model_dump(mode="json") for key, knob in study.tunnel.space.items()},
        "search": study.tunnel.model_dump(
            mode="json", include={"sampler", "startup_trials", "prune", "rungs", "weights"}
        ),
        "corpus": corpus.fingerprint,
        "measured on": measured_on(study.proxy),
        **(more or {}),
    }
    path = folder / STUDY_FILE
    known = read_json(path, "study") if path.exists() else None
    kept_in = known.pop("database", None) if known is not None else None
    if known is not None:
        _refuse_differences(f"{folder}: this study", known, about, "name another folder")
    if storage is not None:
        shared = _same_in_database(study, about)
        if known is not None and kept_in != shared:
            raise UserError(
                f"{folder}: the trials of this folder are on record "
                f"{'in a journal here' if kept_in is None else 'in another database'}; name another folder, "
                f"or {'leave --storage out' if kept_in is None else 'give that database'}."
            )
        about["database"] = shared
    elif known is not None and kept_in is not None:
        raise UserError(
            f"{folder}: the trials of this folder are on record in a database; give its URL with --storage, or name "
            f"another folder with --study."
        )
    if known is None:
        write_json(path, about)


def _same_in_database(study: Study, about: dict[str, Any]) -> str:
    """Refuse what the database knows as another study; returns what it alone calls this one."""
    record = study.load()
    with database_errors(study.storage):
        if ABOUT not in record.user_attrs:
            if record.get_trials(deepcopy=False):
                raise UserError(
                    f"--storage: the study {study.name!r} in this database was not made by Flyweight; give the recipe "
                    f"another name, with name=OTHER."
                )
            record.set_user_attr(ABOUT, {**about, "database": uuid.uuid4().hex})
        known = dict(record.user_attrs[ABOUT])
    shared = known.pop("database")
    _refuse_differences(
        f"--storage: the study {study.name!r} in this database", known, about,
        "give the recipe another name, with name=OTHER",
    )  # fmt: skip
    return shared


def _refuse_differences(what: str, old: dict[str, Any], new: dict[str, Any], remedy: str) -> None:
    differences = _differences(old, new)
    if differences:
        shown = "; ".join(differences[:4]) + (f"; and {len(differences) - 4} more" if differences[4:] else "")
        raise UserError(
            f"{what} was made otherwise ({shown}). Its trials do not compare with new ones: {remedy}, or put the "
            f"recipe back."
        )


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return found


def _check_space(study: Study) -> None:
    """Every end of every knob gives a recipe, tried one at a time."""
    for key, knob in study.tunnel.space.items():
        for value in knob.choices or (knob.low, knob.high):
            assert value is not None
            try:
                study.recipe({key: value})
            except UserError as error:
                raise UserError(f"tunnel.space: {key} cannot be {value:g}: {error}") from None


def _distribution(knob: Knob) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if knob.choices:
        return CategoricalDistribution(knob.choices)
    assert knob.low is not None
    assert knob.high is not None
    return FloatDistribution(knob.low, knob.high, log=knob.log, step=knob.step)
