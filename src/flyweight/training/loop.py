"""The one training loop."""

from __future__ import annotations

from pathlib import Path

import torch

from flyweight.base import UserError
from flyweight.corpus import OpenCorpus
from flyweight.curriculum import Batch, Journal, Order, OrderState, Step, read_batch, trial_batch
from flyweight.events import CheckpointSaved, StageEntered
from flyweight.model import Decoder, OptimizerKind, Role, flops_per_token
from flyweight.recipe import Recipe
from flyweight.training.accounting import Accounts, Window, step_done
from flyweight.training.averaging import WeightAverage
from flyweight.training.benchmarks import measure_due_benchmarks
from flyweight.training.checkpoint import load_tensors, load_weights
from flyweight.training.energy import EnergyMeter
from flyweight.training.folder import Start
from flyweight.training.guard import Guard
from flyweight.training.importing import import_weights
from flyweight.training.interrupt import Interruption
from flyweight.training.objective import Objective
from flyweight.training.optimizers import OptimizerByRole, methods_from_plain
from flyweight.training.parallel import (
    ALONE,
    Ranks,
    SpreadObjective,
    check_batches,
    micro_batches,
    recompute_blocks,
)
from flyweight.training.parallel.tensors import clip, local
from flyweight.training.plan import ExecutionPlan
from flyweight.training.precision import convert_to_float8
from flyweight.training.read_ahead import ReadAhead
from flyweight.training.recovery import roll_back, save_what_was_learned, settle
from flyweight.training.save_run import save
from flyweight.training.saving import Saver
from flyweight.training.sinks import Sinks
from flyweight.training.tiers import accelerate
from flyweight.training.validation import validate


