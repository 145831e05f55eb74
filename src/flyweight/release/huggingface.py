"""A checkpoint becomes a Hugging Face folder that has been loaded back before anybody sees it.

Every file is written plainly here, none by transformers' own save: what stands in the folder is what stands
in this file, and the check that ends each export shows that transformers reads it as meant.
"""

from __future__ import annotations

import importlib.metadata
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from flyweight.base import atomic_folder, read_json, write_json
from flyweight.corpus import TextTokenizer
from flyweight.inference import ChatFormat, chat_format, find_checkpoint
from flyweight.model import Decoder, FoldedWeights, stock_class, stock_config
from flyweight.recipe import Recipe
from flyweight.release.checks import (
    FOLDED_BFLOAT16_DIFFERENCE,
    Checks,
    Expected,
    check_export,
    probe_conversation,
)
from flyweight.release.record import EXPORT_FILE, file_hashes, record_of, refuse_foreign_folder
from flyweight.release.source import read_source

CUSTOM_CLASS = "FlyweightForCausalLM"
CODE_FILES = ("configuration_flyweight.py", "modeling_flyweight.py")
AUTO_MAP = {
    "AutoConfig": "configuration_flyweight.FlyweightConfig",
    # vLLM looks for the model without its readout; transformers' own save would leave this line out.
    "AutoModel": "modeling_flyweight.FlyweightModel",
    "AutoModelForCausalLM": "modeling_flyweight.FlyweightForCausalLM",
}

Dtype = Literal["float32", "bfloat16"]
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Export:
    """A finished export."""

    folder: Path
    """Where it is."""
    name: str
    """The recipe's name."""
    model_class: str
    """The class that holds it: LlamaForCausalLM, Qwen3ForCausalLM, or our own FlyweightForCausalLM."""
    custom_code: bool
    """Whether loading needs `trust_remote_code=True`."""
    dtype: Dtype
    """Of the stored weights."""
    clock: int
    """Tokens that the checkpoint had seen."""
    checks: Checks
    """What the check measured."""
    seconds: float
    """How long the export took."""

    @property
    def maximum_difference(self) -> float:
        """Largest difference between the loaded export's logits and the checkpoint's."""
        return self.checks.maximum_difference


def export(
    checkpoint: str | Path,
    out: str | Path,
    *,
    dtype: Dtype = "float32",
    progress: Progress | None = None,
    finish: Callable[[Path], object] | None = None,
) -> Export:
    """Write the model of a checkpoint to the folder `out`, and load it back in a fresh process.

    Args:
        checkpoint: a checkpoint folder, a run folder, or RUN@TOKENS.
        out: a new folder, or that of an earlier export, which is replaced.
        dtype: of the stored weights.
        progress: called with what is being done and the share that is done.
        finish: called with the folder before it takes its place; writes what else belongs there, such as a card.

    Raises:
        UserError: no such checkpoint, a damaged one, or an `out` that holds something else.
        ExportError: the loaded export differs from the checkpoint. `out` stays as it was.
    """
    started, out = time.monotonic(), Path(out)
    report = progress or (lambda _what, _share: None)
    refuse_foreign_folder(out)
    found = find_checkpoint(checkpoint)
    report("reading the checkpoint", 0.0)
    source = read_source(found)
    decoder, recipe, tokenizer = source.decoder, source.recipe, source.tokenizer
    with atomic_folder(out.absolute()) as folder:
        report("writing the folder", 0.1)
        expected = write_folder(folder, decoder, recipe, tokenizer, dtype)
        report("loading it back in a fresh process", 0.3)
        if dtype == "bfloat16":
            _round_to_bfloat16(decoder)
        checks = check_export(folder, decoder, tokenizer, expected)
        finished = Export(
            folder=out,
            name=recipe.name,
            model_class=expected.model_class,
            custom_code=expected.custom_code,
            dtype=dtype,
            clock=source.state["clock"],
            checks=checks,
            seconds=time.monotonic() - started,
        )
        about: dict[str, Any] = {
            "model_class": finished.model_class,
            "custom_code": finished.custom_code,
            "dtype": finished.dtype,
            "checks": checks.to_dict(),
            **file_hashes(folder),
        }
        write_json(folder / EXPORT_FILE, record_of(source, finished.seconds) | about)
        if finish is not None:
            finish(folder)
    report("done", 1.0)
    return finished


