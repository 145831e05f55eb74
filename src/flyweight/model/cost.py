"""What a model costs: parameters and arithmetic, from its configuration alone."""

from __future__ import annotations

from flyweight.recipe import Model


def parameter_counts(model: Model) -> dict[str, int]:
    """Parameters by component; `per_block` is one of the `blocks`, `lm_head` is 0 where it is tied."""
    embedding = model.vocab_size * model.hidden_size
    per_block = _block_matrices(model) + _block_gains(model)
    blocks = model.num_hidden_layers * per_block
    lm_head = 0 if model.tie_word_embeddings else embedding
    return {
        "total": embedding + blocks + model.hidden_size + lm_head,
        "embedding": embedding,
        "per_block": per_block,
        "blocks": blocks,
        "final_norm": model.hidden_size,
        "lm_head": lm_head,
    }


def matrix_parameters(model: Model) -> int:
    """Parameters of the matrices that each token is multiplied with, the readout among them: N in 6 N D."""
    return model.num_hidden_layers * _block_matrices(model) + model.vocab_size * model.hidden_size


def flops_per_token(model: Model, sequence_length: int) -> float:
    """Floating-point operations of training on one token, forward and backward, in sequences of this length.

    6 for each parameter of the matrices (2 forward, 4 backward), the tied or untied readout among them and
    the look-up in the embedding not; and attention's two products, 12 * H * C * T a layer for a token that
    sees all T positions (PaLM, arXiv 2204.02311, appendix B), of which causality leaves half.
    """
    attention = 12 * model.num_hidden_layers * model.num_attention_heads * model.head_dim * sequence_length
    return 6.0 * matrix_parameters(model) + attention / 2


def _block_matrices(model: Model) -> int:
    query = model.hidden_size * model.num_attention_heads * model.head_dim
    key_value = 2 * model.hidden_size * model.num_key_value_heads * model.head_dim
    feed_forward = 3 * model.hidden_size * model.intermediate_size
    return query + key_value + query + feed_forward


def _block_gains(model: Model) -> int:
    return 2 * model.hidden_size + (2 * model.head_dim if model.qk_norm else 0)
