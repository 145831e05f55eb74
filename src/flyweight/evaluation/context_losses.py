"""The loss of every token of a text by its place in the context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from flyweight.base import UserError
from flyweight.evaluation.likelihood import BATCH_TOKENS
from flyweight.evaluation.texts import Texts
from flyweight.inference import LanguageModel
from flyweight.inference.language_model import BROKEN

SEPARATOR = "\n\n"
"""Stands between the documents of a text."""

FEWEST_WINDOWS = 8
SHORTEST = 8
"""Tokens of a window, at least."""


@dataclass(frozen=True, eq=False)
class PositionLosses:
    """The loss of every token of some windows of text."""

    losses: np.ndarray
    """(W, L) float32, nats: of window w, the token at position 1 to L."""
    trained_length: int
    """Beyond it, positions are strange to the model."""
    tokens_per_byte: float
    """Of the whole text: losses in nats times this over ln 2 are bits per byte."""


def position_losses(
    model: LanguageModel,
    texts: Texts,
    *,
    length: int | None = None,
    max_windows: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: Callable[[float], None] | None = None,
) -> PositionLosses:
    """The loss of every token of windows of text.

    The tokens of the documents, SEPARATOR between two, are joined and cut into windows of `length` without
    overlap; the rest is left out. Each window stands alone, from position 0, behind the model's prefix token.

    Args:
        model: predicts.
        texts: the text.
        length: tokens of a window; None for the model's context. A longer one shows what happens beyond.
        max_windows: at most so many, from the text's beginning.
        batch_tokens: positions in a forward pass; it does not change the result.
        progress: called with the share of the windows that is done.

    Raises:
        UserError: fewer than FEWEST_WINDOWS windows, a length that the model cannot take, or a model whose losses are
            no numbers.
    """
    length = model.max_length if length is None else length
    if length < SHORTEST:
        raise UserError(f"windows of {length} tokens say nothing about context; expected {SHORTEST} or more.")
    pieces = [document.text + SEPARATOR for document in texts.documents[:-1]] + [texts.documents[-1].text]
    tokens = np.array([token for part in model.tokenizer.encode_batch(pieces) for token in part], np.int64)
    count = min(len(tokens) // length, len(tokens) if max_windows is None else max_windows)
    if count < FEWEST_WINDOWS:
        raise UserError(
            f"{', '.join(texts.files)}: {len(tokens):,} tokens make {count} windows of {length:,} tokens; expected "
            f"{FEWEST_WINDOWS} or more, so give more text, or a shorter length."
        )
    windows = torch.from_numpy(tokens[: count * length]).view(count, length)
    prefix = torch.full((count, 1), model.prefix_token, dtype=torch.int64)
    inputs = torch.cat([prefix, windows[:, :-1]], 1)
    losses = np.empty((count, length), np.float32)
    step = max(1, batch_tokens // length)
    for start in range(0, count, step):
        batch, targets = (part[start : start + step].to(model.device) for part in (inputs, windows))
        losses[start : start + step] = (
            -_log_probs(model, batch, targets).view(len(batch), length).cpu().numpy()
        )
        if not np.isfinite(losses[start : start + step]).all():
            raise UserError(BROKEN.format(model.name))
        if progress is not None:
            progress(min(1.0, (start + step) / count))
    size = sum(len(piece.encode()) for piece in pieces)
    return PositionLosses(losses, min(model.max_length, length), len(tokens) / size)


def _log_probs(model: LanguageModel, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(inputs), device=model.device).repeat_interleave(inputs.shape[1])
    positions = torch.arange(inputs.shape[1], device=model.device).repeat(len(inputs))
    try:
        return model.target_log_probs(inputs, rows, positions, targets.reshape(-1))
    except (IndexError, RuntimeError) as error:
        if inputs.shape[1] <= model.max_length:
            raise
        # Learned positions end where training ended; rotary ones go on.
        raise UserError(
            f"{model.name} cannot take windows of {inputs.shape[1]:,} tokens ({' '.join(str(error).split())[:120]}); "
            f"its context is {model.max_length:,}, so take that or less."
        ) from error