def write_folder(
    folder: Path, decoder: Decoder, recipe: Recipe, tokenizer: TextTokenizer, dtype: Dtype = "float32"
) -> Expected:
    """Write weights, configuration, tokenizer and, where needed, modeling code; say what should load back."""
    stock = stock_class(recipe.model, recipe.parametrization)
    if stock is not None:
        config: dict[str, Any] = stock_config(decoder.config, recipe.parametrization)
        weights: Mapping[str, Tensor] = FoldedWeights(
            decoder.state_dict(), decoder.config, recipe.parametrization
        )
    else:
        config, weights = _custom_config(decoder), _custom_weights(decoder)
        for name in CODE_FILES:
            shutil.copyfile(Path(__file__).parent / "hf_code" / name, folder / name)
    special = {key: tokenizer.end_of_text for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    version = {"transformers_version": importlib.metadata.version("transformers")}
    write_json(folder / "config.json", config | special | {"dtype": dtype, "use_cache": True} | version)
    chat = chat_format(recipe, tokenizer)
    # A chat ends where the assistant's message does.
    turn = None if chat is None else chat.end_of_turn
    stops = [tokenizer.end_of_text, *([] if turn in (None, tokenizer.end_of_text) else [turn])]
    ends = {"eos_token_id": stops if len(stops) > 1 else tokenizer.end_of_text}
    write_json(folder / "generation_config.json", special | ends | version)
    _write_tokenizer(folder, tokenizer, recipe.model.max_position_embeddings, chat)
    # transformers asks for the metadata; a number of readers refuse a file without it.
    # Folded weights are made one by one: only what is stored is a second copy of the model.
    stored = {name: weight.to(getattr(torch, dtype)).contiguous() for name, weight in weights.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    loose = dtype == "bfloat16" and stock is not None and not _folds_without_rounding(decoder)
    return Expected(
        model_class=stock or CUSTOM_CLASS,
        custom_code=stock is None,
        tied=recipe.model.tie_word_embeddings,
        parameters=sum(parameter.numel() for parameter in decoder.parameters()),
        end_of_text=tokenizer.end_of_text,
        stop_tokens=stops,
        conversation=probe_conversation(chat),
        relative_tolerance=FOLDED_BFLOAT16_DIFFERENCE if loose else None,
    )


def _folds_without_rounding(decoder: Decoder) -> bool:
    """Whether every multiplier that goes into weights is a power of two, which bfloat16 takes exactly."""
    factors = decoder.multipliers
    attention = factors.attention * math.sqrt(decoder.config.head_dim)
    folded = (factors.embedding, factors.residual, attention, factors.logits)
    return all(math.frexp(round(factor, 12))[0] == 0.5 for factor in folded)


def _custom_config(decoder: Decoder) -> dict[str, Any]:
    """The content of config.json for our own class; no weight is folded there, so multipliers are in it."""
    model, factors = decoder.config, decoder.multipliers
    names = (
        "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads "
        "head_dim max_position_embeddings rope_theta rms_norm_eps tie_word_embeddings qk_norm "
        "exclusive_attention"
    )
    return {
        "architectures": [CUSTOM_CLASS],
        "auto_map": AUTO_MAP,
        "model_type": "flyweight",
        **{name: getattr(model, name) for name in names.split()},
        "embedding_multiplier": factors.embedding,
        "residual_multiplier": factors.residual,
        "attention_multiplier": factors.attention,
        "logit_scale": factors.logits,
        "initializer_range": decoder.parametrization.init_std,
    }


def _custom_weights(decoder: Decoder) -> dict[str, Tensor]:
    """The decoder's own weights, bit for bit, by the names of our modeling code."""
    return {
        name if name.startswith("lm_head.") else f"model.{name}": weight
        for name, weight in decoder.state_dict().items()
    }


def _write_tokenizer(
    folder: Path, tokenizer: TextTokenizer, max_length: int, chat: ChatFormat | None
) -> None:
    tokenizer.save(folder)
    if tokenizer.backend.num_special_tokens_to_add(False):
        # An adopted tokenizer that puts a BOS before every text: training never saw it there.
        content = read_json(folder / "tokenizer.json")
        write_json(folder / "tokenizer.json", content | {"post_processor": None})
    special = {key: tokenizer.end_of_text_text for key in ("bos_token", "eos_token", "pad_token")}
    settings: dict[str, Any] = {
        # The class that takes tokenizer.json as it is; others rebuild their own pre-tokenizer around it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "padding_side": "left",  # a batch of prompts then ends where generation begins
        "model_input_names": ["input_ids", "attention_mask"],
    }
    if chat is not None:
        # Here, and not in a file of its own: older readers know no other place, newer ones know this one too.
        settings["chat_template"] = chat.template
    write_json(folder / "tokenizer_config.json", special | settings)


@torch.no_grad()
def _round_to_bfloat16(decoder: Decoder) -> None:
    """The reference for an export in bfloat16: its weights, computed with in float32."""
    for parameter in decoder.parameters():
        parameter.copy_(parameter.bfloat16())
