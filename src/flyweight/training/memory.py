"""Bytes of training on one device: what the loop holds at its fullest moment.

Counted, not guessed: the parameters, what the backward pass keeps (`activations`), and what the loss, the backward
pass and the optimizer need beside them. What allocators waste, and the device's own context, come on top.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flyweight.curriculum import Schedule, Segment
from flyweight.model import parameter_counts
from flyweight.recipe import Model, Recipe
from flyweight.training.activations import FLOAT32, Carried, activation_bytes, block_bytes, document_bytes
from flyweight.training.parameters import matrix_parameters, optimizer_values
from flyweight.training.precision.choice import layer_shapes


@dataclass(frozen=True)
class Memory:
    """Parts of the memory in bytes at the fullest moment of a step, and what they hold for."""

    weights: int
    """float32."""
    gradients: int
    """float32; those that are there at that moment."""
    optimizer: int
    """The largest state among the optimizers of the run, float32."""
    average: int
    """The moving average of the weights, float32; 0 where none is kept."""
    compute_copies: int
    """Copies of the matrices for the products: bfloat16, or FP8 in two layouts; 0 in float32."""
    activations: int
    """What the backward pass of one micro-batch needs."""
    readout: int
    """A chunk of logits, and the readout's gradient."""
    working: int
    """What the backward pass of a block, or the optimizer, needs for a moment."""
    gathered: int
    """Parts of the model brought together from the other devices."""
    checkpoint_copy: int
    """Of what is written in the background while training goes on, where that is the device's own memory: on CPUs."""
    moment: str
    """`loss`, `backward` or `update`: when memory is fullest."""
    micro_batch: int
    """Sequences in one forward pass."""
    sequence_length: int
    """Of the stretch of the run that needs most."""
    precision: str
    """`float32` or `bfloat16`."""

    @property
    def total(self) -> int:
        """All parts together."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.average
            + self.compute_copies
            + self.activations
            + self.readout
            + self.working
            + self.gathered
            + self.checkpoint_copy
        )


def step_memory(recipe: Recipe, carried: Carried, sequences: int, length: int, passes: int) -> Memory:
    """The fullest moment of a step.

    Args:
        recipe: what is trained; the larger of its optimizers' states counts.
        carried: how it is carried out.
        sequences: B of a micro-batch.
        length: T.
        passes: micro-batches of a process in a step: gradients of the first stay through the forward pass of the
            second. DDP's stay in its buckets, and FSDP's whole on every device until the last pass.
    """
    model, tokens = recipe.model, sequences * length
    parameters = parameter_counts(model)["total"]
    kept = activation_bytes(model, sequences, length, carried)
    if recipe.training.document_masking:
        kept += document_bytes(model, sequences, length, carried)
    copies, at_loss = _copies(recipe, carried)
    state = FLOAT32 * max(optimizer_values(recipe, knot.kind) for knot in recipe.training.optimizer)
    readout = FLOAT32 * model.vocab_size * model.hidden_size
    replicated = carried.processes > 1 and carried.devices == 1
    gradients = FLOAT32 * parameters if passes > 1 or replicated else 0
    hidden = FLOAT32 * tokens * model.hidden_size
    average = FLOAT32 * parameters if recipe.execution.ema_half_life else 0
    copied = FLOAT32 * parameters + state + average if _copies_checkpoints(recipe, carried) else 0
    at_end = Memory(
        weights=FLOAT32 * parameters,
        gradients=gradients,
        optimizer=state,
        average=average,
        compute_copies=at_loss,
        activations=kept,
        readout=_loss_bytes(model, tokens, carried),
        working=0,
        gathered=0,
        checkpoint_copy=-(-copied // carried.processes),  # each writes its share
        moment="loss",
        micro_batch=sequences,
        sequence_length=length,
        precision=carried.precision,
    )
    one_block = int(tokens * _block_work(model, length, carried))
    moments = [
        at_end,
        # The last block, when everything before it is still there.
        replace(
            at_end,
            moment="backward",
            gradients=gradients + readout,
            compute_copies=copies,
            readout=hidden,
            working=one_block,
        ),
        # The embedding, when every gradient is there, and its own is added to the readout's.
        replace(
            at_end,
            moment="backward",
            gradients=FLOAT32 * parameters,
            compute_copies=0 if not carried.fp8_layers else copies,
            activations=hidden,
            readout=readout,
            working=0,
        ),
        replace(
            at_end,
            moment="update",
            gradients=FLOAT32 * parameters,
            compute_copies=0,
            activations=0,
            readout=0,
            working=_update_bytes(recipe, carried),
        ),
    ]
    laid_out = (_laid_out(moment, model, carried, accumulates=passes > 1) for moment in moments)
    return max(laid_out, key=lambda memory: memory.total)


def training_memory(
    recipe: Recipe, schedule: Schedule, carried: Carried, micro_tokens: int | None = None
) -> Memory:
    """The fullest moment of a run: of the stretch of its schedule that needs most.

    Args:
        recipe: what is trained; `execution.micro_batch` decides where it is a number.
        schedule: of the run.
        carried: how it is carried out.
        micro_tokens: tokens of a micro-batch at most, at least one sequence; one sequence when left out.
    """

    def of(segment: Segment) -> Memory:
        wanted = recipe.execution.micro_batch
        if wanted == "auto":
            wanted = max(1, (micro_tokens or 1) // segment.sequence_length)
        share = -(-segment.batch_size // carried.processes)
        passes = -(-share // min(wanted, share))
        sequences = -(-share // passes)
        return step_memory(recipe, carried, sequences, segment.sequence_length, passes)

    shapes = {(part.batch_size, part.sequence_length): part for part in schedule.segments}
    return max(map(of, shapes.values()), key=lambda memory: memory.total)


def largest_micro_batch(recipe: Recipe, carried: Carried, segment: Segment, room: float, most: int) -> int:
    """Sequences of the largest micro-batch of `segment` that fits into `room` bytes, at most `most`; 0 if none does.

    Micro-batches of a step are equal but for the last, so that only sizes which make fewer passes are tried.
    """
    found, share = 0, -(-segment.batch_size // carried.processes)
    for passes in range(share, 0, -1):
        sequences = -(-share // passes)
        if sequences == found or sequences > most:
            continue
        if step_memory(recipe, carried, sequences, segment.sequence_length, passes).total > room:
            break
        found = sequences
    return found


def _laid_out(memory: Memory, model: Model, carried: Carried, *, accumulates: bool) -> Memory:
    """On each of several devices: a part of weights, gradients and state, and two blocks brought together.

    Gradients that are added up over several passes are cut only in the last of them.
    """
    if carried.devices == 1:
        return memory
    counts = parameter_counts(model)
    together = 2 * counts["per_block"] + counts["embedding"] + counts["lm_head"]
    cut = ["weights", "optimizer", "average"]
    if not accumulates or memory.moment == "update":
        cut.append("gradients")
    parts = {name: -(-getattr(memory, name) // carried.devices) for name in cut}
    whole = 0 if memory.moment == "update" else FLOAT32 * together
    return replace(memory, **parts, gathered=whole)


def _copies_checkpoints(recipe: Recipe, carried: Carried) -> bool:
    """Whether steps are taken beside a copy of the checkpoint in the device's memory."""
    execution = recipe.execution
    between = execution.checkpoint_every or execution.milestones
    return carried.device_type == "cpu" and execution.async_checkpoints and bool(between)


