# SPDX-License-Identifier: Apache-2.0
"""Configuration of a Flyweight decoder, for transformers 5."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class FlyweightConfig(PreTrainedConfig):
    """A Llama-style decoder, with exclusive attention, QK-norm and forward multipliers where asked for."""

    model_type = "flyweight"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012 (transformers reads it off the class)

    vocab_size: int = 4096
    """Rows V of the embedding."""
    hidden_size: int = 192
    """Width D of the residual stream."""
    intermediate_size: int = 672
    """Width of the SwiGLU feed-forward."""
    num_hidden_layers: int = 9
    """Number of blocks."""
    num_attention_heads: int = 6
    """Query heads H."""
    num_key_value_heads: int = 2
    """Key/value heads K; each serves H/K query heads."""
    head_dim: int = 32
    """Width C of one head."""
    max_position_embeddings: int = 512
    """The longest sequence that the model is meant for."""
    rope_theta: float = 10_000.0
    """Base of the rotary position embedding."""
    rms_norm_eps: float = 1e-6
    """Epsilon of every RMSNorm."""
    tie_word_embeddings: bool = True
    """Whether the readout is the embedding's transpose."""
    qk_norm: bool = False
    """RMSNorm on each head's query and key before RoPE, one gain vector a layer shared by the heads."""
    exclusive_attention: bool = False
    """Each head's output loses its part along its own value vector (arXiv 2603.09078)."""
    embedding_multiplier: float = 1.0
    """Times the embedding's output; the readout does not see it."""
    residual_multiplier: float = 1.0
    """Times the output of each attention and feed-forward branch."""
    attention_multiplier: float | None = None
    """Times the product of query and key; 1/sqrt(head_dim) where it is not given."""
    logit_scale: float = 1.0
    """Times the logits."""
    initializer_range: float = 0.02
    """Standard deviation of matrices that are new, with no weights to load."""
    use_cache: bool = True
    """Whether keys and values are kept for the next call."""
    pad_token_id: int | None = None
    """Fills up rows of a batch."""
    bos_token_id: int | None = None
    """Stands before a text."""
    eos_token_id: int | list[int] | None = None
    """Ends a text."""

    def __post_init__(self, **kwargs):
        if self.attention_multiplier is None:
            self.attention_multiplier = self.head_dim**-0.5
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Called by `strict` when all fields are set."""
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) is not divisible by num_key_value_heads "
                f"({self.num_key_value_heads})"
            )


__all__ = ["FlyweightConfig"]
