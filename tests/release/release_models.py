"""Small models of every kind that an export has to hold."""

from __future__ import annotations

import torch

from flyweight.model import Decoder
from flyweight.recipe import Recipe, recipe_from_dict

END_OF_TEXT = "<|endoftext|>"
CHAT_TOKENS = ["<|im_start|>", "<|im_end|>"]
MINICPM = {"kind": "minicpm", "scale_emb": 12.0, "scale_depth": 1.4, "dim_model_base": 20, "init_std": 0.3}
XMODEL = {"kind": "xmodel-2.5", "scale_emb": 3.0, "scale_depth": 1.7, "dim_model_base": 24, "init_std": 0.4}
PLAIN = {"init_std": 0.25}

KINDS: dict[str, tuple[str, dict, dict]] = {
    "gpt-s": ("FlyweightForCausalLM", PLAIN, {"exclusive_attention": True, "rope_theta": 2500.0}),
    "everything": (
        "FlyweightForCausalLM",
        XMODEL,
        {
            "exclusive_attention": True,
            "qk_norm": True,
            "scale_embedding": True,
            "tie_word_embeddings": False,
        },
    ),
    "heads that do not divide the width": (
        "FlyweightForCausalLM",
        MINICPM,
        {"num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 8},
    ),
    "gqa": ("LlamaForCausalLM", PLAIN, {}),
    "gqa untied": ("LlamaForCausalLM", PLAIN, {"tie_word_embeddings": False}),
    "gpt-x2": ("Qwen3ForCausalLM", PLAIN, {"qk_norm": True, "scale_embedding": True, "rope_theta": 1e5}),
    "minicpm": ("LlamaForCausalLM", MINICPM, {"rms_norm_eps": 1e-5}),
    "xmodel-2.5": ("LlamaForCausalLM", XMODEL, {"rms_norm_eps": 1e-5}),
    "xmodel-2.5 with qk-norm": ("Qwen3ForCausalLM", XMODEL, {"qk_norm": True}),
}
"""By name: the class that an export of it has, its parametrization, and what its model asks for."""


def make_recipe(kind: str) -> Recipe:
    _, parametrization, options = KINDS[kind]
    model = {
        "vocab_size": 320,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 96,
    }
    return recipe_from_dict(
        {
            "name": kind,
            "model": model | options,
            "parametrization": parametrization,
            "tokenizer": {"vocab_size": 300, "end_of_text": END_OF_TEXT},
            "sources": {"python": {"kind": "builtin", "builtin": "python"}},
            "training": {
                "tokens": 100_000,
                "sequence_length": 64,
                "batch_size": 4,
                "mixture": [{"at": 0, "weights": {"python": 1.0}}],
                "learning_rate": 1e-3,
            },
        }
    )


@torch.no_grad()
def make_decoder(recipe: Recipe, seed: int = 0) -> Decoder:
    """Weights that make every option matter: wide matrices, and gains that differ from 1 and each other."""
    decoder = Decoder(recipe.model, recipe.parametrization).initialize(seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in decoder.named_parameters():
        if name.endswith("norm.weight"):
            parameter.copy_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
    return decoder