def _copies(recipe: Recipe, carried: Carried) -> tuple[int, int]:
    """Bytes of the matrices' copies in the backward pass, and at the end of the forward pass.

    Autocast's live as long as the products that will need them; where blocks are computed again, that is a block.
    """
    if carried.compute == FLOAT32:
        return 0, 0
    layers = recipe.model.num_hidden_layers
    shapes = layer_shapes(recipe, 1)
    fp8 = layers * sum(2 * s.inputs * s.outputs for name, s in shapes.items() if name in carried.fp8_layers)
    plain = matrix_parameters(recipe) - fp8 // 2
    kept = carried.compute * plain
    return (fp8 + kept // layers, fp8) if carried.checkpointed else (fp8 + kept, fp8 + kept)


def _loss_bytes(model: Model, tokens: int, carried: Carried) -> int:
    """The fullest moment of the chunked loss: logits and their gradient, and the gradients of hidden and readout."""
    compute, mixed = carried.compute, carried.compute < FLOAT32
    positions = min(tokens, max(1, carried.chunk_logits // model.vocab_size))
    chunk, several = positions * model.vocab_size, tokens > positions
    weight, hidden = model.vocab_size * model.hidden_size, tokens * model.hidden_size
    always = FLOAT32 * weight + compute * hidden + (compute * (weight + hidden) if mixed else 0)
    steady = FLOAT32 + (compute if mixed else 0)  # softmax, and its gradient as the products want it
    # The next chunk's logits are made while the gradient of the one before is there.
    logits, before = FLOAT32 + (compute if mixed else 0), compute if mixed else FLOAT32
    beginning = logits + (before if several else 0)
    return always + max(
        chunk * beginning,
        chunk * steady + compute * weight,
        chunk * steady + (FLOAT32 * hidden if mixed else 0),
    )


def _block_work(model: Model, length: int, carried: Carried) -> float:
    """Bytes a token that the backward pass of a block needs at its fullest, beside what was kept.

    That is in the feed-forward part, where gradients take the place of what they make superfluous: of gate and up,
    before they are joined.
    """
    again = block_bytes(model, length, carried) if carried.checkpointed else 0.0
    return again + carried.compute * 2 * model.intermediate_size + FLOAT32 * model.hidden_size


def _update_bytes(recipe: Recipe, carried: Carried) -> int:
    """Muon's momentum with the gradient, its copy for the products, and what Newton-Schulz makes of it.

    AdamW's update is fused and needs nothing.
    """
    if all(knot.kind != "muon" for knot in recipe.training.optimizer):
        return 0
    shapes = layer_shapes(recipe, 1).values()
    largest = max(shape.inputs * shape.outputs for shape in shapes)
    stacked = max(largest, min(carried.muon_stack_bytes // FLOAT32, recipe.model.num_hidden_layers * largest))
    copy = 0 if carried.compute == FLOAT32 else carried.compute
    return int(stacked * (FLOAT32 + copy + 2 * carried.compute))
