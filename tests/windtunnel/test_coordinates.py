"""Activations keep their size over widths under µP, and grow by theory's exponents without it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flyweight.base import UserError
from flyweight.model import OptimizerKind
from flyweight.recipe import Recipe, recipe_from_dict
from flyweight.windtunnel import Coordinates, at_width, measure_coordinates
from flyweight.windtunnel.coordinates import HIDDEN_MODULES, TOLERANCE

WIDTHS = (64, 128, 256)


def proxy(kind: str) -> Recipe:
    mup = {"init_std": 0.1, "scale_depth": 1.4, "scale_emb": 12, "dim_model_base": 64}
    return recipe_from_dict(
        {
            "name": "proxy",
            "model": {
                "vocab_size": 512, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                "max_position_embeddings": 64,
            },
            "parametrization": {"kind": kind, **({} if kind == "standard" else mup)},
            "tokenizer": {"vocab_size": 512},
            "sources": {"english": {"kind": "builtin", "builtin": "english"}},
            "training": {
                "tokens": "1M", "sequence_length": 64, "batch_size": 8, "learning_rate": 0.01,
                "mixture": [{"at": 0, "weights": {"english": 1}}],
            },
        }
    )  # fmt: skip


def batch() -> Tensor:
    """Some text as bytes: what says itself again and again, as real text does."""
    text = Path(__file__).read_bytes()[: 8 * 65]
    return torch.tensor(list(text)).view(8, 65)


@cache
def coordinates(kind: str, optimizer: OptimizerKind = "adamw") -> Coordinates:
    return measure_coordinates(
        proxy(kind), batch(), WIDTHS, learning_rate=2**-7, seeds=2, optimizer=optimizer
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("kind", ["minicpm", "mup"])
def test_mup_is_flat(kind: str, optimizer: OptimizerKind):
    found = coordinates(kind, optimizer)
    assert found.drifting() == {}
    for module in HIDDEN_MODULES:
        assert [abs(found.slope(module, step)) <= TOLERANCE for step in range(11)] == [True] * 11, module
    assert found.slope("logits", 0) == pytest.approx(-0.5, abs=0.05)
    assert abs(found.slope("logits", 10)) <= TOLERANCE


def test_the_standard_parametrization_grows_as_theory_says():
    """At initialisation a product with a matrix of fixed std grows by the root of the width; steps add a power."""
    found = coordinates("standard")
    for module, slope in {"query-key-value": 0.5, "gate-up": 0.5, "logits": 0.5, "feed-forward": 1.5}.items():
        assert found.slope(module, 0) == pytest.approx(slope, abs=0.1), module
    assert found.slope("attention", 0) == pytest.approx(1.0, abs=0.25)
    # An update of AdamW moves every entry alike, so that what it adds to an activation grows with the width.
    assert found.slope("query-key-value", 10) > 0.7
    assert set(found.drifting()) >= {
        "query-key-value",
        "attention",
        "gate-up",
        "feed-forward",
    }


def test_output_projections_of_xmodel_2_5_have_no_width_factor():
    found = coordinates("xmodel-2.5")
    for module in ("attention", "feed-forward"):
        assert found.slope(module, 0) == pytest.approx(0.5, abs=0.15), module
        assert module in found.drifting()
    for module in ("query-key-value", "gate-up", "final norm"):
        assert abs(found.slope(module, 1)) <= TOLERANCE


def test_widths_keep_proportions():
    model = proxy("mup").model
    wide = at_width(model, 96)
    assert (wide.num_attention_heads, wide.num_key_value_heads, wide.intermediate_size) == (6, 3, 288)
    assert (wide.head_dim, wide.num_hidden_layers) == (16, 2)
    with pytest.raises(UserError, match="multiples of 32"):
        at_width(model, 48)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="several widths"):
        measure_coordinates(proxy("mup"), batch(), [64, 64], learning_rate=0.01)
    with pytest.raises(UserError, match="no longer finite"):
        measure_coordinates(proxy("standard"), batch(), [32, 64], learning_rate=1e30, seeds=1)
