from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from flyweight.model import Decoder
from flyweight.recipe import Model, Parametrization

# Heads that do not tile the hidden size, three query heads a group, a width no power of two.
SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 64,
}


@pytest.fixture
def make_config() -> Callable[..., Model]:
    return lambda **changes: Model(**{**SMALL, **changes})


@pytest.fixture
def make_decoder(make_config: Callable[..., Model]) -> Callable[..., Decoder]:
    """An initialised small decoder; its gains are random around 1, so that none of them can be forgotten."""

    def make(parametrization: Parametrization | None = None, **changes: Any) -> Decoder:
        standard = Parametrization(kind="standard", init_std=0.1)
        decoder = Decoder(make_config(**changes), parametrization or standard).initialize(7)
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for name, parameter in decoder.named_parameters():
                if "norm" in name:
                    parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        return decoder.eval()

    return make


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(SMALL["vocab_size"], (2, 23), generator=torch.Generator().manual_seed(3))
