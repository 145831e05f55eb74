"""How a run goes on after a step that went wrong: its data passed over, or back at its last checkpoint.

What is passed over is written into the journal of the order of the data, and the journal into the
checkpoint that the run goes back to, at once: killed right after that, the run goes on with the other
data too.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from flyweight.base import UserError
from flyweight.curriculum import Step
from flyweight.events import LossSpike, RolledBack, StepSkipped
from flyweight.inference import list_checkpoints
from flyweight.recipe import format_tokens
from flyweight.training.accounting import Window
from flyweight.training.checkpoint import delete_checkpoint, is_saved, load_state, rewrite_state
from flyweight.training.folder import Start
from flyweight.training.guard import Verdict
from flyweight.training.save_run import save

if TYPE_CHECKING:
    from flyweight.training.loop import Trainer


def settle(trainer: Trainer, step: Step, verdict: Verdict, loss: float, grad_norm: float) -> bool:
    """Carry out what the guard decided about `step`; whether the step counts as taken.

    Raises:
        UserError: the run has gone back as often as it may without getting past where it failed.
    """
    if verdict.action == "warn":
        trainer.sinks.emit(LossSpike(step.step, step.clock, loss, verdict.deviation))
    if verdict.taken:
        trainer.guard.took(step.clock + step.tokens)
        return True
    trainer.decoder.zero_grad(set_to_none=True)
    trainer.float8.discard_step()
    first, end = trainer.order.pass_over(step)
    in_a_row = trainer.guard.state.in_a_row
    trainer.sinks.emit(
        StepSkipped(step.step, step.clock, verdict.reason, loss, grad_norm, first, end, in_a_row)
    )
    if verdict.action == "roll back":
        roll_back(trainer, verdict.reason)
    return False


class Diverged(UserError):
    """The run went back again and again without getting past where it failed."""


def roll_back(trainer: Trainer, reason: str) -> None:
    """Go back to the last good checkpoint, or to where the run began, and pass over what was drawn since.

    Raises:
        Diverged: that has happened too often without getting past where it failed.
    """
    trainer.log()  # what is undone was spent all the same
    if trainer.guard.gives_up:
        raise Diverged(_end(trainer, reason))
    trainer.saver.finish()
    begin, failed, accounts = time.perf_counter(), trainer.step, trainer.accounts
    saved_before = accounts.checkpoint_seconds
    reached = trainer.order.journal
    start = trainer.ranks.from_main(lambda: _last_good(trainer))
    trainer.stand_at(start)
    then = trainer.order.journal
    trainer.order.journal = reached
    first, end = trainer.order.go_back(trainer.step.sequence, then, failed.sequence)
    own = start.state is not None and not start.from_other_run
    trainer.guard.rolled_back(
        failed.clock, trainer.step.clock, start.state.guard if own and start.state else {}
    )
    if own and start.state is not None and start.checkpoint is not None:
        order = asdict(trainer.order.state(trainer.step.sequence))
        path, state = start.checkpoint, replace(start.state, order=order, guard=trainer.guard.to_dict())
        trainer.ranks.from_main(lambda: rewrite_state(path, state))
    else:
        save(trainer)
    seconds = time.perf_counter() - begin - (accounts.checkpoint_seconds - saved_before)
    accounts.recovery_seconds += seconds
    trainer.window = Window.new(accounts.meter)
    trainer.sinks.emit(
        RolledBack(
            step=trainer.step.step,
            clock=trainer.step.clock,
            failed_at=failed.clock,
            reason=reason,
            first=first,
            end=end,
            rollbacks=trainer.guard.state.rollbacks,
            seconds=seconds,
        )
    )


def save_what_was_learned(trainer: Trainer) -> None:
    """The next batch cannot be read: log what came before it and save that, if it is not saved yet."""
    trainer.log()  # the attempt that goes on from the checkpoint begins after these steps
    with trainer.window.paused():
        trainer.saver.finish()
        step = trainer.step
        saved = trainer.ranks.from_main(lambda: is_saved(trainer.run, step.clock))
        if step.step and not saved and trainer.is_sound():
            save(trainer)


def _last_good(trainer: Trainer) -> Start:
    """The run's newest checkpoint, or where the run began if it has none.

    One that the run went back to and could not take a single step from is not good: it is deleted, and the one
    before it taken, if there is one.
    """
    checkpoints = list_checkpoints(trainer.run)
    state = trainer.guard.state
    if state.rollbacks and trainer.step.clock == state.back_to and len(checkpoints) > 1:
        delete_checkpoint(checkpoints.pop()[1])
    if not checkpoints:
        return trainer.start
    path = checkpoints[-1][1]
    return Start(path, load_state(path))


def _end(trainer: Trainer, reason: str) -> str:
    state = trainer.guard.state
    return (
        f"{trainer.run}: the run went back {state.rollbacks} times without getting past "
        f"{format_tokens(state.failed_at)} tokens, and failed again at {trainer.step.clock:,} tokens ({reason}); its "
        f"checkpoints are kept. A lower learning rate or a longer warm-up usually mends this: start a new run with "
        f"them, --run OTHER --from {trainer.run}@TOKENS."
    )
