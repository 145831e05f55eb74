"""Bytes that the decoder keeps for its backward pass, tensor by tensor.

Counted from what our layers, torch's kernels and torch.compile (which keeps a block's inputs and the results of its
products, and computes the rest again) were seen to save; tests count them again.

Shapes: T (sequence), D (hidden), H (query heads), K (key/value heads), C (head_dim), F (intermediate).
"""

from __future__ import annotations

from dataclasses import dataclass

from flyweight.inference import Precision
from flyweight.model import AttentionKernel
from flyweight.model.block_attention import LONGEST, weights_per_head
from flyweight.recipe import Model
from flyweight.training.objective import CHUNK_LOGITS

FLOAT32 = 4


@dataclass(frozen=True)
class Carried:
    """How a decoder is carried out, as far as memory depends on it."""

    precision: Precision
    device_type: str = "cuda"
    """`cpu`, `cuda` or `mps`: torch's attention keeps other tensors on CPUs."""
    attention: AttentionKernel = "sdpa"
    compiled: bool = False
    fp8_layers: tuple[str, ...] = ()
    """Names, within each block, of the linear layers in FP8."""
    checkpointed: bool = False
    """Whether only the inputs of blocks are kept, and the rest is computed again block by block."""
    processes: int = 1
    """Among which the sequences of a step are shared out."""
    devices: int = 1
    """Over which weights, gradients and optimizer state are laid out in parts."""
    chunk_logits: int = CHUNK_LOGITS
    """Logits that exist at once in the loss."""
    muon_stack_bytes: int = 0
    """The largest stack of matrices, in float32, that Muon works on at once; at least one matrix is."""

    @property
    def compute(self) -> int:
        """Bytes of a number in the matrix products."""
        return FLOAT32 if self.precision == "float32" else 2


def activation_bytes(model: Model, sequences: int, sequence_length: int, carried: Carried) -> int:
    """Bytes kept at the end of the forward pass of a micro-batch, without weights and copies of them.

    Args:
        model: the decoder.
        sequences: B of the micro-batch.
        sequence_length: T.
        carried: how it is carried out.
    """
    tokens = sequences * sequence_length
    block = FLOAT32 * model.hidden_size if carried.checkpointed else block_bytes(
        model, sequence_length, carried
    )  # fmt: skip
    final_norm = _norm_bytes(model.hidden_size)
    rotary = FLOAT32 * model.head_dim * sequence_length
    identifiers = 8 * tokens
    return int(tokens * (model.num_hidden_layers * block + final_norm)) + rotary + identifiers


def document_bytes(model: Model, sequences: int, sequence_length: int, carried: Carried) -> int:
    """What keeping documents apart adds to `activation_bytes`: a mask, and rotary tables for every sequence."""
    rotary = FLOAT32 * model.head_dim * sequence_length * (sequences - 1)
    pairs = sequences * sequence_length**2
    if carried.attention in ("varlen", "flex"):
        return rotary
    if carried.attention == "blocks" and sequence_length <= LONGEST:
        return rotary + 2 * pairs
    if carried.device_type == "cpu":
        return rotary + FLOAT32 * pairs
    # Of True and False, and what torch makes of it and may keep, in every layer.
    layers = 1 if carried.checkpointed else model.num_hidden_layers
    return rotary + (1 + carried.compute * layers) * pairs


def block_bytes(model: Model, sequence_length: int, carried: Carried) -> float:
    """Of one token in one block."""
    shape = _Shape(model, sequence_length, carried)
    return shape.compiled() if carried.compiled else shape.eager()


def _norm_bytes(width: int) -> int:
    """Of one vector: itself, normalised, and the reciprocal of its root mean square, in float32."""
    return FLOAT32 * (2 * width + 1)


class _Shape:
    """The widths of a block, and what its parts keep of a token."""

    def __init__(self, model: Model, length: int, carried: Carried) -> None:
        self.model, self.carried = model, carried
        self.hidden, self.intermediate = model.hidden_size, model.intermediate_size
        self.heads, self.groups = model.num_attention_heads, model.num_key_value_heads
        self.query, self.key_value = self.heads * model.head_dim, self.groups * model.head_dim
        self.compute = carried.compute
        self.mixed = carried.precision == "bfloat16"
        self.blocks = carried.attention == "blocks" and length <= LONGEST
        self.weights = self.compute * self.heads * weights_per_head(length) / length if self.blocks else 0.0
        # torch's attention on CPUs is given float32.
        self.float32_attention = self.mixed and carried.device_type == "cpu" and not self.blocks

    def _input(self, layer: str, width: int) -> int:
        """What a linear layer keeps of its input: FP8 ones keep it in FP8."""
        return width if layer in self.carried.fp8_layers else self.compute * width

    def _inputs(self) -> int:
        return (
            self._input("self_attn.qkv_proj", self.hidden)
            + self._input("self_attn.o_proj", self.query)
            + self._input("mlp.gate_up_proj", self.hidden)
            + self._input("mlp.down_proj", self.intermediate)
        )

    def _attention(self) -> float:
        """The kernel's own: queries, keys, values, and their result or their weights."""
        if self.blocks:
            return self.compute * (2 * self.query + 3 * self.key_value) + self.weights
        log_sum_exp = FLOAT32 * self.heads
        if self.float32_attention:
            return FLOAT32 * 2 * (self.query + self.key_value) + log_sum_exp
        # Values are a part of the projection, which stays whole. On CUDA the result lies as the layer after it
        # wants it, and counts as its input already, unless something comes in between.
        apart = self.carried.device_type != "cuda" or self.model.exclusive_attention
        return (
            self.compute * (2 * self.query + 3 * self.key_value + (self.query if apart else 0)) + log_sum_exp
        )

    def _projected(self) -> int:
        """The projection itself, where attention has kept a cast of it and something else needs it too."""
        return self.compute * (self.query + 2 * self.key_value) if self.float32_attention else 0

    def eager(self) -> float:
        """Every operation keeps what its own backward pass needs."""
        model, casts = self.model, int(self.mixed)
        total = 2 * _norm_bytes(self.hidden) + self._inputs() + self._attention()
        total += 3 * self.compute * self.intermediate  # gate, up, silu(gate)
        if model.qk_norm:
            total += (FLOAT32 + casts * self.compute) * (self.query + self.key_value)
            total += FLOAT32 * (self.heads + self.groups)
        if model.exclusive_attention:
            total += FLOAT32 * (self.key_value + 2 * self.groups + self.heads)
            total += casts * FLOAT32 * (self.query + self.key_value)
            if self.blocks and not casts:
                total += FLOAT32 * self.query
        return total

    def compiled(self) -> float:
        """What the products give and take; norms, rotations and SwiGLU are computed again."""
        model = self.model
        total = FLOAT32 * self.hidden + 2 * FLOAT32 + self._inputs() + self._attention()
        total += self.compute * (2 * self.intermediate + self.hidden)  # gate and up; what attention adds
        if model.qk_norm:
            total += FLOAT32 * (self.heads + self.groups)
        if model.exclusive_attention:
            total += FLOAT32 * (self.key_value + self.groups + self.heads)
            total += self.compute * self.query if self.blocks else 0
        if model.qk_norm or model.exclusive_attention:
            total += self._projected()
        return total
