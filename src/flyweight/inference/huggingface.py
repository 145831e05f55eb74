"""Any causal model in a Hugging Face folder as a language model."""

from __future__ import annotations

import importlib.util
import inspect
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flyweight.base import UserError, read_json
from flyweight.corpus import TextTokenizer
from flyweight.inference.caches import TransformersCache
from flyweight.inference.chat_format import ChatFormat
from flyweight.inference.foreign import check_folder
from flyweight.inference.huggingface_probes import model_inputs, reads_out_apart, takes_trees
from flyweight.inference.language_model import LanguageModel, Scored, score_in_parts, weights_fingerprint
from flyweight.inference.precision import Precision, autocast
from flyweight.model import Placement

LOGITS_ELEMENTS = 2**27
"""Logits held at once while scoring (512 MiB in float32): a big vocabulary scores fewer rows at a time."""

CONFIG_FILE = "config.json"
GGUF = ".gguf"
"""Ending of llama.cpp's files."""
_GGUF_NEEDS = ("gguf", "accelerate")
"""What transformers reads them with."""
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length")
_FALLBACK_LENGTH = 2048
"""lm-eval's choice for a configuration that names no length."""


class HuggingFaceModel(LanguageModel):
    """A folder with config.json, weights and tokenizer, run by transformers in float32.

    The readout runs only at the places that are asked for, where a trial shows that this gives the model's own
    logits; a model that scales or caps them is asked as a whole (for as few positions as its class allows).
    """

    def __init__(
        self,
        folder: str | Path,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        *,
        trust_remote_code: bool = False,
    ) -> None:
        """Load `folder`, or a file of llama.cpp's format (.gguf), without a network.

        Raises:
            UserError: no config.json there, a model that brings its own code without
                `trust_remote_code` (see `check_folder`), or files that transformers cannot load.
        """
        folder, device = Path(folder), torch.device(device)
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trust_remote_code}
        name = folder.resolve().name
        if folder.suffix == GGUF and folder.is_file():
            # Its weights are unpacked to float32; what reads it is transformers with the package gguf.
            folder, options["gguf_file"] = folder.parent, folder.name
        else:
            config = read_json(folder / CONFIG_FILE, "configuration of a Hugging Face model")
            check_folder(folder, config, trust_remote_code=trust_remote_code)
        self.model = _load(folder, "model", options).to(device).eval()
        loaded, tokenizer = _tokenizer(folder, options)
        stops = getattr(self.model.generation_config, "eos_token_id", None)
        stops = {tokenizer.end_of_text} | ({stops} if isinstance(stops, int) else set(stops or ()))
        super().__init__(
            name,
            tokenizer,
            _max_length(self.model.config),
            device,
            precision=precision,
            prefix_token=loaded.bos_token_id,
            stop_tokens=frozenset(stops),
        )
        self._chat_template, self._bos_token = _chat_template(loaded), loaded.bos_token or ""
        # Some architectures keep a mask of their own, as long as their positions.
        self.longest_row = self.max_length
        accepted = inspect.signature(self.model.forward).parameters
        self._keeps_some = "logits_to_keep" in accepted
        self._caches = "past_key_values" in accepted
        self._vocabulary = self.model.config.get_text_config().vocab_size

    @cached_property
    def takes_trees(self) -> bool:  # type: ignore[override]
        """Whether a row may be a tree: tried once, since architectures differ in which masks they take."""
        return takes_trees(self.model, self.device)

    @cached_property
    def chat(self) -> ChatFormat | None:  # type: ignore[override]
        """See `LanguageModel`; the folder's own template.

        Raises:
            UserError: it is not sound Jinja.
        """
        template = self._chat_template
        return ChatFormat(template, self.tokenizer, self._bos_token) if template else None

    @property
    def fingerprint(self) -> str:
        """See `LanguageModel`."""
        known = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "_attn_implementation"}
        config = {key: value for key, value in self.model.config.to_dict().items() if key not in known}
        return weights_fingerprint(self.model, json.dumps(config, sort_keys=True, default=str))

    @cached_property
    def _reads_out_apart(self) -> bool:
        """Whether the logits are the output embedding's product with the base model's last states, and nothing
        else: then the readout can be left to the places that are asked for."""
        return reads_out_apart(self.model, self.device)

    @torch.no_grad()
    def logits_at(
        self, tokens: Tensor, rows: Tensor, positions: Tensor, placement: Placement | None = None
    ) -> Tensor:
        """See `LanguageModel`."""
        inputs = model_inputs(self.model, tokens, placement)
        with autocast(self.device, self.precision):
            if self._reads_out_apart:
                states = self.model.base_model(**inputs).last_hidden_state[rows, positions]
                return self.model.get_output_embeddings()(states).float()
            if not self._keeps_some:
                return self.model(**inputs).logits[rows, positions].float()
            kept, places = positions.unique(return_inverse=True)
            logits = self.model(**inputs, logits_to_keep=kept).logits
        return logits[rows, places].float()

    @torch.no_grad()
    def score(
        self,
        tokens: Tensor,
        rows: Tensor,
        positions: Tensor,
        owners: Tensor,
        targets: Tensor,
        placement: Placement | None = None,
    ) -> Scored:
        """See `LanguageModel`; never holds more than LOGITS_ELEMENTS logits."""
        if self._reads_out_apart:
            at_once = max(1, LOGITS_ELEMENTS // self._vocabulary)
            with autocast(self.device, self.precision):
                states = self.model.base_model(
                    **model_inputs(self.model, tokens, placement)
                ).last_hidden_state
                readout = self.model.get_output_embeddings()
                return score_in_parts(states[rows, positions], readout, owners, targets, at_once)
        at_once = max(1, LOGITS_ELEMENTS // (tokens.shape[1] * self._vocabulary))
        if at_once >= len(tokens):
            return super().score(tokens, rows, positions, owners, targets, placement)
        log_probs = torch.empty(len(targets), device=self.device)
        likeliest = torch.empty(len(targets), dtype=torch.bool, device=self.device)
        for start in range(0, len(tokens), at_once):
            end = start + at_once
            here = (rows >= start) & (rows < end)
            mine = here[owners]
            if not mine.any():
                continue
            part = None if placement is None else Placement(*(tensor[start:end] for tensor in placement))
            found = super().score(
                tokens[start:end], rows[here] - start, positions[here], (here.cumsum(0) - 1)[owners[mine]],
                targets[mine], part,
            )  # fmt: skip
            log_probs[mine], likeliest[mine] = found
        return Scored(log_probs, likeliest)

    def new_cache(self, batch_size: int, length: int) -> Any:
        """See `LanguageModel`; transformers' own cache, which the first call makes."""
        return TransformersCache() if self._caches else super().new_cache(batch_size, length)

    def joins(self, cache: Any) -> bool:
        """See `LanguageModel`."""
        return not self._caches or cache.joins

    @torch.no_grad()
    def next_logits(self, tokens: Tensor, cache: Any, valid: Tensor | None = None) -> Tensor:
        """See `LanguageModel`."""
        if not self._caches:
            return super().next_logits(tokens, cache, valid)
        options: dict[str, Any] = {"logits_to_keep": 1} if self._keeps_some else {}
        if valid is not None:
            positions = (valid.cumsum(dim=1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
            options |= {"attention_mask": valid.long(), "position_ids": positions}
        with autocast(self.device, self.precision):
            output = self.model(input_ids=tokens, past_key_values=cache.past, use_cache=True, **options)
        cache.past = output.past_key_values
        return output.logits[:, -1].float()


def _load(folder: Path, what: str, options: dict[str, Any]) -> Any:
    """The model or the tokenizer in `folder`; transformers' many errors become one sentence."""
    place = folder / options["gguf_file"] if "gguf_file" in options else folder
    missing = [name for name in _GGUF_NEEDS if importlib.util.find_spec(name) is None]
    if place != folder and missing:
        raise UserError(
            f"{place}: reading GGUF needs {' and '.join(missing)}: pip install 'flyweight[eval]'."
        )
    # Imported here: it takes seconds, and a model of our own does not need it.
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    had_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it would run across our own progress
    try:
        if what == "model":
            # Weights in a pickle are read as tensors and nothing else; safetensors come first where both are there.
            return AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, weights_only=True, **options
            )
        return AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{place}: transformers cannot load the {what} here: {reason}") from error
    finally:
        if had_bar:
            logging.enable_progress_bar()


def _tokenizer(folder: Path, options: dict[str, Any]) -> tuple[Any, TextTokenizer]:
    """The folder's tokenizer, as transformers loads it and as ours."""
    loaded = _load(folder, "tokenizer", options)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"{folder}: this tokenizer has no fast form (tokenizer.json); convert it first.")
    end_of_text = loaded.eos_token or loaded.bos_token
    if end_of_text is None:
        raise UserError(f"{folder}: the tokenizer names neither an eos_token nor a bos_token; one is needed.")
    return loaded, TextTokenizer(backend, end_of_text)


def _chat_template(loaded: Any) -> str | None:
    """The tokenizer's chat template; of several by name, the one called default."""
    found = getattr(loaded, "chat_template", None)
    return found.get("default") if isinstance(found, dict) else found


def _max_length(config: Any) -> int:
    text = config.get_text_config()
    lengths = (getattr(text, key, None) for key in _LENGTH_KEYS)
    return next((length for length in lengths if isinstance(length, int)), _FALLBACK_LENGTH)