class Trainer:
    """A run in memory: decoder, optimizer and clock, moved on step by step.

    The whole state of a run is its clock, the journal of what it passed over, the weights, the optimizer
    and what its guard remembers; everything else is a pure function of recipe, corpus and clock.
    """

    def __init__(
        self,
        recipe: Recipe,
        corpus: OpenCorpus,
        run: Path,
        plan: ExecutionPlan,
        start: Start,
        sinks: Sinks,
        ranks: Ranks = ALONE,
        meter: EnergyMeter | None = None,
    ):
        check_batches(recipe, ranks)
        self.ranks, self.saver = ranks, Saver(self._saved)
        self.recipe, self.corpus, self.run, self.plan, self.sinks = recipe, corpus, run, plan, sinks
        self.order = Order(recipe, {name: stream.tokens for name, stream in corpus.train.items()})
        self.schedule = self.order.schedule
        self.device = torch.device(plan.device)
        self.guard = Guard(recipe.training.guard)
        self.accounts = Accounts(plan.peak_flops, meter, ranks)
        self.start = start
        self.decoder = Decoder(recipe.model, recipe.parametrization).to(self.device)
        self.float8 = convert_to_float8(self.decoder, plan.fp8_scaling, plan.fp8_layers)
        accelerate(self.decoder, plan.attention, plan.compiled)
        if recipe.execution.activation_checkpointing:
            recompute_blocks(self.decoder)
        objective = Objective(self.decoder, plan.precision, plan.compiled)
        if plan.parallel == "fsdp":
            self.float8.keep_no_cast()
        self.objective = SpreadObjective(objective, plan.parallel, ranks)
        self.average = WeightAverage(self.decoder, recipe.execution.ema_half_life)
        self.stand_at(start)
        self._flops = {
            segment.sequence_length: flops_per_token(recipe.model, segment.sequence_length)
            for segment in self.schedule.segments
        }
        self._stage: tuple[int, int, str] | None = None
        self._warm_up()

    def stand_at(self, start: Start) -> None:
        """Take over clock, weights, optimizer, journal and guard of a checkpoint, or of a run's beginning."""
        self.step = self._first_step(start)
        self.optimizer = self._new_optimizer(self._optimizer_kind(self.step.clock))
        if start.checkpoint is not None and start.state is not None:
            same = start.state.optimizer == self.optimizer.kind and not self._optimizer_changes_at(self.step)
            load_tensors(
                start.checkpoint,
                self.decoder,
                self.optimizer if same else None,
                self.float8,
                self.average,
                same_run=not start.from_other_run,
            )
        else:
            load_weights(self.decoder, self._first_weights(start))
            self.float8.reset()
            self.average.reset()
        self.guard.restore(start.state.guard if start.state and not start.from_other_run else {})
        kept = start.state.rope_theta if start.state and not start.from_other_run else None
        self.decoder.rope_theta = kept or self._rope_theta(self.step.clock)

    def _first_weights(self, start: Start) -> dict[str, torch.Tensor]:
        if start.model is not None:
            return import_weights(start.model, self.recipe)
        fresh = Decoder(self.recipe.model, self.recipe.parametrization).initialize(self.recipe.seed)
        return fresh.state_dict()

    def _warm_up(self) -> None:
        """One pass over nothing in particular, and its gradients thrown away.

        On some CPUs the very first pass of a process has been seen to be off by rounding, with the same
        weights and inputs: it must not be the first step of a run that goes on.
        """
        rows = self.plan.micro_batch_for(self.ranks.share(self.step.batch_size), self.step.sequence_length)
        tokens = torch.zeros(rows, self.step.sequence_length + 1, dtype=torch.int64)
        batch = trial_batch(tokens, self.recipe.training.document_masking)
        with self.objective.one_pass(last=True):
            self.objective(tokens.to(self.device), 0.0, batch.documents(self.device)).total.backward()
        self.decoder.zero_grad(set_to_none=True)
        self.float8.discard_step()

    def _first_step(self, start: Start) -> Step:
        carried = start.state.order if start.state is not None and start.same_order else {}
        self.order.restore(OrderState(**carried))
        if start.state is None:
            return self.schedule.step(0)
        try:
            return self.schedule.step_at_clock(start.state.clock)
        except ValueError:
            raise UserError(
                f"{start.checkpoint}: no step of this recipe starts at {start.state.clock:,} tokens; keep "
                f"batch_size and sequence_length up to there as they were, and change them by a knot."
            ) from None

    def _rope_theta(self, clock: int) -> float:
        """The base of the rotary positions in a step that starts at `clock`."""
        timeline = self.recipe.training.rope_theta
        return self.recipe.model.rope_theta if timeline is None else timeline.at(clock)

    def _optimizer_kind(self, clock: int) -> OptimizerKind:
        return next(knot.kind for knot in reversed(self.recipe.training.optimizer) if knot.at <= clock)

    def _optimizer_changes_at(self, step: Step) -> bool:
        """Whether `step` is the first of an optimizer, whose state is fresh then."""
        return any(
            self.schedule.first_step_from(knot.at) == step.step for knot in self.recipe.training.optimizer[1:]
        )

    def _new_optimizer(self, kind: OptimizerKind) -> OptimizerByRole:
        return OptimizerByRole(
            self.decoder,
            self.recipe.training,
            kind,
            muon_dtype=self.plan.compute_dtype,
            muon_methods=methods_from_plain(self.plan.muon),
        )

    @property
    def finished(self) -> bool:
        """Whether every step of the recipe is done."""
        return self.step.step >= self.schedule.steps

    @property
    def validation_is_due(self) -> bool:
        """Whether the recipe asks for a validation at this clock: before the first step, and every so many tokens."""
        return not self.step.step or self.passes(self.recipe.evaluation.every)

    def passes(self, every: int) -> bool:
        """Whether the last step went past a multiple of `every` tokens; never where that is 0."""
        return _passes(every, self.schedule.step(self.step.step - 1), self.step)

    def train(self, interruption: Interruption, stop_after: int | None = None) -> None:
        """Take steps until the recipe ends, `stop_after` tokens are reached, or a signal asks to stop."""
        self.window = Window.new(self.accounts.meter)
        with ReadAhead(self._draw) as self._ahead:
            try:
                self._train(interruption, stop_after)
            except BaseException:  # the other ranks may be gone: it is counted, and no line tells of it
                self.accounts.add(self.window, self.window.seconds)
                raise

    def _train(self, interruption: Interruption, stop_after: int | None) -> None:
        execution = self.recipe.execution
        self.decoder.train()

        def ends() -> bool:
            return (
                self.finished or interruption.requested or bool(stop_after and self.step.clock >= stop_after)
            )

        while not ends():
            before = self.step
            self.enter(before)
            rates = self.optimizer.rates(before.middle)
            taken = self._take_step(before, rates)
            if interruption.agree(self.saver.failed) or self.saver.done:
                self.saver.finish()
            if not taken:
                continue
            self.step = self.schedule.step(before.step + 1)
            milestone = any(before.clock < clock <= self.step.clock for clock in execution.milestones)
            saving = milestone or _passes(execution.checkpoint_every, before, self.step)
            # What is on record up to a checkpoint is the same for a run that goes on from it.
            if saving or self.step.step % execution.log_every == 0 or self.finished or before.step == 0:
                self.log()
            with self.window.paused():
                if (saving or ends()) and not self.is_sound():
                    roll_back(self, "the weights are no longer finite")
                    continue
                if self.validation_is_due and not self.finished and not interruption.requested:
                    with interruption.breaking_off():  # the attempt that goes on from here makes up for it
                        validate(self)
                    self.decoder.train()
                if not self.finished:
                    measure_due_benchmarks(self, interruption)
                if saving and not self.finished:
                    save(self, milestone, wait=not execution.async_checkpoints)
        self.log()

    def enter(self, step: Step) -> None:
        """Set the base of the positions; announce a stage where one begins, with a fresh optimizer if that changes."""
        self.decoder.rope_theta = self._rope_theta(step.clock)
        kind = self._optimizer_kind(step.clock)
        if self._optimizer_changes_at(step):
            self.optimizer = self._new_optimizer(kind)
        stage = (step.batch_size, step.sequence_length, kind)
        if stage != self._stage:
            self.sinks.emit(StageEntered(step.step, step.clock, *stage))
            self._stage = stage

    def _stage_key(self, step: Step) -> list[int]:
        """Which segment, optimizer and mixture a step belongs to: losses of other ones do not compare."""
        training = self.recipe.training
        segment = self.schedule.segments.index(self.schedule.segment_of_step(step.step))
        return [
            segment,
            *(
                sum(knot.at <= step.clock for knot in knots)
                for knots in (training.optimizer, training.mixture)
            ),
        ]

    def _draw(self, place: tuple[Step, Journal]) -> Batch:
        """This rank's sequences of a step of a run that passed over what a journal says; called in a thread."""
        step, journal = place
        sequences = self.order.step_sequences(step, self.ranks.rank, self.ranks.world_size, journal=journal)
        batch = read_batch(sequences, self.corpus.train, documents=self.recipe.training.document_masking)
        return batch.pinned() if self.device.type == "cuda" else batch

    def _read(self, step: Step) -> Batch:
        """This rank's sequences of a step; where a shard is gone, what was learned so far is saved first."""
        journal, more = self.order.journal, step.step + 1 < self.schedule.steps
        following = (self.schedule.step(step.step + 1), journal) if more else None
        batch, problem = None, None
        try:
            batch = self._ahead.take((step, journal), following)
        except UserError as error:
            problem = error
        try:
            self.ranks.agree_on_problem(problem)
        except UserError:
            save_what_was_learned(self)
            raise
        assert batch is not None
        return batch

    def gradients(self, batch: Batch, step: Step, targets: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Add up the gradients of this rank's sequences of a step, one micro-batch after another.

        They are those of the mean loss over the `targets` that the step scores on all ranks. Returns the sums over
        these sequences and those of all other ranks of the cross-entropy in nats and of the squared log-partition,
        which stay on the device.
        """
        z_coefficient = self.recipe.training.z_loss.at(step.clock)
        cross_entropy = torch.zeros((), device=self.device)
        z = torch.zeros_like(cross_entropy)
        size = self.plan.micro_batch_for(self.ranks.share(step.batch_size), step.sequence_length)
        divisor = targets / self.ranks.world_size  # gradients are averaged over ranks
        for rows, counts, last in micro_batches(batch, size, self.ranks, step.batch_size):
            tokens = rows.tokens.to(self.device, non_blocking=True)
            with self.objective.one_pass(last):
                loss = self.objective(tokens, z_coefficient, rows.documents(self.device))
                (loss.total / divisor if counts else 0 * loss.total).backward()
            if counts:
                cross_entropy += loss.cross_entropy
                z += loss.z
        both = self.ranks.sum(torch.stack([cross_entropy, z]))
        return both[0], both[1]

    def _targets(self, batch: Batch, step: Step) -> int:
        """How many targets the step scores on all ranks, of which this one has `batch`."""
        if not self.recipe.training.document_masking:
            return step.tokens
        return int(self.ranks.total(batch.scored))

    def _take_step(self, step: Step, rates: dict[Role, float]) -> bool:
        """Forward and backward over micro-batches, then one update, unless the guard forbids it.

        The loss is over the whole batch's scored targets; without any, as with documents of one token each, there is
        nothing to judge or to learn, and the clock goes on. Returns whether the step was taken.
        """
        training, window = self.recipe.training, self.window
        waited = self._ahead.waited
        batch = self._read(step)
        window.data_seconds += self._ahead.waited - waited
        targets = self._targets(batch, step)
        if not targets:
            window.positions += step.tokens
            self.average.took(step.tokens)
            return True
        cross_entropy, z = self.gradients(batch, step, targets)
        norm = clip(list(self.decoder.parameters()), training.gradient_clip)
        # The one read from the device in a step: the guard decides before the weights are changed.
        loss, grad_norm = self.ranks.same(torch.stack([cross_entropy / targets, norm])).tolist()
        verdict = self.guard.judge(loss, grad_norm, self._stage_key(step))
        if not settle(self, step, verdict, loss, grad_norm):
            return False
        self.optimizer.step(rates, training.weight_decay.at(step.clock))
        self.float8.end_step()
        self.average.took(step.tokens)
        window.cross_entropy.append(cross_entropy)
        window.z.append(z)
        window.grad_norm.append(norm)
        window.targets += targets
        window.positions += step.tokens
        window.flops += step.tokens / self.ranks.world_size * self._flops[step.sequence_length]
        return True

    def log(self) -> None:
        """Count what happened since the last line, and emit the mean over its steps if there are any."""
        line = step_done(self) if self.window.targets else None
        self.accounts.add(self.window, line.seconds if line else self.window.seconds)
        try:
            if line:
                self.sinks.emit(line)
        finally:
            self.window = Window.new(self.accounts.meter)

    def is_sound(self) -> bool:
        """Whether every weight is finite, on every rank."""
        sound = all(bool(local(value.detach()).isfinite().all()) for value in self.decoder.parameters())
        return not self.ranks.any(not sound)[0]

    def _saved(self, event: CheckpointSaved) -> None:
        self.accounts.checkpoint_seconds += event.held_seconds
        self.sinks.emit(event)


def _passes(interval: int, before: Step, after: Step) -> bool:
    """Whether a multiple of `interval` tokens lies in (before, after]."""
    return interval > 0 and before.clock // interval < after.clock // interval
