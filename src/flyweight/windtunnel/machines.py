"""Trials of other machines: which are alive, and what becomes of those whose machine is gone."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flyweight.windtunnel.database import is_database_error

if TYPE_CHECKING:
    import optuna

BEAT_SECONDS = 10.0
"""Between two signs of life of a trial."""

LOST_SECONDS = 120.0
"""Without a sign of life after which a trial's machine counts as gone."""

BEAT = "beat"
"""The attribute of a trial that changes while it is alive."""

MACHINE = "machine"
"""The attribute of a trial that says where it runs."""

LOST = "lost"
"""The attribute of a trial that says that it was given up, and why."""

INSTEAD_OF = "instead of"
"""The attribute of a trial that names the lost one whose values it has."""


def machine_name() -> str:
    """This machine, for people."""
    return socket.gethostname()


@contextlib.contextmanager
def beating(trial: optuna.trial.Trial) -> Iterator[None]:
    """Show others within the block that `trial` is alive, from a thread.

    A database that is gone for a moment only delays a beat: the run itself finds out if it stays away.
    """
    storage, number = trial.study._storage, trial._trial_id
    storage.set_trial_user_attr(number, MACHINE, machine_name())
    done = threading.Event()

    def beat() -> None:
        from optuna.exceptions import UpdateFinishedTrialError

        while True:
            try:
                storage.set_trial_user_attr(number, BEAT, time.time())
            except UpdateFinishedTrialError:  # another machine gave it up
                return
            except Exception as error:
                if not is_database_error(error):
                    raise
            if done.wait(BEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class Watch:
    """Tells which trials give no sign of life.

    Only this machine's own clock is read, for how long nothing changed: clocks of machines differ.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[object, float]] = {}

    def silent(self, trials: Sequence[optuna.trial.FrozenTrial]) -> list[optuna.trial.FrozenTrial]:
        """Those of `trials` of which nothing was heard since LOST_SECONDS of watching."""
        now = time.monotonic()
        found = []
        for trial in trials:
            sign = (trial.user_attrs.get(BEAT), len(trial.intermediate_values))
            before, since = self._seen.get(trial.number, (None, now))
            if before != sign:
                self._seen[trial.number] = sign, now
            elif now - since >= LOST_SECONDS:
                found.append(trial)
        return found


def give_up(
    record: optuna.Study, trial: optuna.trial.Trial | optuna.trial.FrozenTrial, reason: str, *, again: bool
) -> None:
    """Put on record that `trial` is lost; `again`: and its values in front of the queue, for whoever asks next.

    Of several machines that give the same trial up one alone does: the record lets a trial end once.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    try:
        record._storage.set_trial_user_attr(trial._trial_id, LOST, reason)
        record.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):  # it has ended in the meantime
        return
    if again:
        record.enqueue_trial(trial.params, user_attrs={INSTEAD_OF: trial.number})
