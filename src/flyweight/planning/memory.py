"""Bytes of training on one device: what the loop holds at its fullest moment.

Counted, not guessed: the activations are those that our decoder's backward pass keeps, tensor by
tensor; in bfloat16 to within a tenth, since attention kernels differ. What allocators, libraries and
the device's own context add comes on top.
"""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.curriculum import Schedule
from flyweight.model import parameter_counts
from flyweight.planning.parameters import matrix_parameters, optimizer_values
from flyweight.recipe import Model, Recipe
from flyweight.training.objective import CHUNK_LOGITS

FLOAT32 = 4


@dataclass(frozen=True)
class Memory:
    """Parts of the memory in bytes, and the micro-batch that they hold for."""

    weights: int
    """float32."""
    gradients: int
    """float32."""
    optimizer: int
    """The largest state among the optimizers of the run, float32."""
    compute_copies: int
    """bfloat16 copies of the matrices, kept by autocast through a step; 0 in float32."""
    activations: int
    """What the backward pass of one micro-batch needs."""
    readout: int
    """A chunk of logits, and the readout's gradient."""
    micro_batch: int
    """Sequences in one forward pass; 1, the least, where the recipe leaves it to the machine."""
    sequence_length: int
    """The longest of the run."""
    precision: str
    """`float32` or `bfloat16`; the latter also where the recipe leaves it to the machine."""

    @property
    def total(self) -> int:
        """All parts together."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.compute_copies
            + self.activations
            + self.readout
        )


def training_memory(recipe: Recipe, schedule: Schedule) -> Memory:
    """The memory of training `recipe` with as small a micro-batch as it allows.

    Documents kept apart by a mask, where no kernel takes them as such, come on top with a byte or two a pair of
    positions: up to 2 B T T for all layers together.
    """
    model, execution = recipe.model, recipe.execution
    precision = "float32" if execution.precision == "float32" else "bfloat16"
    compute = FLOAT32 if precision == "float32" else 2
    micro_batch = 1 if execution.micro_batch == "auto" else execution.micro_batch
    largest = max(schedule.segments, key=lambda s: min(micro_batch, s.batch_size) * s.sequence_length)
    sequences = min(micro_batch, largest.batch_size)
    tokens = sequences * largest.sequence_length
    parameters = parameter_counts(model)["total"]
    kinds = {knot.kind for knot in recipe.training.optimizer}
    return Memory(
        weights=FLOAT32 * parameters,
        gradients=FLOAT32 * parameters,
        optimizer=FLOAT32 * max(optimizer_values(recipe, kind) for kind in kinds),
        compute_copies=0 if compute == FLOAT32 else compute * matrix_parameters(recipe),
        activations=activation_bytes(model, sequences, largest.sequence_length, compute),
        readout=_readout_bytes(model, tokens, compute),
        micro_batch=sequences,
        sequence_length=largest.sequence_length,
        precision=precision,
    )


def activation_bytes(model: Model, sequences: int, sequence_length: int, compute: int) -> int:
    """Bytes that the decoder keeps for its backward pass, without weights and their copies.

    Args:
        model: the decoder.
        sequences: B of the micro-batch.
        sequence_length: T.
        compute: bytes of a number in the matrix products, 2 or 4; the residual stream is float32.
    """
    tokens = sequences * sequence_length
    final_norm = _norm_bytes(model.hidden_size)
    rotary = FLOAT32 * model.head_dim * sequence_length
    identifiers = 8 * tokens
    return (
        tokens * (model.num_hidden_layers * _block_bytes(model, compute) + final_norm) + rotary + identifiers
    )


def _norm_bytes(width: int) -> int:
    """Of one vector: itself, normalised, and the reciprocal of its root mean square, in float32."""
    return FLOAT32 * (2 * width + 1)


def _block_bytes(model: Model, compute: int) -> int:
    """Of one token in one block."""
    heads, groups = model.num_attention_heads, model.num_key_value_heads
    query, key_value = heads * model.head_dim, groups * model.head_dim
    # Where the products are not in float32, what is computed in float32 is kept apart from its cast.
    casts = 0 if compute == FLOAT32 else 1
    norms = 2 * (_norm_bytes(model.hidden_size) + compute * model.hidden_size)
    projected = compute * (query + 2 * key_value)
    rotated = compute * (query + key_value)
    attended = 2 * compute * query + FLOAT32 * heads  # heads apart, heads joined, log-sum-exp
    feed_forward = 4 * compute * model.intermediate_size  # gate, up, silu(gate), their product
    total = norms + projected + rotated + attended + feed_forward
    if model.qk_norm:
        total += (FLOAT32 + casts * compute) * (query + key_value) + FLOAT32 * (heads + groups)
    if model.exclusive_attention:
        total += FLOAT32 * (key_value + 2 * groups + heads) + casts * FLOAT32 * (query + key_value)
    return total


def _readout_bytes(model: Model, tokens: int, compute: int) -> int:
    """The chunk of logits and its gradient, the readout's gradient, its copy for the products."""
    chunk = min(CHUNK_LOGITS, tokens * model.vocab_size)
    weight = model.vocab_size * model.hidden_size
    copy = 0 if compute == FLOAT32 else compute * weight
    return chunk * (FLOAT32 + compute) + FLOAT32 * weight + copy
