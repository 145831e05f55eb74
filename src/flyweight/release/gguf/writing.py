"""A model of a stock class as a GGUF file: llama.cpp's names, layouts and types.

The file is written tensor by tensor, so that no more than one of them exists a second time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flyweight.model import FoldedWeights
from flyweight.release.gguf.vocabulary import MODEL, Vocabulary

GgufType = Literal["f32", "f16", "bf16", "q8_0"]

ARCHITECTURES = {"LlamaForCausalLM": "llama", "Qwen3ForCausalLM": "qwen3"}
"""llama.cpp's names of the stock classes."""

_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.weight")


def write_gguf(
    path: Path,
    name: str,
    config: Mapping[str, Any],
    weights: FoldedWeights,
    vocabulary: Vocabulary,
    kind: GgufType,
    *,
    chat_template: str | None = None,
) -> None:
    """Write the file.

    Args:
        path: of the file.
        name: of the model, for people.
        config: of the stock class, as in config.json.
        weights: by the stock class's names; a tied readout is left out.
        vocabulary: of the tokenizer.
        kind: how matrices are stored; gains stay in float32, and so do rows that blocks of 32 do not divide.
        chat_template: Jinja, as in Hugging Face's tokenizers.
    """
    import gguf

    architecture = ARCHITECTURES[config["architectures"][0]]
    writer = gguf.GGUFWriter(path, architecture)
    _write_settings(writer, name, config, kind)
    _write_vocabulary(writer, vocabulary, chat_template)
    kinds = {weight: _kind(weights.shape(weight), kind) for weight in weights}
    for weight in weights:
        shape, dtype = _stored_as(weights.shape(weight), kinds[weight])
        size = int(np.prod(shape)) * dtype.itemsize
        writer.add_tensor_info(gguf_name(weight), shape, dtype, size, raw_dtype=kinds[weight])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for weight, tensor in weights.items():
        array = tensor.numpy()
        if architecture == "llama" and weight.endswith(("q_proj.weight", "k_proj.weight")):
            array = interleaved(array, config["head_dim"])
        writer.write_tensor_data(gguf.quants.quantize(np.ascontiguousarray(array), kinds[weight]))
    writer.close()


def gguf_name(weight: str) -> str:
    """llama.cpp's name of a stock class's weight."""
    if (found := _LAYER.fullmatch(weight)) is not None:
        return f"blk.{found[1]}.{_NAMES[found[2]]}.weight"
    return _NAMES[weight]


def interleaved(array: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows of q or k (H*C, D) as llama.cpp's `llama` turns them: it pairs neighbours (2i, 2i+1), Hugging Face's
    Llama the halves (i, i + C/2)."""
    heads = array.reshape(-1, 2, head_dim // 2, array.shape[1])
    return heads.swapaxes(1, 2).reshape(array.shape)


def _kind(shape: tuple[int, ...], kind: GgufType) -> Any:
    from gguf import GGMLQuantizationType as Kinds

    if len(shape) == 1 or (kind == "q8_0" and shape[1] % 32):
        return Kinds.F32
    return Kinds[kind.upper()]


def _stored_as(shape: tuple[int, ...], kind: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array that is written: of bytes, where numpy has no such type."""
    from gguf.quants import quant_shape_to_byte_shape

    if kind.name in ("BF16", "Q8_0"):
        return quant_shape_to_byte_shape(shape, kind), np.dtype(np.uint8)
    return shape, np.dtype({"F32": np.float32, "F16": np.float16}[kind.name])


def _write_settings(writer: Any, name: str, config: Mapping[str, Any], kind: GgufType) -> None:
    import gguf

    writer.add_name(name)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    # Otherwise they are taken for hidden_size / heads, which they need not be.
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    types = gguf.LlamaFileType
    writer.add_file_type(
        {"f32": types.ALL_F32, "f16": types.MOSTLY_F16, "bf16": types.MOSTLY_BF16, "q8_0": types.MOSTLY_Q8_0}[
            kind
        ]
    )
    if kind == "q8_0":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _write_vocabulary(writer: Any, vocabulary: Vocabulary, chat_template: str | None) -> None:
    writer.add_tokenizer_model(MODEL)
    writer.add_tokenizer_pre(vocabulary.pattern)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(vocabulary.end_of_text)
    writer.add_eos_token_id(vocabulary.end_of_text)
    writer.add_pad_token_id(vocabulary.end_of_text)
    if vocabulary.end_of_turn is not None:
        writer.add_eot_token_id(vocabulary.end_of_turn)
    # As the Hugging Face folder: text becomes its own tokens and nothing else.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
