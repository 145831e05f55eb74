"""What a model of transformers can do, found out by trying: architectures differ, and so do their versions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from flyweight.model import Placement

_TOLERANCE = 1e-3
"""Of logits that should be equal, relative to their spread: float32 rounding is a hundred times smaller, a wrong
mask or position a thousand times larger."""


def model_inputs(model: Any, tokens: Tensor, placement: Placement | None) -> dict[str, Any]:
    """The arguments of a forward pass over `tokens` without a cache."""
    inputs: dict[str, Any] = {"input_ids": tokens, "use_cache": False}
    if placement is not None:
        # Added to the scores, which every implementation of attention that takes a mask of four dimensions can do.
        hidden = torch.zeros(placement.mask.shape, dtype=model.dtype, device=tokens.device)
        hidden.masked_fill_(~placement.mask, torch.finfo(model.dtype).min)
        inputs |= {"attention_mask": hidden, "position_ids": placement.positions}
    return inputs


@torch.no_grad()
def reads_out_apart(model: Any, device: torch.device) -> bool:
    """Whether the output embedding's product with the base model's last states is what the model gives."""
    tokens = _some_tokens(model, 6).to(device)[None]
    try:
        readout, base = model.get_output_embeddings(), model.base_model
        if readout is None or base is model:
            return False
        apart = readout(base(input_ids=tokens, use_cache=False).last_hidden_state)
        whole = model(input_ids=tokens, use_cache=False).logits
    except Exception:  # whatever an architecture raises: it is asked as a whole then
        return False
    return _same(apart, whole)


@torch.no_grad()
def takes_trees(model: Any, device: torch.device) -> bool:
    """Whether a row with two branches gives both the logits that they have in rows of their own."""
    if _sees_only_near(model.config.get_text_config()):
        return False
    stem, one, other = _some_tokens(model, 7).split([3, 2, 2])
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    mask[5:, 3:5] = False
    positions = torch.tensor([0, 1, 2, 3, 4, 3, 4])
    placement = Placement(positions[None], mask[None, None]).to(device)
    tree = torch.cat([stem, one, other]).to(device)[None]
    lines = torch.stack([torch.cat([stem, one]), torch.cat([stem, other])]).to(device)
    try:
        found = model(**model_inputs(model, tree, placement)).logits[0]
        expected = model(input_ids=lines, use_cache=False).logits
    except Exception:  # whatever an architecture raises: it gets one row a request then
        return False
    return _same(found[:5], expected[0]) and _same(found[5:], expected[1, 3:])


def _sees_only_near(config: Any) -> bool:
    """Whether some layer sees a window of what stands before a token, which seven tokens do not show: the window is
    part of the mask that a tree replaces, or it is counted in places of the row instead of positions (GPT-Neo)."""
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    local = "local" in (getattr(config, "attention_layers", None) or ())
    return bool(slides or local or getattr(config, "attention_chunk_size", None))


def _some_tokens(model: Any, count: int) -> Tensor:
    """Different tokens from all over the vocabulary."""
    return torch.linspace(1, model.config.get_text_config().vocab_size - 1, count).long()


def _same(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or not torch.isfinite(found).all():
        return False
    spread = (expected.amax() - expected.amin()).clamp_min(1e-6)
    return bool((found - expected).abs().amax() <= _TOLERANCE * spread)
