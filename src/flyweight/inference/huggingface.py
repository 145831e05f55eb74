"""Any causal model in a Hugging Face folder as a language model."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flyweight.base import UserError, read_json
from flyweight.corpus import TextTokenizer
from flyweight.inference.language_model import LanguageModel
from flyweight.inference.precision import Precision, autocast

LOGITS_ELEMENTS = 2**27
"""Logits held at once while scoring (512 MiB in float32): a big vocabulary scores fewer rows at a time."""

CONFIG_FILE = "config.json"
_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length")
_FALLBACK_LENGTH = 2048
"""lm-eval's choice for a configuration that names no length."""


class HuggingFaceModel(LanguageModel):
    """A folder with config.json, weights and tokenizer, run by transformers in float32.

    Logits always come from the whole model, so that a logit scale or soft-cap is in them; where the
    class has `logits_to_keep` the readout runs only at the positions that some row asks for.
    """

    def __init__(
        self,
        folder: str | Path,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        *,
        trust_remote_code: bool = False,
    ) -> None:
        """Load `folder`, without a network.

        Raises:
            UserError: no config.json there, a model that brings its own code without
                `trust_remote_code`, or files that transformers cannot load.
        """
        folder, device = Path(folder), torch.device(device)
        config = read_json(folder / CONFIG_FILE, "configuration of a Hugging Face model")
        if "auto_map" in config and not trust_remote_code:
            raise UserError(
                f"{folder}: this model brings its own Python code, which runs only when you trust it; read "
                f"{', '.join(sorted(file.name for file in folder.glob('*.py'))) or 'it'}, then ask for it "
                f"with --trust-remote-code."
            )
        options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
        self.model = _load(folder, "model", options).to(device).eval()
        tokenizer, bos = _tokenizer(folder, options)
        stops = getattr(self.model.generation_config, "eos_token_id", None)
        stops = {tokenizer.end_of_text} | ({stops} if isinstance(stops, int) else set(stops or ()))
        super().__init__(
            folder.resolve().name,
            tokenizer,
            _max_length(self.model.config),
            device,
            precision=precision,
            prefix_token=bos,
            stop_tokens=frozenset(stops),
        )
        accepted = inspect.signature(self.model.forward).parameters
        self._keeps_some = "logits_to_keep" in accepted
        self._caches = "past_key_values" in accepted

    @torch.no_grad()
    def logits_at(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """See `LanguageModel`."""
        with autocast(self.device, self.precision):
            if not self._keeps_some:
                return self.model(input_ids=tokens, use_cache=False).logits[rows, positions].float()
            kept, places = positions.unique(return_inverse=True)
            logits = self.model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits
        return logits[rows, places].float()

    def target_log_probs(self, tokens: Tensor, rows: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
        """See `LanguageModel`; takes so many rows at once that they have at most LOGITS_ELEMENTS logits."""
        vocabulary = self.model.config.get_text_config().vocab_size
        at_once = max(1, LOGITS_ELEMENTS // (tokens.shape[1] * vocabulary))
        log_probs = torch.empty(len(rows), device=self.device)
        for start in range(0, len(tokens), at_once):
            here = (rows >= start) & (rows < start + at_once)
            if here.any():
                log_probs[here] = super().target_log_probs(
                    tokens[start : start + at_once], rows[here] - start, positions[here], targets[here]
                )
        return log_probs

    def new_cache(self, batch_size: int, length: int) -> Any:
        """See `LanguageModel`; transformers' own cache, which the first call makes."""
        return [None] if self._caches else super().new_cache(batch_size, length)

    @torch.no_grad()
    def next_logits(self, tokens: Tensor, cache: Any) -> Tensor:
        """See `LanguageModel`."""
        if not self._caches:
            return super().next_logits(tokens, cache)
        last = {"logits_to_keep": 1} if self._keeps_some else {}
        with autocast(self.device, self.precision):
            output = self.model(input_ids=tokens, past_key_values=cache[0], use_cache=True, **last)
        cache[0] = output.past_key_values
        return output.logits[:, -1].float()


def _load(folder: Path, what: str, options: dict[str, Any]) -> Any:
    """The model or the tokenizer in `folder`; transformers' many errors become one sentence."""
    # Imported here: it takes seconds, and a model of our own does not need it.
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    had_bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # it would run across our own progress
    try:
        if what == "model":
            return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
        return AutoTokenizer.from_pretrained(folder, **options)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{folder}: transformers cannot load the {what} in this folder: {reason}") from error
    finally:
        if had_bar:
            logging.enable_progress_bar()


def _tokenizer(folder: Path, options: dict[str, Any]) -> tuple[TextTokenizer, int | None]:
    """The folder's tokenizer and the id of its BOS token, if it has one."""
    loaded = _load(folder, "tokenizer", options)
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise UserError(f"{folder}: this tokenizer has no fast form (tokenizer.json); convert it first.")
    end_of_text = loaded.eos_token or loaded.bos_token
    if end_of_text is None:
        raise UserError(f"{folder}: the tokenizer names neither an eos_token nor a bos_token; one is needed.")
    return TextTokenizer(backend, end_of_text), loaded.bos_token_id


def _max_length(config: Any) -> int:
    text = config.get_text_config()
    lengths = (getattr(text, key, None) for key in _LENGTH_KEYS)
    return next((length for length in lengths if isinstance(length, int)), _FALLBACK_LENGTH)
